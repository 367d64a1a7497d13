# SPDX-License-Identifier: GPL-3.0-or-later
"""The two halves of the evidence about one VM's link, as plain JSON values, and what both together say.

Every key may be missing: an older service or guest, a side that could not be asked, a question that only root may ask.
What is missing counts as not known, never as "no". Times are RFC 3339 text.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

__all__ = ["CLOCK_TOLERANCE_SECONDS", "GuestSaw", "Seen", "ServiceSaw", "moment"]

Json = dict[str, Any]
# What certificates are backdated by, and what a slow login adds to the comparison.
CLOCK_TOLERANCE_SECONDS = 300.0
# Compared across two calls of one play, between which many hosts may have had their turn.
COARSE_CLOCK_SECONDS = 86400.0


class ServiceSaw(TypedDict, total=False):
    """`service_saw` of `GET /v1/vms/{vm}/diagnosis`; or `error` alone, where the service could not be asked."""

    error: Json
    time: str
    vm_uuid: str
    vm_name: str
    enrolled: bool
    generation: int
    """Of the newest certificate that was ever issued; 0: none was."""
    on_hypervisor: bool | None
    """None: the hypervisor does not answer, and `hypervisor_error` says why."""
    hypervisor_error: str | None
    power_state: str
    cdrom_drives: list[Json]
    serial_port: str | None
    """The hypervisor's word for the VM's port; `none` where the VM has none."""
    link: Json
    """As in the VM record, with `active`, `transport`, `serial_port_held_until` and `ended: {"reason", "at"}|null`."""
    agent_version: str | None
    available_version: str
    certificates: list[Json]
    """Of this VM, newest first: `serial, state, kind, generation, not_before, not_after`."""
    mount: Json | None
    last_task: Json | None
    gateway: Json
    """`host` and `port` that agents are told, `listens` (bool), `bound_to` (the address that it listens on) and
    `refused_here`: a connection to what agents are told is refused from the service's own host, too."""
    ca_sha256: str
    cluster_uuid: str
    strangers: list[Json]
    """Refused connections of nobody that is known, from the address where this VM was last: `reason, peer, at`."""


class GuestSaw(TypedDict, total=False):
    """What the module `link_info` returns; or `error` alone, where the guest could not be asked."""

    error: Json
    time: str
    clock_ahead_seconds: float | None
    """Against the controller's clock at the moment of asking."""
    is_root: bool
    python: str
    vm_uuid: str | None
    agent_files: list[str]
    installed: bool
    status: Json | None
    """As `ngtcli status`."""
    unit: Json | None
    """The agent's: `load_state, active_state, sub_state, result, unit_file_state, exit_status, restarts`."""
    journal: list[str] | None
    config: Json | None
    """`cluster_ip, port` of ngt_config.json."""
    gateway: list[Json]
    """Each address that was tried: `host, port, configured, tcp, tls`; the last two None when well, else what failed.
    Without `tls` nobody could judge who answers."""
    firewall: list[str] | None
    """Rules of this guest's own packet filter that name the gateway's port."""
    serial_devices: list[str]
    other_tools: list[str]
    file_systems: list[Json]
    """`path, free_kib, free_files`."""
    disc: Json | None
    """A disc with the tools' label in a drive: `device, mounted_at`."""


def moment(text: object) -> datetime.datetime | None:
    """The time that the text says, or None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


class Seen:
    """Both halves, and the questions that the checks and causes ask of them. None means not known."""

    def __init__(self, service: ServiceSaw | None, guest: GuestSaw | None) -> None:
        self.service_error: Json | None = None if service is None else service.get("error")
        self.guest_error: Json | None = None if guest is None else guest.get("error")
        self.service: ServiceSaw | None = None if self.service_error else service
        self.guest: GuestSaw | None = None if self.guest_error else guest

    # The service's side.

    @property
    def link(self) -> Json:
        return (self.service.get("link") if self.service else None) or {}

    @property
    def last_contact(self) -> datetime.datetime | None:
        """When the service last heard of the agent."""
        return moment(self.link.get("last_seen")) or moment(self.link.get("since"))

    @property
    def fresh_refusal(self) -> Json | None:
        """The last refusal `{"reason", "at"}`, if nothing better has happened since."""
        refusal: Json | None = self.link.get("last_refusal")
        at = moment(refusal["at"]) if refusal else None
        if at is None or (self.last_contact is not None and self.last_contact > at):
            return None
        return refusal

    @property
    def service_time(self) -> datetime.datetime | None:
        return moment(self.service.get("time")) if self.service else None

    @property
    def never_linked(self) -> bool:
        return self.service is not None and self.link.get("since") is None

    @property
    def entries(self) -> list[Json] | None:
        """What the ledger holds of this VM, newest first."""
        return self.service.get("certificates") if self.service else None

    def entry(self, serial: object) -> Json | None:
        """What the ledger holds under a serial of this VM."""
        entries = self.entries or []
        return next((entry for entry in entries if entry.get("serial") == serial), None)

    @property
    def live_entries(self) -> list[Json] | None:
        """Those that could connect, but for their time."""
        if self.entries is None:
            return None
        return [entry for entry in self.entries if entry.get("state") in ("current", "next")]

    # The guest's side.

    @property
    def status(self) -> Json:
        return (self.guest.get("status") if self.guest else None) or {}

    @property
    def identity(self) -> Json | None:
        """The agent's own, as it says; its `generation`, `serial`, `not_after`, `vm_uuid`, `ca_sha256`."""
        found: Json | None = self.status.get("identity")
        return found

    @property
    def last_error(self) -> Json:
        """Of the agent: `code`, `message`; empty when it says of none."""
        return (self.status.get("link") or {}).get("last_error") or {}

    @property
    def agent_denies_link(self) -> bool:
        """Whether the agent itself says that it is not connected."""
        return (self.status.get("link") or {}).get("active") is False

    @property
    def unit(self) -> Json | None:
        return self.guest.get("unit") if self.guest else None

    @property
    def agent_runs(self) -> bool | None:
        return None if not self.unit else self.unit.get("active_state") == "active"

    @property
    def journal(self) -> list[str]:
        return (self.guest.get("journal") if self.guest else None) or []

    @property
    def full(self) -> list[str]:
        """File systems of the guest that hold nothing more."""
        places = (self.guest.get("file_systems") if self.guest else None) or []
        return [place["path"] for place in places if place.get("free_kib", 1) < 1 or place.get("free_files", 1) < 1]

    # Both together.

    @property
    def tried(self) -> list[Json]:
        return (self.guest.get("gateway") if self.guest else None) or []

    def attempt(self, *, configured: bool) -> Json | None:
        """What came of the address in the agent's configuration, or of the one that the service names."""
        if configured:
            return next((attempt for attempt in self.tried if attempt.get("configured")), None)
        wanted = self.address
        return next((attempt for attempt in self.tried if (attempt["host"], attempt["port"]) == wanted), None)

    @property
    def address(self) -> tuple[str, int] | None:
        """Where the service tells agents to go."""
        gateway: Mapping[str, Any] = (self.service.get("gateway") if self.service else None) or {}
        return (gateway["host"], gateway["port"]) if gateway.get("host") and gateway.get("port") else None

    @property
    def clock_ahead(self) -> float | None:
        """Seconds by which the guest's clock is ahead; None where no clock was compared."""
        if self.guest is None:
            return None
        measured = self.guest.get("clock_ahead_seconds")
        if measured is not None:
            return float(measured)
        here, there = self.service_time, moment(self.guest.get("time"))
        if here is None or there is None:
            return None
        coarse = (there - here).total_seconds()
        return coarse if abs(coarse) > COARSE_CLOCK_SECONDS else None

    @property
    def clock_is_off(self) -> bool:
        return self.clock_ahead is not None and abs(self.clock_ahead) > CLOCK_TOLERANCE_SECONDS

    @property
    def tls_errors(self) -> Iterable[str]:
        """What this guest holds against the gateway's certificate."""
        for attempt in self.tried:
            if attempt.get("tls"):
                yield str(attempt["tls"])
        if self.last_error.get("code") == "TLS_NOT_TRUSTED":
            yield str(self.last_error.get("message"))
