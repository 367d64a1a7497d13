# SPDX-License-Identifier: GPL-3.0-or-later
"""What a power verb means for a VM as it is. Pure: check mode and the run itself read the same plan."""

import datetime
from dataclasses import dataclass
from typing import Literal, get_args

from openngt.errors import OpenNGTError

from ..hypervisors.base import HypervisorVm, PowerAction, PowerState
from ..store.mounts import Mount
from ..store.registry import not_enrolled
from .eject import vm_busy
from .hypervisor import require_known

__all__ = [
    "FALLBACKS",
    "VERBS",
    "Fallback",
    "PowerPlan",
    "PowerRequest",
    "PowerVerb",
    "StoppedBy",
    "judge",
    "no_link",
    "require_no_disc",
]

PowerVerb = Literal["on", "off", "shutdown", "reset", "power_cycle", "guest_shutdown", "guest_reboot"]
Fallback = Literal["none", "acpi", "off"]
"""How far a shutdown may go when the guest does not obey; `off` tries ACPI before."""
StoppedBy = Literal["agent", "acpi", "off"]
VERBS: tuple[PowerVerb, ...] = get_args(PowerVerb)
FALLBACKS: tuple[Fallback, ...] = get_args(Fallback)

WAYS: dict[tuple[PowerVerb, Fallback], tuple[StoppedBy, ...]] = {
    ("shutdown", "none"): ("acpi",),
    ("shutdown", "off"): ("acpi", "off"),
    ("guest_shutdown", "none"): ("agent",),
    ("guest_shutdown", "acpi"): ("agent", "acpi"),
    ("guest_shutdown", "off"): ("agent", "acpi", "off"),
}
ACTIONS: dict[PowerVerb, tuple[PowerAction, ...]] = {
    "on": ("on",),
    "off": ("off",),
    "reset": ("reset",),
    "power_cycle": ("off", "on"),
}
"""What the hypervisor does for the verbs that no guest has to obey."""


@dataclass(frozen=True)
class PowerRequest:
    """`wait_seconds` is the time that each way may take; `force` also interrupts whoever has a tools ISO mounted.

    INVALID_INPUT for a `fallback` that the verb has no use for.
    """

    vm_uuid: str
    verb: PowerVerb
    fallback: Fallback = "none"
    wait_seconds: float = 300.0
    force: bool = False
    check: bool = False
    """Only say what would be done."""

    def __post_init__(self) -> None:
        if self.fallback != "none" and (self.verb, self.fallback) not in WAYS:
            known = [fallback for verb, fallback in WAYS if verb == self.verb] or ["none"]
            raise OpenNGTError("INVALID_INPUT", f"fallback: {self.verb} knows {' and '.join(known)} only")


@dataclass(frozen=True)
class PowerPlan:
    """`ways` are tried one after the other until the VM is off; `actions` are all done."""

    before: PowerState
    after: PowerState
    changed: bool
    ways: tuple[StoppedBy, ...] = ()
    actions: tuple[PowerAction, ...] = ()


def judge(
    request: PowerRequest,
    seen: HypervisorVm,
    held: Mount | None,
    *,
    enrolled: bool,
    linked: bool,
    now: datetime.datetime,
) -> PowerPlan:
    """What there is to do. A state that is there already is no change.

    HYPERVISOR_FAILED, VM_POWERED_OFF, VM_PAUSED, VM_BUSY, NOT_ENROLLED, LINK_NOT_ACTIVE, POWER_UNSUPPORTED: what would
    come to nothing is refused before the first plug is pulled.
    """
    require_known(seen)
    wanted: PowerState = "off" if request.verb in ("off", "shutdown", "guest_shutdown") else "on"
    ways, actions = WAYS.get((request.verb, request.fallback), ()), ACTIONS.get(request.verb, ())
    if request.verb in ("on", "off", "shutdown", "guest_shutdown") and seen.power_state == wanted:
        return PowerPlan(wanted, wanted, False)
    _require_running(request, seen)
    if seen.power_state != "off" and not request.force:
        require_no_disc(held, now)
    needs_agent = request.verb == "guest_reboot" or ways == ("agent",)
    if needs_agent and not enrolled:
        raise not_enrolled(seen.vm_name)
    if needs_agent and not linked:
        raise no_link(request.verb, seen.vm_name)
    for action in actions if not ways else _actions_of(ways[-1]):
        if action in seen.cannot:
            raise _unsupported(seen, request.verb, action)
    return PowerPlan(seen.power_state, wanted, True, ways, actions)


def _require_running(request: PowerRequest, seen: HypervisorVm) -> None:
    if seen.power_state == "off" and request.verb != "on":
        raise OpenNGTError("VM_POWERED_OFF", f"VM {seen.vm_name} is off: {request.verb} needs a VM that runs")
    if seen.power_state == "paused" and request.verb not in ("off", "power_cycle"):
        raise OpenNGTError("VM_PAUSED", f"VM {seen.vm_name} is paused: it can obey no {request.verb}")


def require_no_disc(held: Mount | None, now: datetime.datetime) -> None:
    """VM_BUSY while a tools ISO is in a drive: somebody installs or refreshes in the guest."""
    if held is not None and held.phase == "mounted" and held.lease_ends > now:
        raise vm_busy(held)


def no_link(verb: PowerVerb, vm_name: str) -> OpenNGTError:
    return OpenNGTError("LINK_NOT_ACTIVE", f"{verb} goes through the agent of VM {vm_name}, which is not connected")


def _actions_of(way: StoppedBy) -> tuple[PowerAction, ...]:
    by: dict[StoppedBy, tuple[PowerAction, ...]] = {"agent": (), "acpi": ("shutdown",), "off": ("off",)}
    return by[way]


def _unsupported(seen: HypervisorVm, verb: PowerVerb, action: PowerAction) -> OpenNGTError:
    reason = seen.cannot[action]
    message = f"the hypervisor cannot do {verb} with VM {seen.vm_name}: {reason}"
    return OpenNGTError("POWER_UNSUPPORTED", message, {"verb": verb, "action": action, "reason": reason})
