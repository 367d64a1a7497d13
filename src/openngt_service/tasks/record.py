# SPDX-License-Identifier: GPL-3.0-or-later
"""The VM record, as ARCHITECTURE.md section 6 fixes it; every list, page and table shows this one. Pure."""

import datetime
from typing import Any

from openngt.pki.expiry import days_left, expiry_state
from openngt.version import __version__

from ..hypervisors.base import HypervisorVm, PowerState, SerialPortState
from ..store.certificate_rows import Entry
from ..store.mounts import Mount
from ..store.registry import Vm
from .links import LinkView

__all__ = ["hypervisor_record", "vm_record"]


def vm_record(
    vm: Vm,
    *,
    certificate: Entry | None,
    mount: Mount | None,
    link: LinkView,
    power_state: PowerState,
    serial_port: SerialPortState,
    serial_wanted: bool,
    now: datetime.datetime,
) -> dict[str, Any]:
    """JSON values but for times, which stay aware datetimes for the API to format.

    `serial_port` is the hypervisor's word; `serial_wanted`, that agents are told to try the port first.
    """
    transport = link.session.transport if link.session is not None else None
    return {
        "vm_uuid": vm.vm_uuid,
        "vm_name": vm.vm_name,
        "ngt_uuid": vm.ngt_uuid,
        "ngt_enabled": vm.enabled,
        "tools_iso_mounted": mount is not None and mount.phase == "mounted",
        **vm.capabilities.to_dict(),
        "communication_type": "kFallbackToIP" if serial_wanted and _has_port(serial_port, link) else "kIpBased",
        "communication_link_active": link.active,
        "communication_link_over_serial_port_active": transport == "serial",
        "transport": transport,
        "serial_port": _port_state(serial_port, link),
        "power_state": power_state,
        "agent_version": link.row.agent_version,
        "available_version": __version__,
        "generation": vm.generation,
        "certificate": None if certificate is None else _certificate(certificate, now),
        "mount": None if mount is None else _mount(mount),
        "link": _link(link),
        "vm_info": link.row.status,
        "enrolled_at": vm.enrolled_at,
    }


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


def hypervisor_record(seen: HypervisorVm, *, enrolled: bool) -> dict[str, Any]:
    return {
        "vm_uuid": seen.vm_uuid,
        "vm_name": seen.vm_name,
        "power_state": seen.power_state,
        "enrolled": enrolled,
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
        "days_left": days_left(entry.not_after, now),
        "expiry": expiry_state(entry.not_after, now),
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
        "last_refusal": None if row.refusal_at is None else refusal,
    }
