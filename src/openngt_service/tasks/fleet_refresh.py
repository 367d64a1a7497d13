# SPDX-License-Identifier: GPL-3.0-or-later
"""A refresh of one VM or of a fleet: one task, with a task for each VM as its parts.

What was decided (VMs, lives, limits) is stored with the task before anything is done, so that a service that restarts
goes on with it: what is done stays done, what was cut short is done again.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import structlog

from openngt import effects
from openngt.errors import OpenNGTError

from ..hypervisors.base import HypervisorVm
from ..store.registry import Vm, near_names
from ..store.task_rows import RequestKey, TaskRecord
from .engine import Progress, Work
from .links import Links
from .parts import Parts
from .refresh import RefreshRequest, refresh
from .refresh_plan import Ask, Candidate, Lives, Planned, check_ask, plan_refresh, row_of
from .titles import TITLES

__all__ = ["FLEET", "PART", "Refreshes"]

log = structlog.get_logger(__name__)

FLEET = "fleet_refresh"
PART = "refresh"
RESUME_SECONDS = 20.0
"""Agents are back within 15 s after a restart; who comes too early finds no link and would take the longer way."""
RETRY_SECONDS = 5.0
NAMED_IN_ERROR = 5

Json = dict[str, Any]


class Refreshes:
    """`resume` once at the start, when mounts are settled."""

    def __init__(self, parts: Parts, links: Links) -> None:
        self._parts = parts
        self._links = links
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
        work = self._work(request, actor)
        return await self._parts.engine.submit(FLEET, None, work, actor=actor, key=key, request=request)

    async def resume(self) -> int:
        """Go on with what an earlier process left; returns how many fleets that are."""
        unfinished = [record for record in await self._parts.store.tasks.unfinished() if record.kind == FLEET]
        for record in unfinished:
            assert record.request is not None, "asked for by this"
            work = self._work(record.request, record.actor, resumed=True)
            self._parts.engine.resume(record, work)
        return len(unfinished)

    async def rows(self, task_id: str, *, limit: int = 500, page_token: str | None = None) -> Json:
        """The fleet's task and a row for each of its VMs, as they are now. NOT_FOUND for another kind of task."""
        stored = await self._parts.store.tasks.get(task_id)
        if stored is None or stored.request is None or stored.kind != FLEET:
            raise OpenNGTError("NOT_FOUND", f"there is no refresh {task_id}")
        record = await self._parts.engine.wait(task_id, 0.0) or stored
        start = _position(page_token)
        targets: list[Json] = stored.request["targets"]
        latest = await self._latest(task_id)
        shown = targets[start : start + limit]
        tasks = [latest[target["vm_uuid"]] for target in shown if target["vm_uuid"] in latest]
        mounts: dict[str | None, list[TaskRecord]] = {}
        for part in await self._parts.store.tasks.parts_of([task.task_id for task in tasks]):
            mounts.setdefault(part.parent, []).append(part)
        items = [_row(target, latest.get(target["vm_uuid"]), mounts) for target in shown]
        more = start + limit < len(targets)
        return {"task": record, "items": items, "next_page_token": f"{start + limit:x}" if more else None}

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
            near = near_names(name, (vm.vm_name for vm in registry.all()))
            hint = f"; near names: {', '.join(near)}" if near else ""
            raise OpenNGTError("VM_NOT_FOUND", f"no VM has the name or UUID {name}{hint}", {"vm": name}) from exc
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

    def _work(self, request: Json, actor: str, *, resumed: bool = False) -> Work:
        async def work(progress: Progress) -> Json:
            return await self._run(request, actor, progress, resumed=resumed)

        return work

    async def _run(self, request: Json, actor: str, progress: Progress, *, resumed: bool) -> Json:
        targets: list[Json] = request["targets"]
        ended = {vm: task for vm, task in (await self._latest(progress.task_id)).items() if _is_done(task)}
        waiting = [target for target in targets if target["vm_uuid"] not in ended]
        await _tell(progress, ended, targets)
        slots = asyncio.Semaphore(request["max_in_flight"])

        async def one(target: Json) -> None:
            if resumed:
                await self._links.until(target["vm_uuid"], lambda session: True, RESUME_SECONDS)
            await asyncio.sleep(self._random.uniform(0.0, request["spread_seconds"]))
            async with slots:
                task = await self._refresh(request, target, actor, progress.task_id)
            ended[target["vm_uuid"]] = task
            await _tell(progress, ended, targets)

        async with asyncio.TaskGroup() as group:
            for target in waiting:
                group.create_task(one(target))
        return _verdict(ended, targets)

    async def _refresh(self, request: Json, target: Json, actor: str, fleet: str) -> TaskRecord:
        engine, vm_uuid = self._parts.engine, target["vm_uuid"]
        wanted = RefreshRequest(
            vm_uuid, target["old_serial"], target["validity_days"], request["via"], request["wait_seconds"]
        )

        async def work(progress: Progress) -> Json:
            return await refresh(self._parts, self._links, wanted, actor, progress)

        while True:
            try:
                record = await engine.submit(PART, vm_uuid, work, actor=actor, parent=fleet)
            except OpenNGTError as exc:  # the disk is full (F8), or the service stops: it goes on when that is over
                log.warning("refresh_not_begun", vm_uuid=vm_uuid, code=exc.code)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                await engine.finished(record.task_id)
                return cast(TaskRecord, await engine.wait(record.task_id, 0.0))

    async def _latest(self, fleet: str) -> dict[str, TaskRecord]:
        """Each VM's last task: one that was interrupted may be followed by another."""
        stored = [task for task in await self._parts.store.tasks.parts_of([fleet]) if task.kind == PART]
        return {str(task.vm_uuid): task for task in stored}


def _is_done(task: TaskRecord) -> bool:
    return task.state in ("succeeded", "failed")


def _percent(ended: dict[str, TaskRecord], targets: Sequence[Json]) -> int:
    return 100 * len(ended) // len(targets) if targets else 100


async def _tell(progress: Progress, ended: dict[str, TaskRecord], targets: Sequence[Json]) -> None:
    try:
        await progress.step(_percent(ended, targets), _so_far(ended, targets))
    except OpenNGTError as exc:
        log.warning("refresh_progress_not_stored", task_id=progress.task_id, code=exc.code)


def _so_far(ended: dict[str, TaskRecord], targets: Sequence[Json]) -> str:
    failed = sum(task.state == "failed" for task in ended.values())
    text = f"{len(ended) - failed} of {len(targets)} refreshed"
    return f"{text}, {failed} failed" if failed else text


def _verdict(ended: dict[str, TaskRecord], targets: Sequence[Json]) -> Json:
    """The fleet's result; its one VM's own error, or TASK_FAILED with each VM that was not refreshed."""
    names = {target["vm_uuid"]: target["vm_name"] for target in targets}
    failed = {vm_uuid: task.error or {} for vm_uuid, task in ended.items() if task.state == "failed"}
    if not failed:
        return {"refreshed": len(targets)}
    if len(targets) == 1:
        [(vm_uuid, error)] = failed.items()
        name, said = names[vm_uuid], str(error["message"])
        said = said if name in said else f"VM {name}: {said}"
        raise OpenNGTError(error["code"], said, error["details"], error["remedy"])
    named = [f"{names[vm_uuid]} ({error['code']})" for vm_uuid, error in failed.items()]
    more = f" and {len(named) - NAMED_IN_ERROR} more" if len(named) > NAMED_IN_ERROR else ""
    raise OpenNGTError(
        "TASK_FAILED",
        f"{len(failed)} of {len(targets)} VMs were not refreshed: {', '.join(named[:NAMED_IN_ERROR])}{more}",
        {
            "refreshed": len(targets) - len(failed),
            "failed": len(failed),
            "codes": dict(Counter(str(error["code"]) for error in failed.values())),
        },
        "read each VM's row: openngt refresh show, with this task's id",
    )


def _position(page_token: str | None) -> int:
    if page_token is None:
        return 0
    try:
        return int(page_token, 16)
    except ValueError:
        raise OpenNGTError("INVALID_INPUT", "page_token: give one that a list has returned") from None


def _row(target: Json, task: TaskRecord | None, parts: Mapping[str | None, Sequence[TaskRecord]]) -> Json:
    """Of a VM's part of the fleet; the same fields as a row of the plan (`refresh_plan.row_of`)."""
    error, result = (task.error if task else None) or {}, (task.result if task else None) or {}
    states = {"queued": "waiting", "running": "running", "succeeded": "refreshed", "failed": "failed"}
    failed = task is not None and task.state == "failed"
    return {
        "vm_uuid": target["vm_uuid"],
        "vm_name": target["vm_name"],
        "state": "waiting" if task is None else states.get(task.state, "waiting"),
        "reason": target["reason"],
        "via": result.get("via"),
        "key": result.get("key"),
        "tasks": [] if task is None else [_shown(each) for each in (task, *parts.get(task.task_id, ()))],
        "code": error.get("code") if failed else None,
        "message": error.get("message") if failed else None,
        "remedy": error.get("remedy") if failed else None,
        "old_serial": target["old_serial"],
        "new_serial": result.get("new_serial"),
        "old_not_after": target["old_not_after"],
        "new_not_after": result.get("new_not_after"),
    }


def _shown(task: TaskRecord) -> Json:
    return {
        "task_id": task.task_id,
        "title": TITLES[task.kind],
        "state": task.state,
        "progress": task.progress,
        "step": task.step,
    }
