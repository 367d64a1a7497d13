# SPDX-License-Identifier: GPL-3.0-or-later
"""A power verb for many VMs: which they are, and what became of each. `fleets.py` runs it, `power.py` switches one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from openngt import effects
from openngt.errors import OpenNGTError

from ..hypervisors.base import HypervisorVm
from ..store.task_rows import RequestKey, TaskRecord
from .engine import Progress
from .fleets import FleetKind, FleetRow, Fleets
from .links import Links
from .parts import Parts
from .power import power
from .power_plan import Fallback, PowerRequest, PowerVerb, judge

__all__ = ["PowerAsk", "Powers"]

RESUME_SECONDS = 20.0
"""Agents are back within 15 s after a restart of the service."""

RESULT = ("changed", "before", "power_state", "stopped_by", "failed_before", "boot_id")

Json = dict[str, Any]


@dataclass(frozen=True)
class PowerAsk:
    """As the API takes it. INVALID_INPUT for an empty `vm`, and for a `fallback` that the verb has no use for."""

    vm: tuple[str, ...]
    verb: PowerVerb
    fallback: Fallback = "none"
    wait_seconds: float = 300.0
    force: bool = False
    max_in_flight: int = 16

    def __post_init__(self) -> None:
        if not self.vm:
            raise OpenNGTError("INVALID_INPUT", "vm: name at least one VM", {"field": "vm"})
        self.request_for("")

    def request_for(self, vm_uuid: str) -> PowerRequest:
        return PowerRequest(vm_uuid, self.verb, self.fallback, self.wait_seconds, self.force)


class Powers:
    def __init__(self, parts: Parts, links: Links, fleets: Fleets) -> None:
        self._parts = parts
        self._links = links
        self._fleets = fleets
        self._kind = FleetKind(
            "fleet_power",
            "power",
            done="switched",
            rows="openngt vm power-show",
            perform=self._perform,
            takes_turns=True,
            again=_has_a_goal,
            before_again=self._until_back,
        )
        fleets.add(self._kind)

    async def plan(self, ask: PowerAsk) -> list[Json]:
        """What `submit` would do and refuse, a row for each VM; changes nothing."""
        found = await self._parts.hypervisor.many(ask.vm)
        return [self._planned(ask, name, vm) for name, vm in _once(ask.vm, found)]

    async def submit(self, ask: PowerAsk, *, actor: str, key: RequestKey | None = None) -> TaskRecord:
        """The fleet's task. A name that no VM or several have fails by itself, as does a VM that cannot be switched."""
        found = await self._parts.hypervisor.many(ask.vm)
        request = {
            "verb": ask.verb,
            "fallback": ask.fallback,
            "wait_seconds": ask.wait_seconds,
            "force": ask.force,
            "max_in_flight": ask.max_in_flight,
            "targets": [_target(ask.verb, name, vm) for name, vm in _once(ask.vm, found)],
        }
        return await self._fleets.submit(self._kind, request, actor=actor, key=key)

    async def rows(self, task_id: str, *, limit: int = 500, page_token: str | None = None) -> Json:
        """The fleet's task and a row for each of its VMs, as they are now. NOT_FOUND for another kind of task."""
        record, rows, next_page_token = await self._fleets.look(self._kind, task_id, limit, page_token)
        return {"task": record, "items": [_row(row) for row in rows], "next_page_token": next_page_token}

    def _planned(self, ask: PowerAsk, name: str, vm: HypervisorVm | OpenNGTError) -> Json:
        blank = {
            **_named(ask.verb, name, vm),
            "tasks": [],
            **dict.fromkeys(RESULT),
            "changed": False,
            "failed_before": [],
        }
        if isinstance(vm, OpenNGTError):
            return {**blank, "state": "blocked", **vm.to_dict()}
        store, gateway = self._parts.store, self._parts.gateway
        try:
            plan = judge(
                ask.request_for(vm.vm_uuid),
                vm,
                store.mounts.get(vm.vm_uuid),
                enrolled=store.registry.get(vm.vm_uuid) is not None,
                linked=gateway.session(vm.vm_uuid) is not None,
                now=effects.now(),
            )
            self._parts.engine.require_unclaimed(vm.vm_uuid)
        except OpenNGTError as exc:
            return {**blank, "state": "blocked", **exc.to_dict()}
        told = {"changed": plan.changed, "before": plan.before, "power_state": plan.after}
        return {**blank, "state": "due" if plan.changed else "unchanged", **told, **_no_error()}

    async def _perform(self, request: Json, target: Json, actor: str, progress: Progress) -> Json:
        how = {name: request[name] for name in ("verb", "fallback", "wait_seconds", "force")}
        return await power(self._parts, PowerRequest(target["vm_uuid"], **how), actor, progress)

    async def _until_back(self, request: Json, target: Json) -> None:
        if request["verb"].startswith("guest_"):
            await self._links.until(target["vm_uuid"], lambda session: True, RESUME_SECONDS)


def _has_a_goal(request: Json) -> bool:
    """Whether the verb can be repeated: a state that is there already is no change, a second reset is one."""
    return request["verb"] in ("on", "off", "shutdown", "guest_shutdown")


def _once(
    names: Sequence[str], found: Sequence[HypervisorVm | OpenNGTError]
) -> list[tuple[str, HypervisorVm | OpenNGTError]]:
    """Each VM under the first of the names that it was given."""
    chosen: dict[str, tuple[str, HypervisorVm | OpenNGTError]] = {}
    for name, vm in zip(names, found, strict=True):
        chosen.setdefault(name if isinstance(vm, OpenNGTError) else vm.vm_uuid, (name, vm))
    return list(chosen.values())


def _named(verb: PowerVerb, name: str, vm: HypervisorVm | OpenNGTError) -> Json:
    """A name that is no VM's, or several's, stands for it."""
    if isinstance(vm, OpenNGTError):
        return {"vm": name, "vm_uuid": None, "vm_name": name, "verb": verb}
    return {"vm": name, "vm_uuid": vm.vm_uuid, "vm_name": vm.vm_name, "verb": verb}


def _target(verb: PowerVerb, name: str, vm: HypervisorVm | OpenNGTError) -> Json:
    return {**_named(verb, name, vm), "error": vm.to_dict() if isinstance(vm, OpenNGTError) else None}


def _no_error() -> Json:
    return dict.fromkeys(("code", "message", "remedy", "details"))


def _row(row: FleetRow) -> Json:
    """The same fields as a row of the plan."""
    result = (row.task.result if row.task else None) or {"changed": False, "failed_before": []}
    return {
        **{name: row.target[name] for name in ("vm", "vm_uuid", "vm_name", "verb")},
        "state": row.state,
        "tasks": row.tasks(),
        **{name: result.get(name) for name in RESULT},
        **{name: row.error.get(name) for name in _no_error()},
    }
