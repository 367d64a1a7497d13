# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the service: one TOML file, overridden by `OPENNGT_<KEY>` in the environment, judged once at start."""

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from openngt.errors import OpenNGTError
from openngt.iso.windows_python import WindowsPython, inspect_windows_python

__all__ = ["ENVIRONMENT_PREFIX", "GatewayLimits", "KeyType", "Settings", "load_settings"]

ENVIRONMENT_PREFIX = "OPENNGT_"

HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z", re.I
)
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")

DEVICE = re.compile(r"/dev/(?!.*\.\.)[0-9A-Za-z][0-9A-Za-z._/-]{0,120}\Z")
MOST_SERIAL_PORTS = 4
SERIAL_PORTS = ("/dev/virtio-ports/org.openngt.guest_tools.0", "/dev/ttyS1")
"""A virtio port of the name that the lab and the manual give it, else COM2."""

KeyType = Literal["ecdsa-p256", "rsa-2048", "rsa-3072", "ed25519"]
"""The names of `openngt.pki`."""

Port = Annotated[int, Field(ge=0, le=65535)]
"""0 lets the kernel choose, which the tests use."""
Positive = Annotated[float, Field(gt=0)]


def named_host(value: str) -> str:
    """An IP address or a DNS name, as given; ValueError otherwise."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not HOST_NAME.match(value):
            raise ValueError(f"{value!r} is neither an IP address nor a host name") from None
    return value


class GatewayLimits(BaseModel):
    """What of the gateway's bounds can be set; names and defaults are those of its own table of limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    handshake_seconds: Positive = 5.0
    first_frame_seconds: Positive = 5.0
    send_seconds: Positive = 10.0
    accepts_per_second: Positive = 500.0
    unauthenticated_per_address: Annotated[int, Field(ge=1)] = 256


class Settings(BaseSettings):
    """Every key of the settings file. Build it with `load_settings`, which turns bad keys into CONFIG_INVALID."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid", validate_default=True
    )

    state_dir: Path = Path("/var/lib/openngt")
    database_url: str = ""
    """Empty: SQLite in `state_dir`."""
    api_host: str = "127.0.0.1"
    api_port: Port = 2073
    api_names: Annotated[list[str], NoDecode] = Field(default_factory=list)
    """Further DNS names and addresses in the API's certificate; `localhost` and 127.0.0.1 are always there."""
    console: bool = True
    """Whether the pages below `/console/` of the API's port are served."""
    gateway_host: str = "0.0.0.0"  # noqa: S104 - agents come from every network; the certificate is the guard
    gateway_port: Port = 2074
    gateway: GatewayLimits = GatewayLimits()
    cluster_ip: str | None = None
    """The address that agents are told."""
    cluster_uuid: str | None = None
    """Taken at the first start only (a CA made without a service has told it to agents already); else made up once."""
    hypervisor: Literal["qemu"] = "qemu"
    qemu_directory: Path = Path("/var/lib/openngt/vms")
    serial_ports: Annotated[list[str], NoDecode] = Field(default_factory=lambda: list(SERIAL_PORTS))
    """What a guest calls its port to the service, the one to be tried first in front; empty: the network alone."""
    preferred_transport: Literal["serial", "tls"] = "serial"
    """What agents try first, where a VM has a port; the other one is what they fall back to."""
    key_type: KeyType = "ecdsa-p256"
    validity_days: Annotated[int, Field(ge=1, le=3650)] = 1000
    bootstrap_hours: Annotated[int, Field(ge=0, le=24 * 365)] = 24
    """Life of the certificate on an ISO; 0 gives it the full `validity_days`, as the original product does."""
    heartbeat_seconds: Annotated[int, Field(ge=1, le=60)] = 3
    lease_seconds: Annotated[int, Field(ge=10, le=7 * 86400)] = 1800
    """How long a mount belongs to its holder when the request does not say."""
    reconcile_seconds: Positive = 5.0
    datastore: Path | None = None
    """The folder in which `datastore_path` of a customization is looked up; none: there are no such paths."""
    customization_directory: Path | None = None
    """Where customization discs lie while they are needed; none: `customizations` in `state_dir`."""
    customization_seconds: Annotated[int, Field(ge=10, le=7 * 86400)] = 1800
    """How long a guest may take for its customization when the request does not say."""
    clones: Literal["list", "enable"] = "list"
    """What becomes of a clone of an enrolled VM: listed as pending until somebody enables it, or enabled at once."""
    templates: Annotated[list[str], NoDecode] = Field(default_factory=list)
    """Names or UUIDs of VMs whose disks carry the packaged agent: their clones, once enabled, get a disc."""
    recover_identities: bool = True
    """Give an enabled VM whose agent comes with an identity of the past (a revert) a new one by itself, on a disc."""
    tasks_in_flight: Annotated[int, Field(ge=1, le=1000)] = 32
    health_interval_seconds: Positive = 300.0
    health_history_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """How long the history of the checks and resolved alerts are kept."""
    payload_extras: Path | None = None
    windows_python: Path | None = None
    """python.org's embeddable package, which tools ISOs then carry for Windows guests."""
    iso_label: Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")] = "NUTANIX_TOOLS"
    log_format: Literal["json", "console"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_public: bool = False

    @field_validator("api_names", "serial_ports", "templates", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """In the environment a list is written with commas."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("api_names")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        return [named_host(name) for name in value]

    @field_validator("serial_ports")
    @classmethod
    def _devices(cls, value: list[str]) -> list[str]:
        for device in value:
            if not DEVICE.match(device):
                raise ValueError(f"{device!r} is not a device below /dev")
        if len(value) > MOST_SERIAL_PORTS:
            raise ValueError(f"give at most {MOST_SERIAL_PORTS} devices")
        return value

    @field_validator("cluster_ip")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        return None if value is None else named_host(value)

    @field_validator("cluster_uuid")
    @classmethod
    def _uuid(cls, value: str | None) -> str | None:
        if value is not None and not UUID.match(value):
            raise ValueError("give a UUID in lower case with hyphens")
        return value

    @field_validator(
        "state_dir", "qemu_directory", "payload_extras", "windows_python", "datastore", "customization_directory"
    )
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_absolute():
            raise ValueError(f"{str(value)!r} is not an absolute path")
        return value

    def for_serving(self) -> Self:
        """These settings, once all that `openngt serve` needs is there; CONFIG_INVALID names what is missing."""
        if self.cluster_ip is None:
            raise _invalid([{"key": "cluster_ip", "message": "required: the address at which agents reach this host"}])
        if self.payload_extras is not None and not self.payload_extras.is_dir():
            raise _invalid([{"key": "payload_extras", "message": f"no such folder: {self.payload_extras}"}])
        if self.datastore is not None and not self.datastore.is_dir():
            raise _invalid([{"key": "datastore", "message": f"no such folder: {self.datastore}"}])
        if self.discs_directory == self.iso_directory:
            raise _invalid([{"key": "customization_directory", "message": "give a folder of its own"}])
        try:
            self.inspect_windows_python()
        except OpenNGTError as exc:
            raise _invalid([{"key": "windows_python", "message": exc.message}]) from exc
        return self

    def inspect_windows_python(self) -> WindowsPython | None:
        """The package as it is now. INVALID_INPUT or FILE_UNUSABLE when it will not do."""
        return None if self.windows_python is None else inspect_windows_python(self.windows_python)

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.state_dir / 'openngt.db'}"

    @property
    def ca_directory(self) -> Path:
        return self.state_dir / "ca"

    @property
    def iso_directory(self) -> Path:
        return self.state_dir / "iso"

    @property
    def discs_directory(self) -> Path:
        """Of customization."""
        return self.customization_directory or self.state_dir / "customizations"

    @property
    def gateway_pem(self) -> Path:
        return self.state_dir / "gateway.pem"

    @property
    def api_pem(self) -> Path:
        return self.state_dir / "api.pem"

    @property
    def admin_token_file(self) -> Path:
        return self.state_dir / "admin.token"


def load_settings(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Settings from `overrides` (the command line), over the environment, over the file.

    Raises CONFIG_INVALID; `details.problems` lists `{"key", "message"}` for every bad key at once.
    """
    file_values = _read_toml(path) if path is not None else {}

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, file_values)

    try:
        return Layered(**(overrides or {}))
    except SettingsError as exc:
        raise _invalid([{"key": "environment", "message": str(exc)}]) from exc
    except ValidationError as exc:
        raise _invalid(
            [
                {"key": ".".join(str(part) for part in error["loc"]), "message": error["msg"]}
                for error in exc.errors(include_url=False, include_input=False, include_context=False)
            ]
        ) from None  # the original holds the given values, and a database URL may hold a password


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise OpenNGTError("CONFIG_INVALID", f"{path} cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise OpenNGTError("CONFIG_INVALID", f"{path} is not TOML: {exc}") from exc


def _invalid(problems: list[dict[str, str]]) -> OpenNGTError:
    text = "; ".join(f"{problem['key']}: {problem['message']}" for problem in problems)
    return OpenNGTError("CONFIG_INVALID", f"settings are not valid: {text}", {"problems": problems})
