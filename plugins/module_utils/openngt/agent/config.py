# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""`ngt_config.json`: where the service is and who this VM is."""

import re
from typing import Any, Dict, Mapping, Tuple

from . import strict_json
from .certificate import UUID
from .errors import AgentError
from .files import read_capped
from .paths import Paths

__all__ = ["MOST_CONFIG", "check_capabilities", "check_config", "load_config", "parse_config", "transport_order"]

MOST_CONFIG = 4096
TRANSPORTS = ("serial", "tls")

_HOST = re.compile(r"[0-9A-Za-z]([0-9A-Za-z.-]{0,251}[0-9A-Za-z])?|[0-9A-Fa-f:]{2,39}")
_DEVICE = re.compile(r"/dev/(?!.*\.\.)[0-9A-Za-z][0-9A-Za-z._/-]{0,120}")
MOST_PORTS = 4
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,63}")


def parse_config(content: bytes) -> Dict[str, Any]:
    """A configuration from its file's bytes, checked; ValueError names the field."""
    return check_config(strict_json.load_object(content.rstrip(b"\n"), MOST_CONFIG))


def check_config(config: Mapping[str, Any]) -> Dict[str, Any]:
    """The same configuration; ValueError names the first field that cannot be right. Unknown fields may be there."""
    for field in ("vm_uuid", "ngt_uuid", "cluster_uuid"):
        if not (isinstance(config.get(field), str) and UUID.fullmatch(config[field])):
            raise ValueError("{0} must be a UUID in lower case".format(field))
    for field, form in (("cluster_ip", _HOST), ("ngt_version", _VERSION)):
        if not (isinstance(config.get(field), str) and form.fullmatch(config[field])):
            raise ValueError("{0} is malformed or missing".format(field))
    for field, most in (("port", 65535), ("generation", 10**18)):
        value = config.get(field)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise ValueError("{0} must be a number from 1 to {1}".format(field, most))
    if config.get("service_name") != "guest-tools.{0}".format(config["cluster_uuid"]):
        raise ValueError("service_name must be guest-tools.<cluster_uuid>")
    if not isinstance(config.get("vm_name"), str):
        raise ValueError("vm_name must be text")
    check_capabilities(config.get("capabilities"))
    _check_transports(config)
    return dict(config)


def _check_transports(config: Mapping[str, Any]) -> None:
    ports = config.get("serial_ports", [])
    if not isinstance(ports, list) or len(ports) > MOST_PORTS:
        raise ValueError("serial_ports must be a list of at most {0} devices".format(MOST_PORTS))
    if not all(isinstance(port, str) and _DEVICE.fullmatch(port) for port in ports):
        raise ValueError("serial_ports must be paths below /dev")
    if config.get("preferred_transport", "serial") not in TRANSPORTS:
        raise ValueError("preferred_transport must be one of {0}".format(", ".join(TRANSPORTS)))


def transport_order(config: Mapping[str, Any]) -> Tuple[str, ...]:
    """The transports of a checked configuration, the preferred one first; without a port there is only the network."""
    if not config.get("serial_ports"):
        return ("tls",)
    preferred = config.get("preferred_transport", "serial")
    return (preferred,) + tuple(transport for transport in TRANSPORTS if transport != preferred)


def check_capabilities(capabilities: Any) -> Dict[str, bool]:
    """The same capabilities; ValueError unless they are an object of booleans."""
    if not isinstance(capabilities, dict) or not all(isinstance(value, bool) for value in capabilities.values()):
        raise ValueError("capabilities must be an object of booleans")
    return capabilities


def load_config(paths: Paths) -> Dict[str, Any]:
    """The stored configuration; IDENTITY_INVALID when it is missing or damaged."""
    try:
        return parse_config(read_capped(paths.config, "ngt_config.json", MOST_CONFIG))
    except (OSError, ValueError) as exc:
        raise AgentError("IDENTITY_INVALID", "{0}: {1}".format(paths.ngt_config, exc)) from exc
