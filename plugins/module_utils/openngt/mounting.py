# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a VM's tools ISO into an empty drive, or take it out: look, plan, apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from .client import Client
from .enrolment import enrolled, on_hypervisor
from .errors import OpenNGTError

__all__ = ["Plan", "apply", "plan_eject", "plan_mount"]

Json = dict[str, Any]

LEAST_LEASE, MOST_LEASE = 10, 7 * 86400


class Plan(NamedTuple):
    action: Literal["none", "mount", "eject"]
    vm: str
    holder: str
    """In whose name the service is asked."""
    dead: str | None
    """The former holder whose mount is taken over."""
    before: Json
    after: Json
    mount: Json | None
    """What is mounted now."""


def demand_lease(seconds: int) -> None:
    """INVALID_INPUT for a lease that the service would not take."""
    if not LEAST_LEASE <= seconds <= MOST_LEASE:
        raise OpenNGTError("INVALID_INPUT", f"lease_seconds: {seconds} is not from {LEAST_LEASE} to {MOST_LEASE}")


def plan_mount(client: Client, vm: str, holder: str, is_dead: Callable[[str | None], bool]) -> Plan:
    """What a mount for `holder` needs.

    Raises what the service would say as well, before anything changes: VM_NOT_FOUND, VM_AMBIGUOUS, VM_POWERED_OFF,
    VM_BUSY, NO_EMPTY_DRIVE. A VM that is not enrolled is planned for as if it were: check mode comes here before the
    enrolment is real.
    """
    record = enrolled(client, vm)
    seen = on_hypervisor(client, record["vm_uuid"] if record else vm)
    now = record["mount"] if record else None
    if now and now["holder"] == holder:
        return Plan("none", seen["vm_uuid"], holder, None, _shown(now), _shown(now), now)
    if seen["power_state"] != "on":
        raise OpenNGTError("VM_POWERED_OFF", f"VM {seen['vm_name']} is {seen['power_state']}", {"vm": seen["vm_uuid"]})
    dead = None
    if now:
        if not is_dead(now["holder"]):
            raise busy(vm, now)
        dead = now["holder"]
    else:
        demand_empty_drive(seen["vm_name"], seen["cdrom_drives"])
    after = {"tools_iso_mounted": True, "holder": holder}
    # By the caller's own word where it is not enrolled, so that the refusal has a name that the caller knows.
    return Plan("mount", seen["vm_uuid"] if record else vm, holder, dead, _shown(now), after, now)


def plan_eject(client: Client, vm: str, holder: str, is_dead: Callable[[str | None], bool], *, force: bool) -> Plan:
    """What is needed so that no tools ISO is in the VM. Another's living mount is VM_BUSY without `force`."""
    record = enrolled(client, vm)
    now = record["mount"] if record else None
    if record is None or now is None:
        return Plan("none", vm, holder, None, _shown(None), _shown(None), None)
    if now["holder"] != holder and not force and not is_dead(now["holder"]):
        raise busy(vm, now)
    # A mount is ended in its own holder's name; that he is dead, or that force was asked for, has been settled here.
    return Plan("eject", record["vm_uuid"], now["holder"], None, _shown(now), _shown(None), now)


def apply(
    client: Client,
    planned: Plan,
    is_dead: Callable[[str | None], bool],
    *,
    lease_seconds: int,
    force: bool,
    timeout: float,
) -> Json | None:
    """Carry the plan out. -> the mount's `{drive, generation, ca_sha256, expires, …}`, None after an eject."""
    if planned.action == "none":
        return planned.mount and {**planned.mount, "ca_sha256": client.ca()["ca_sha256"], "expires": None}
    if planned.action == "eject":
        client.wait_task(client.eject(planned.vm, planned.holder, force), timeout)
        return None
    try:
        task = client.mount(planned.vm, planned.holder, lease_seconds, holder_is_dead=planned.dead)
        result: Json = client.wait_task(task, timeout)["result"]
    except OpenNGTError as error:
        # Mounted by another between the plan and now, by a run that has been killed since.
        dead = error.details.get("holder")
        if error.code != "VM_BUSY" or dead in (None, planned.dead) or not is_dead(dead):
            raise
        task = client.mount(planned.vm, planned.holder, lease_seconds, holder_is_dead=dead)
        result = client.wait_task(task, timeout)["result"]
    return result


def busy(vm: str, mount: Json) -> OpenNGTError:
    holder = mount["holder"]
    details = {"holder": holder, "lease_ends": mount.get("lease_ends"), "vm": vm}
    return OpenNGTError("VM_BUSY", f"VM {vm} is being worked on by {holder}", details)


def demand_empty_drive(vm_name: str, drives: Sequence[Json]) -> None:
    """NO_EMPTY_DRIVE, saying what each drive holds, unless one is empty."""
    if any(drive["state"] == "empty" for drive in drives):
        return
    held = "; ".join(f"{drive['name']} holds {drive['holds'] or 'a medium'}" for drive in drives) or "it has no drive"
    raise OpenNGTError("NO_EMPTY_DRIVE", f"VM {vm_name} has no empty CD-ROM drive: {held}", {"drives": list(drives)})


def _shown(mount: Json | None) -> Json:
    if mount is None:
        return {"tools_iso_mounted": False}
    return {"tools_iso_mounted": True, "holder": mount["holder"], "drive": mount["drive"]}
