# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrol a VM with the service, or end that: look, plan, apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from .client import Client
from .errors import OpenNGTError
from .version import __version__

__all__ = ["CAPABILITIES", "Plan", "apply", "enrolled", "on_hypervisor", "plan"]

Json = dict[str, Any]
CAPABILITIES = ("vss_snapshot", "self_service_restore")


class Plan(NamedTuple):
    action: Literal["none", "enable", "disable"]
    vm: str
    """The VM's UUID where it is known, else what the caller gave."""
    capabilities: dict[str, bool]
    before: Json
    after: Json
    record: Json
    """The VM record as it will be, as far as it can be foretold; empty for a VM that is and stays unknown."""


def enrolled(client: Client, vm: str) -> Json | None:
    """The VM's record, or None when the service does not manage it."""
    try:
        return client.vm(vm)
    except OpenNGTError as error:
        if error.code in ("NOT_ENROLLED", "VM_NOT_FOUND"):
            return None
        raise


def on_hypervisor(client: Client, vm: str) -> Json:
    """The one VM of that UUID or name; VM_NOT_FOUND or VM_AMBIGUOUS otherwise."""
    found = client.hypervisor_vms(vm)
    if not found:
        raise OpenNGTError("VM_NOT_FOUND", f"the hypervisor has no VM with the UUID or name {vm!r}", {"vm": vm})
    if len(found) > 1:
        uuids = [each["vm_uuid"] for each in found]
        raise OpenNGTError("VM_AMBIGUOUS", f"{len(found)} VMs are named {vm!r}: {', '.join(uuids)}", {"vms": uuids})
    return found[0]


def plan(
    client: Client, vm: str, state: str, capabilities: Mapping[str, bool | None], *, require_running: bool = False
) -> Plan:
    """What is to be done so that the VM is enrolled (`present`) or not (`absent`)."""
    record = enrolled(client, vm)
    if state == "absent":
        return _plan_absent(vm, record)
    seen = on_hypervisor(client, vm) if record is None or require_running else None
    if require_running and seen is not None and seen["power_state"] != "on":
        raise OpenNGTError(
            "VM_POWERED_OFF",
            f"VM {seen['vm_name']} is {seen['power_state']}",
            {"vm_uuid": seen["vm_uuid"], "power_state": seen["power_state"]},
        )
    wanted = {name: value for name, value in capabilities.items() if value is not None}
    if record is not None:
        return _plan_change(record, wanted)
    if seen is None:
        raise AssertionError("a VM that is not enrolled has been looked up on the hypervisor")
    return _plan_enable(wanted, seen, _inherited(client, seen))


def apply(client: Client, planned: Plan) -> Json:
    """Carry the plan out; the VM record as the service has it then."""
    if planned.action == "enable":
        return client.enable(planned.vm, planned.capabilities)
    if planned.action == "disable":
        client.disable(planned.vm)
    return planned.record


def _shown(record: Json | None) -> Json:
    """The part of a record that this plan can change, for a diff."""
    if record is None or not record["ngt_enabled"]:
        return {"ngt_enabled": False}
    return {"ngt_enabled": True, **{name: record[name] for name in CAPABILITIES}}


def _plan_change(record: Json, wanted: Mapping[str, bool]) -> Plan:
    after = {**record, "ngt_enabled": True, **wanted}
    # The service takes capabilities as a whole: those that nobody named stay as they are.
    whole = {name: bool(after[name]) for name in CAPABILITIES}
    action: Literal["none", "enable"] = "none" if _shown(record) == _shown(after) else "enable"
    return Plan(action, record["vm_uuid"], whole, _shown(record), _shown(after), after)


def _inherited(client: Client, seen: Json) -> dict[str, bool]:
    """A clone starts with its parent's capabilities, any other VM with all."""
    parent = enrolled(client, seen["cloned_from"]["vm_uuid"]) if seen.get("clone_pending") else None
    return {name: True if parent is None else bool(parent[name]) for name in CAPABILITIES}


def _plan_enable(wanted: Mapping[str, bool], seen: Json, inherited: Mapping[str, bool]) -> Plan:
    capabilities = {**inherited, **wanted}
    record = {
        "vm_uuid": seen["vm_uuid"],
        "vm_name": seen["vm_name"],
        "power_state": seen["power_state"],
        "ngt_uuid": None,
        "ngt_enabled": True,
        "tools_iso_mounted": False,
        **capabilities,
        "communication_link_active": False,
        "agent_version": None,
        "available_version": __version__,
        "generation": 0,
        "certificate": None,
        "mount": None,
        "vm_info": None,
    }
    return Plan("enable", seen["vm_uuid"], capabilities, _shown(None), _shown(record), record)


def _plan_absent(vm: str, record: Json | None) -> Plan:
    if record is None or not record["ngt_enabled"]:
        return Plan("none", vm, {}, _shown(None), _shown(None), record or {})
    after = {**record, "ngt_enabled": False, "communication_link_active": False, "mount": None}
    return Plan("disable", record["vm_uuid"], {}, _shown(record), _shown(None), after)
