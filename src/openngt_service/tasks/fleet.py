# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on many VMs as one task, with a task for each VM as its parts.

What was decided (VMs, limits) is stored with the task before anything is done, so that a service that restarts goes on
with it: what is done stays done, what was cut short is done again. A request holds `targets` (at least `vm_uuid` and
`vm_name` each), `max_in_flight`, `spread_seconds`, and may hold `batch` and `max_fail_percentage`.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog

from openngt.errors import OpenNGTError

from ..store.task_rows import RequestKey, TaskRecord
from .engine import Progress, Work
from .links import Links
from .parts import Parts
from .titles import TITLES

__all__ = ["Fleet", "Kind", "page_position", "shown_task"]

log = structlog.get_logger(__name__)

RESUME_SECONDS = 20.0
"""Agents are back within 15 s after a restart; who comes too early finds no link and would take the longer way."""
RETRY_SECONDS = 5.0
NAMED_IN_ERROR = 5

Json = dict[str, Any]
OneVm = Callable[[Json, Json, str, Progress], Awaitable[Json]]
"""The work on one VM: request, target, actor, its own progress."""


@dataclass(frozen=True)
class Kind:
    whole: str
    part: str
    done: str
    """What a VM is when it is done, and how many are: `refreshed`."""
    noun: str
    """For people: `refresh`."""


class Fleet:
    """`resume` once at the start, when mounts are settled."""

    def __init__(self, parts: Parts, links: Links, kind: Kind, one_vm: OneVm) -> None:
        self._parts = parts
        self._links = links
        self._kind = kind
        self._one_vm = one_vm
        self._random = random.Random()  # noqa: S311  spreads load, no secret

    async def submit(self, request: Json, *, actor: str, key: RequestKey | None) -> TaskRecord:
        """The fleet's task. It fails when a VM's part failed, after it has tried each that it may."""
        work = self._work(request, actor)
        return await self._parts.engine.submit(self._kind.whole, None, work, actor=actor, key=key, request=request)

    async def resume(self) -> int:
        """Go on with what an earlier process left; returns how many fleets that are."""
        unfinished = [
            record for record in await self._parts.store.tasks.unfinished() if record.kind == self._kind.whole
        ]
        for record in unfinished:
            assert record.request is not None, "asked for by this"
            work = self._work(record.request, record.actor, resumed=True)
            self._parts.engine.resume(record, work)
        return len(unfinished)

    async def rows(
        self,
        task_id: str,
        row: Callable[[Json, TaskRecord | None, Sequence[TaskRecord]], Json],
        *,
        limit: int,
        page_token: str | None,
    ) -> Json:
        """The fleet's task and a row for each of its VMs, as they are now. NOT_FOUND for another kind of task.

        `row` is given the target, its task where there is one, and that task with its own parts.
        """
        stored = await self._parts.store.tasks.get(task_id)
        if stored is None or stored.request is None or stored.kind != self._kind.whole:
            raise OpenNGTError("NOT_FOUND", f"there is no {self._kind.noun} {task_id}")
        record = await self._parts.engine.wait(task_id, 0.0) or stored
        start = page_position(page_token)
        targets: list[Json] = stored.request["targets"]
        latest = await self._latest(task_id)
        shown = targets[start : start + limit]
        tasks = [latest[target["vm_uuid"]] for target in shown if target["vm_uuid"] in latest]
        parts: dict[str | None, list[TaskRecord]] = {}
        for part in await self._parts.store.tasks.parts_of([task.task_id for task in tasks]):
            parts.setdefault(part.parent, []).append(part)
        items = []
        for target in shown:
            task = latest.get(target["vm_uuid"])
            items.append(row(target, task, [] if task is None else [task, *parts.get(task.task_id, ())]))
        more = start + limit < len(targets)
        return {"task": record, "items": items, "next_page_token": f"{start + limit:x}" if more else None}

    def _work(self, request: Json, actor: str, *, resumed: bool = False) -> Work:
        async def work(progress: Progress) -> Json:
            return await self._run(request, actor, progress, resumed=resumed)

        return work

    async def _run(self, request: Json, actor: str, progress: Progress, *, resumed: bool) -> Json:
        targets: list[Json] = request["targets"]
        ended = {vm: task for vm, task in (await self._latest(progress.task_id)).items() if _is_done(task)}
        await self._tell(progress, ended, targets)
        slots = asyncio.Semaphore(request["max_in_flight"])
        size = request.get("batch") or max(1, len(targets))
        for start in range(0, len(targets), size):
            batch = targets[start : start + size]
            if _too_many(ended, batch, request):
                break
            async with asyncio.TaskGroup() as group:
                for target in batch:
                    if target["vm_uuid"] not in ended:
                        one = self._one(request, target, batch, ended, slots, actor, progress, resumed=resumed)
                        group.create_task(one)
            if _too_many(ended, batch, request):
                break
        return self._verdict(ended, targets, request)

    async def _one(
        self,
        request: Json,
        target: Json,
        batch: Sequence[Json],
        ended: dict[str, TaskRecord],
        slots: asyncio.Semaphore,
        actor: str,
        progress: Progress,
        *,
        resumed: bool,
    ) -> None:
        if resumed:
            await self._links.until(target["vm_uuid"], lambda session: True, RESUME_SECONDS)
        await asyncio.sleep(self._random.uniform(0.0, request["spread_seconds"]))
        async with slots:
            if _too_many(ended, batch, request):
                return
            ended[target["vm_uuid"]] = await self._part(request, target, actor, progress.task_id)
        await self._tell(progress, ended, request["targets"])

    async def _part(self, request: Json, target: Json, actor: str, fleet: str) -> TaskRecord:
        engine, vm_uuid = self._parts.engine, target["vm_uuid"]

        async def work(progress: Progress) -> Json:
            return await self._one_vm(request, target, actor, progress)

        while True:
            try:
                record = await engine.submit(self._kind.part, vm_uuid, work, actor=actor, parent=fleet)
            except OpenNGTError as exc:  # the disk is full (F8), or the service stops: it goes on when that is over
                log.warning(f"{self._kind.noun}_not_begun", vm_uuid=vm_uuid, code=exc.code)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                await engine.finished(record.task_id)
                return cast(TaskRecord, await engine.wait(record.task_id, 0.0))

    async def _latest(self, fleet: str) -> dict[str, TaskRecord]:
        """Each VM's last task: one that was interrupted may be followed by another."""
        stored = [task for task in await self._parts.store.tasks.parts_of([fleet]) if task.kind == self._kind.part]
        return {str(task.vm_uuid): task for task in stored}

    async def _tell(self, progress: Progress, ended: dict[str, TaskRecord], targets: Sequence[Json]) -> None:
        try:
            await progress.step(_percent(ended, targets), self._so_far(ended, targets))
        except OpenNGTError as exc:
            log.warning(f"{self._kind.noun}_progress_not_stored", task_id=progress.task_id, code=exc.code)

    def _so_far(self, ended: dict[str, TaskRecord], targets: Sequence[Json]) -> str:
        failed = sum(task.state == "failed" for task in ended.values())
        text = f"{len(ended) - failed} of {len(targets)} {self._kind.done}"
        return f"{text}, {failed} failed" if failed else text

    def _verdict(self, ended: dict[str, TaskRecord], targets: Sequence[Json], request: Json) -> Json:
        """The fleet's result; its one VM's own error, or TASK_FAILED with each VM that failed."""
        done = self._kind.done
        names = {target["vm_uuid"]: target["vm_name"] for target in targets}
        failed = {vm_uuid: task.error or {} for vm_uuid, task in ended.items() if task.state == "failed"}
        if not failed:
            return {done: len(targets)}
        if len(targets) == 1:
            [error] = failed.values()
            raise OpenNGTError(error["code"], error["message"], error["details"], error["remedy"])
        named = [f"{names[vm_uuid]} ({error['code']})" for vm_uuid, error in failed.items()]
        more = f" and {len(named) - NAMED_IN_ERROR} more" if len(named) > NAMED_IN_ERROR else ""
        left = len(targets) - len(ended)
        text = f"{len(failed)} of {len(targets)} VMs were not {done}: {', '.join(named[:NAMED_IN_ERROR])}{more}"
        if left:
            text += f"; that is more than {request['max_fail_percentage']} %, {left} were not begun"
        details = {
            done: len(ended) - len(failed),
            "failed": len(failed),
            "codes": dict(Counter(str(error["code"]) for error in failed.values())),
        }
        raise OpenNGTError(
            "TASK_FAILED",
            text,
            {**details, "not_begun": left} if left else details,
            f"read each VM's row: openngt {self._kind.noun} show, with this task's id",
        )


def page_position(page_token: str | None) -> int:
    if page_token is None:
        return 0
    try:
        return int(page_token, 16)
    except ValueError:
        raise OpenNGTError("INVALID_INPUT", "page_token: give one that a list has returned") from None


def shown_task(task: TaskRecord) -> Json:
    return {
        "task_id": task.task_id,
        "title": TITLES[task.kind],
        "state": task.state,
        "progress": task.progress,
        "step": task.step,
    }


def _is_done(task: TaskRecord) -> bool:
    return task.state in ("succeeded", "failed")


def _too_many(ended: Mapping[str, TaskRecord], batch: Sequence[Json], request: Json) -> bool:
    """As Ansible counts: the percentage of a batch has to be exceeded, not reached."""
    most: float | None = request.get("max_fail_percentage")
    if most is None:
        return False
    failed = sum(target["vm_uuid"] in ended and ended[target["vm_uuid"]].state == "failed" for target in batch)
    return 100 * failed > most * len(batch)


def _percent(ended: Mapping[str, TaskRecord], targets: Sequence[Json]) -> int:
    return 100 * len(ended) // len(targets) if targets else 100
