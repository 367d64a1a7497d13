# SPDX-License-Identifier: GPL-3.0-or-later
"""The VM record, as ARCHITECTURE.md section 6 fixes it; every list, page and table shows this one. Pure."""

import datetime
from dataclasses import dataclass
from typing import Any

from openngt.pki.expiry import ExpiryState, bootstrap_state, days_left, expiry_state
from openngt.version import __version__

from ..compatibility.judge import judge
from ..hypervisors.base import HypervisorVm, PowerState, SerialPortState
from ..store.certificate_rows import Entry
from ..store.mounts import Mount
from ..store.registry import Vm
from .clones import Clone
from .links import LinkView

__all__ = ["Sight", "expiry_of", "hypervisor_record", "serial_port_held_until", "vm_record"]

LONGEST_HOLD = datetime.timedelta(hours=2)
"""An agent's is one hour at most; what says more is no agent's word."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of one VM now, wherever it stands written."""

    vm: Vm
    certificate: Entry | None
    mount: Mount | None
    link: LinkView
    power_state: PowerState
    serial_port: SerialPortState = "unknown"
    """The hypervisor's word."""
    serial_wanted: bool = False
    """Agents are told to try the port first."""

    @property
    def mounted(self) -> bool:
        return self.mount is not None and self.mount.phase == "mounted"

    @property
    def guest_os(self) -> str | None:
        name = (self.link.row.status or {}).get("guest_os_name")
        return name if isinstance(name, str) else None


def expiry_of(entry: Entry, now: datetime.datetime) -> ExpiryState:
    """How urgent the certificate's end is; that of an ISO is short-lived by design."""
    if entry.kind == "bootstrap":
        return bootstrap_state(entry.first_used_at, entry.not_after, now)
    return expiry_state(entry.not_after, now)


def vm_record(sight: Sight, now: datetime.datetime) -> dict[str, Any]:
    """JSON values but for times, which stay aware datetimes for the API to format."""
    vm, certificate, mount, link = sight.vm, sight.certificate, sight.mount, sight.link
    transport = link.session.transport if link.session is not None else None
    return {
        "vm_uuid": vm.vm_uuid,
        "vm_name": vm.vm_name,
        "ngt_uuid": vm.ngt_uuid,
        "ngt_enabled": vm.enabled,
        "tools_iso_mounted": sight.mounted,
        **vm.capabilities.to_dict(),
        "agent_capabilities": link.capabilities,
        "communication_type": _communication_type(sight),
        "communication_link_active": link.active,
        "communication_link_over_serial_port_active": transport == "serial",
        "transport": transport,
        "serial_port": _port_state(sight.serial_port, link),
        "serial_port_held_until": serial_port_held_until(link, now),
        "power_state": sight.power_state,
        "agent_version": link.row.agent_version,
        "available_version": __version__,
        "agent_support": judge(link.row.agent_version, __version__).to_dict(),
        "reboot_required": _reboot_required(link),
        "generation": vm.generation,
        "certificate": None if certificate is None else _certificate(certificate, now),
        "mount": None if mount is None else _mount(mount),
        "link": _link(link),
        "vm_info": link.row.status,
        "enrolled_at": vm.enrolled_at,
    }


def _reboot_required(link: LinkView) -> bool | None:
    """As the guest said it last; null where nothing in it writes that down."""
    required = (link.row.status or {}).get("reboot_required")
    return required if isinstance(required, bool) else None


def _communication_type(sight: Sight) -> str:
    """As the original names it: what the agent tries first, not what it uses now."""
    return "kFallbackToIP" if sight.serial_wanted and _has_port(sight.serial_port, sight.link) else "kIpBased"


def _has_port(serial_port: SerialPortState, link: LinkView) -> bool:
    """A hypervisor that does not answer takes nothing back that the agent has said."""
    return serial_port != "none" if serial_port != "unknown" else _agents_port(link) is not None


def _port_state(serial_port: SerialPortState, link: LinkView) -> SerialPortState:
    """The guest may not see yet what its hypervisor has long given it."""
    if serial_port == "ready" and link.active and _agents_port(link) == "absent":
        return "needs_full_stop_and_start"
    return serial_port


def _agents_port(link: LinkView) -> str | None:
    """What the agent says of its port: `present`, `absent`, `busy`, `failed`; None when it is told to use none."""
    port = (link.row.status or {}).get("serial_port")
    state = port.get("state") if isinstance(port, dict) else None
    return state if isinstance(state, str) else None


def serial_port_held_until(link: LinkView, now: datetime.datetime) -> datetime.datetime | None:
    """Until when the linked agent does not go back to the port, which failed soon after a return; by our clock.

    None where it may go back, and where the agent, or one that is too old to, does not say.
    """
    port = (link.row.status or {}).get("serial_port")
    told = port.get("held_until") if isinstance(port, dict) else None
    if link.session is None or link.session.transport == "serial" or not isinstance(told, str):
        return None
    try:
        until = datetime.datetime.fromisoformat(told) - datetime.timedelta(seconds=link.clock_offset_seconds or 0.0)
    except (ValueError, OverflowError):
        return None
    return until if until.tzinfo is not None and now < until <= now + LONGEST_HOLD else None


def hypervisor_record(seen: HypervisorVm, clone: Clone | None, *, enrolled: bool) -> dict[str, Any]:
    parent = None if clone is None else {"vm_uuid": clone.parent_uuid, "vm_name": clone.parent_name}
    return {
        "vm_uuid": seen.vm_uuid,
        "vm_name": seen.vm_name,
        "power_state": seen.power_state,
        "enrolled": enrolled,
        "clone_pending": clone is not None and clone.pending,
        "cloned_from": parent,
        "power_unsupported": dict(seen.cannot),
        "serial_port": seen.serial_port,
        "cdrom_drives": [{"name": drive.name, "state": drive.state, "holds": drive.holds} for drive in seen.drives],
    }


def _certificate(entry: Entry, now: datetime.datetime) -> dict[str, Any]:
    return {
        "serial": entry.serial_hex,
        "state": entry.state,
        "kind": entry.kind,
        "generation": entry.generation,
        "not_before": entry.not_before,
        "not_after": entry.not_after,
        "first_used_at": entry.first_used_at,
        "days_left": days_left(entry.not_after, now),
        "expiry": expiry_of(entry, now),
    }


def _mount(mount: Mount) -> dict[str, Any]:
    return {
        "drive": mount.drive,
        "generation": mount.generation,
        "holder": mount.holder,
        "since": mount.since,
        "lease_ends": mount.lease_ends,
    }


def _link(link: LinkView) -> dict[str, Any]:
    row = link.row
    refusal = {"reason": row.refusal_reason, "at": row.refusal_at}
    return {
        "since": row.since,
        "peer": row.peer,
        "session": None if link.session is None else link.session.session,
        "last_seen": row.last_seen,
        "clock_offset_seconds": None if link.clock_offset_seconds is None else round(link.clock_offset_seconds, 1),
        "last_refusal": None if row.refusal_at is None else refusal,
    }
