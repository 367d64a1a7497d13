# SPDX-License-Identifier: GPL-3.0-or-later
"""A refresh of one VM or of many: whose it is, and what became of each. `fleets.py` runs it."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from openngt import effects
from openngt.errors import OpenNGTError

from ..hypervisors.base import HypervisorVm
from ..store.registry import Vm, vm_not_found
from ..store.task_rows import RequestKey, TaskRecord
from .engine import Progress
from .fleets import FleetKind, FleetRow, Fleets
from .links import Links
from .parts import Parts
from .refresh import RefreshRequest, refresh
from .refresh_plan import Ask, Candidate, Lives, Planned, check_ask, plan_refresh, row_of

__all__ = ["Refreshes"]

RESUME_SECONDS = 20.0
"""Agents are back within 15 s after a restart; who comes too early finds no link and would take the longer way."""
NAMED_IN_ERROR = 5

Json = dict[str, Any]


class Refreshes:
    def __init__(self, parts: Parts, links: Links, fleets: Fleets) -> None:
        self._parts = parts
        self._links = links
        self._fleets = fleets
        self._kind = FleetKind(
            "fleet_refresh",
            "refresh",
            done="refreshed",
            rows="openngt refresh show",
            perform=self._perform,
            before_again=self._until_back,
        )
        fleets.add(self._kind)
        self._random = random.Random()  # noqa: S311  spreads load, no secret

    async def plan(self, ask: Ask) -> list[Json]:
        """What `submit` would do, a row for each VM that was named or is enrolled; changes nothing.

        INVALID_INPUT, and VM_NOT_FOUND or VM_AMBIGUOUS with every such name in `details.problems`.
        """
        planned, lives = await self._decide(ask)
        now = effects.now().replace(microsecond=0)
        return [row_of(row, lives.longest, now) for row in planned]

    async def submit(self, ask: Ask, *, actor: str, key: RequestKey | None = None) -> TaskRecord:
        """The fleet's task. It fails when a VM was not refreshed, after it has tried each."""
        planned, lives = await self._decide(ask)
        chosen = [row for row in planned if row.refresh]
        self._random.shuffle(chosen)  # so that one host of the hypervisor does not get all at once
        request = {
            "via": ask.via,
            "max_in_flight": ask.max_in_flight,
            "spread_seconds": ask.spread_seconds,
            "wait_seconds": ask.wait_seconds,
            "targets": [self._target(row, lives) for row in chosen],
        }
        return await self._fleets.submit(self._kind, request, actor=actor, key=key)

    async def rows(self, task_id: str, *, limit: int = 500, page_token: str | None = None) -> Json:
        """The fleet's task and a row for each of its VMs, as they are now. NOT_FOUND for another kind of task."""
        record, rows, next_page_token = await self._fleets.look(self._kind, task_id, limit, page_token)
        return {"task": record, "items": [_row(row) for row in rows], "next_page_token": next_page_token}

    async def _decide(self, ask: Ask) -> tuple[list[Planned], Lives]:
        now = effects.now()
        lives = check_ask(
            ask,
            default_days=self._parts.settings.validity_days,
            ca_ends=self._parts.store.ledger.authority.not_after,
            now=now,
            several=ask.vm is None or len(ask.vm) > 1,
        )
        return plan_refresh(await self._candidates(ask), ask, now), lives

    async def _candidates(self, ask: Ask) -> list[Candidate]:
        registry = self._parts.store.registry
        if ask.vm is None:
            candidates = [self._candidate(vm) for vm in registry.all()]
        else:
            candidates = await self._named(ask.vm)
        if ask.via == "link" or all(candidate.linked for candidate in candidates if candidate.enrolled):
            return candidates  # drives do not matter
        seen = {vm.vm_uuid: vm for vm in await self._parts.hypervisor.list_vms()}
        return [replace(candidate, seen=seen.get(candidate.vm_uuid)) for candidate in candidates]

    def _candidate(self, vm: Vm) -> Candidate:
        store, view = self._parts.store, self._links.view(vm.vm_uuid)
        return Candidate(
            vm.vm_uuid,
            vm.vm_name,
            certificate=store.ledger.certificate_of(vm.vm_uuid),
            has_agent=view.row.agent_version is not None,
            linked=self._parts.gateway.session(vm.vm_uuid) is not None,
            mount=store.mounts.get(vm.vm_uuid),
        )

    async def _named(self, names: Sequence[str]) -> list[Candidate]:
        """Each VM once, in the order of the names. All names that are none or several are told at once."""
        found: dict[str, Candidate] = {}
        problems: list[OpenNGTError] = []
        for name in names:
            try:
                candidate = await self._one(name)
            except OpenNGTError as exc:
                if exc.code not in ("VM_NOT_FOUND", "VM_AMBIGUOUS"):
                    raise
                problems.append(exc)
            else:
                found.setdefault(candidate.vm_uuid, candidate)
        if problems:
            text = "; ".join(exc.message for exc in problems[:NAMED_IN_ERROR])
            listed = [{"code": exc.code, "message": exc.message, **exc.details} for exc in problems]
            raise OpenNGTError(problems[0].code, text, {"problems": listed})
        return list(found.values())

    async def _one(self, name: str) -> Candidate:
        """Of the registry; else one of the hypervisor's that is not enrolled. VM_NOT_FOUND, VM_AMBIGUOUS."""
        registry = self._parts.store.registry
        try:
            return self._candidate(registry.find(name))
        except OpenNGTError as exc:
            if exc.code != "NOT_ENROLLED":
                raise
        try:
            stranger: HypervisorVm = await self._parts.hypervisor.one(name)
        except OpenNGTError as exc:
            if exc.code != "VM_NOT_FOUND":
                raise
            names = (vm.vm_name for vm in registry.all())
            raise vm_not_found(name, f"no VM has the name or UUID {name}", names) from exc
        return Candidate(stranger.vm_uuid, stranger.vm_name, enrolled=False, seen=stranger)

    def _target(self, row: Planned, lives: Lives) -> Json:
        old = row.candidate.certificate
        return {
            "vm_uuid": row.candidate.vm_uuid,
            "vm_name": row.candidate.vm_name,
            "reason": row.reason,
            "old_serial": None if old is None else old.serial_hex,
            "old_not_after": None if old is None else old.not_after.isoformat().replace("+00:00", "Z"),
            "validity_days": lives.longest - self._random.randint(0, lives.jitter),
        }

    async def _perform(self, request: Json, target: Json, actor: str, progress: Progress) -> Json:
        wanted = RefreshRequest(
            target["vm_uuid"], target["old_serial"], target["validity_days"], request["via"], request["wait_seconds"]
        )
        return await refresh(self._parts, self._links, wanted, actor, progress)

    async def _until_back(self, request: Json, target: Json) -> None:
        await self._links.until(target["vm_uuid"], lambda session: True, RESUME_SECONDS)


def _row(row: FleetRow) -> Json:
    """Of a VM's part of the fleet; the same fields as a row of the plan (`refresh_plan.row_of`)."""
    target, result = row.target, (row.task.result if row.task else None) or {}
    return {
        "vm_uuid": target["vm_uuid"],
        "vm_name": target["vm_name"],
        "state": row.state,
        "reason": target["reason"],
        "via": result.get("via"),
        "key": result.get("key"),
        "tasks": row.tasks(),
        "code": row.error.get("code"),
        "message": row.error.get("message"),
        "remedy": row.error.get("remedy"),
        "old_serial": target["old_serial"],
        "new_serial": result.get("new_serial"),
        "old_not_after": target["old_not_after"],
        "new_not_after": result.get("new_not_after"),
    }
