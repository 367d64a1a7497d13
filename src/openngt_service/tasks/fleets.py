# SPDX-License-Identifier: GPL-3.0-or-later
"""Work on many VMs as one task, with a task for each VM as its parts: so many at a time, resumed, cancelled.

What was decided (VMs, options, limits) is stored with the task before anything is done, so that a service that restarts
goes on with it: what is done stays done. What a kind of work is about, its `FleetKind` says.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import structlog

from openngt.errors import OpenNGTError

from ..store.pages import foreign_page_token
from ..store.task_rows import RequestKey, TaskRecord
from .engine import Progress, Work
from .links import Links
from .parts import Parts
from .titles import TITLES

__all__ = ["FleetKind", "FleetRow", "Fleets", "until_back"]

log = structlog.get_logger(__name__)

RESUME_SECONDS = 20.0
"""Agents are back within 15 s after a restart; who comes too early finds no link and would take the longer way."""
RETRY_SECONDS = 5.0
NAMED_IN_ERROR = 5

Json = dict[str, Any]


async def _at_once(request: Json, target: Json) -> None:
    return


def until_back(links: Links) -> Callable[[Json, Json], Awaitable[None]]:
    """For `before_again`: the VM's agent is linked again, or it does not come back soon."""

    async def wait(request: Json, target: Json) -> None:
        await links.until(target["vm_uuid"], lambda session: True, RESUME_SECONDS)

    return wait


@dataclass(frozen=True)
class FleetKind:
    """One kind of work on many VMs.

    A request holds `targets` (each with `vm_uuid`, `vm_name`, and `error` where the VM was refused at the beginning),
    `max_in_flight` and, optionally, `spread_seconds`, `batch` (so many VMs, and their end, before the next ones) and
    `max_fail_percentage` (of a batch; more, and nobody else is begun). What else it holds is `perform`'s.
    """

    fleet: str
    part: str
    done: str
    """The state of a VM whose part has succeeded; also the field of the fleet's result that counts them."""
    rows: str
    """Where a person finds the rows of a fleet that failed."""
    perform: Callable[[Json, Json, str, Progress], Awaitable[Json]]
    """(request, target, actor, progress) -> the result of a VM's part."""
    takes_turns: bool = False
    """As of `TaskEngine.submit`."""
    again: Callable[[Json], bool] = lambda request: True
    """Whether a part that a restart of the service has cut short is done again."""
    before_again: Callable[[Json, Json], Awaitable[None]] = _at_once
    """(request, target): waits, after a restart, until there is sense in beginning with this target."""


@dataclass(frozen=True)
class FleetRow:
    """A VM of a fleet: what was decided, how far it is, its newest task, and that task's parts."""

    target: Json
    state: str
    """`waiting`, `running`, the kind's word for done, `failed`; once the fleet has ended `cancelled` or `not_begun`."""
    error: Json
    """Of one that failed; else empty."""
    task: TaskRecord | None
    parts: tuple[TaskRecord, ...] = ()

    def tasks(self) -> list[Json]:
        """As the VM's row shows them."""
        return [] if self.task is None else [_shown(each) for each in (self.task, *self.parts)]


@dataclass
class _Batch:
    """VMs of which some are begun, and their end waited for, before the next ones."""

    targets: Sequence[Json]
    failed: int
    """So many have come to nothing so far."""

    def too_many_failed(self, most: float | None) -> bool:
        """As Ansible counts: the percentage has to be exceeded, not reached. None: never."""
        return most is not None and 100 * self.failed > most * len(self.targets)


@dataclass
class _Fleet:
    """One at work."""

    kind: FleetKind
    request: Json
    actor: str
    task_id: str
    resumed: bool
    cancelled: asyncio.Event
    ended: dict[str, TaskRecord] = field(default_factory=dict)
    refused: int = 0
    failed: int = 0
    """Counted as they come, the refused ones with them: to look through a fleet of thousands for each VM takes long."""

    @property
    def targets(self) -> Sequence[Json]:
        return cast(Sequence[Json], self.request["targets"])

    @property
    def most_failed(self) -> float | None:
        return cast("float | None", self.request.get("max_fail_percentage"))

    def failures(self) -> list[tuple[str, Json]]:
        """(VM's name, error) of those that came to nothing."""
        judged = ((target, _failure(target, self.ended.get(target["vm_uuid"]))) for target in self.targets)
        return [(target["vm_name"], error) for target, error in judged if error is not None]

    def left(self, among: Sequence[Json] | None = None) -> list[Json]:
        """The VMs of which nothing has come yet; of all, or among some."""
        targets = self.targets if among is None else among
        return [target for target in targets if not target.get("error") and target["vm_uuid"] not in self.ended]

    def begin_with(self, ended: Mapping[str, TaskRecord]) -> None:
        """What an earlier process has brought to an end."""
        self.ended.update(ended)
        self.refused = sum(bool(target.get("error")) for target in self.targets)
        self.failed = len(self.failures())

    def batches(self) -> Iterator[_Batch]:
        size = self.request.get("batch") or max(1, len(self.targets))
        for start in range(0, len(self.targets), size):
            some = self.targets[start : start + size]
            failed = sum(_failure(target, self.ended.get(target["vm_uuid"])) is not None for target in some)
            yield _Batch(some, failed)

    def end(self, batch: _Batch, target: Json, task: TaskRecord) -> None:
        self.ended[target["vm_uuid"]] = task
        failed = _failure(target, task) is not None
        batch.failed += failed
        self.failed += failed


class Fleets:
    """`add` each kind before `resume`, which is called once at the start, when mounts are settled."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._kinds: dict[str, FleetKind] = {}
        self._cancelled: dict[str, asyncio.Event] = {}
        self._random = random.Random()  # noqa: S311  spreads load, no secret

    def add(self, kind: FleetKind) -> None:
        self._kinds[kind.fleet] = kind

    async def submit(self, kind: FleetKind, request: Json, *, actor: str, key: RequestKey | None = None) -> TaskRecord:
        """The fleet's task. It fails when a VM came to nothing, after it has tried each."""
        work = self._work(kind, request, actor)
        return await self._parts.engine.submit(kind.fleet, None, work, actor=actor, key=key, request=request)

    async def resume(self) -> int:
        """Go on with what an earlier process left; returns how many fleets that are."""
        stored = await self._parts.store.tasks.unfinished()
        unfinished = [record for record in stored if record.kind in self._kinds]
        for record in unfinished:
            assert record.request is not None, "asked for by this"
            if record.cancelled_by is not None:
                self._cancelled.setdefault(record.task_id, asyncio.Event()).set()
            work = self._work(self._kinds[record.kind], record.request, record.actor, resumed=True)
            self._parts.engine.resume(record, work)
        return len(unfinished)

    async def cancel(self, task_id: str, *, actor: str) -> TaskRecord:
        """Begin with no further VM; those at work come to their end, and then the task is `cancelled`.

        Again for a task that is cancelled: nothing. NOT_FOUND; TASK_NOT_CANCELLABLE for one that has ended or is not
        about many VMs.
        """
        record = await self._parts.engine.wait(task_id, 0.0)
        if record is None:
            raise OpenNGTError("NOT_FOUND", f"there is no task {task_id}")
        if record.state == "cancelled":
            return record
        if record.kind not in self._kinds:
            raise _not_cancellable(record, "is about one VM, and is not stopped half-way")
        if record.finished:
            raise _not_cancellable(record, f"has ended as {record.state}")
        await self._parts.store.tasks.cancel(task_id, actor)
        record = await self._parts.engine.wait(task_id, 0.0) or record
        if not record.finished:
            self._cancelled.setdefault(task_id, asyncio.Event()).set()
        return record

    async def look(
        self, kind: FleetKind, task_id: str, limit: int, page_token: str | None
    ) -> tuple[TaskRecord, list[FleetRow], str | None]:
        """The fleet's task, a page of its VMs as they are now, the next page's token. NOT_FOUND for another kind."""
        tasks = self._parts.store.tasks
        stored = await tasks.get(task_id)
        if stored is None or stored.request is None or stored.kind != kind.fleet:
            raise OpenNGTError("NOT_FOUND", f"there is no {kind.part} {task_id}")
        record = await self._parts.engine.wait(task_id, 0.0) or stored
        start = _position(page_token)
        targets: list[Json] = stored.request["targets"]
        shown = targets[start : start + limit]
        latest = await self._latest(kind, task_id, [target["vm_uuid"] for target in shown])
        parts: dict[str | None, list[TaskRecord]] = {}
        for part in await tasks.parts_of([latest[t["vm_uuid"]].task_id for t in shown if t["vm_uuid"] in latest]):
            parts.setdefault(part.parent, []).append(part)
        left = {"cancelled": "cancelled", "failed": "not_begun"}.get(record.state, "waiting")
        again = kind.again(stored.request) and not record.finished
        rows = []
        for target in shown:
            task = latest.get(target["vm_uuid"])
            state = _state(kind, target, task, left, again)
            error = (_failure(target, task) if state == "failed" else None) or {}
            rows.append(FleetRow(target, state, error, task, tuple(parts.get(task.task_id, ())) if task else ()))
        return record, rows, f"{start + limit:x}" if start + limit < len(targets) else None

    def _work(self, kind: FleetKind, request: Json, actor: str, *, resumed: bool = False) -> Work:
        async def work(progress: Progress) -> Json:
            cancelled = self._cancelled.setdefault(progress.task_id, asyncio.Event())
            fleet = _Fleet(kind, request, actor, progress.task_id, resumed, cancelled)
            try:
                return await self._run(fleet, progress)
            finally:
                self._cancelled.pop(progress.task_id, None)

        return work

    async def _run(self, fleet: _Fleet, progress: Progress) -> Json:
        again = fleet.kind.again(fleet.request)
        latest = await self._latest(fleet.kind, fleet.task_id)
        fleet.begin_with({vm: task for vm, task in latest.items() if _is_done(task, again)})
        await _tell(progress, fleet)
        slots = asyncio.Semaphore(fleet.request["max_in_flight"])
        watcher = asyncio.create_task(_tell_cancelled(progress, fleet))
        try:
            for batch in fleet.batches():
                async with asyncio.TaskGroup() as group:
                    for target in fleet.left(batch.targets):
                        group.create_task(self._one(fleet, batch, target, slots, progress))
                if batch.too_many_failed(fleet.most_failed):
                    break
        finally:
            watcher.cancel()
        if fleet.cancelled.is_set() and fleet.left():
            raise _cancelled(fleet)
        return _verdict(fleet)

    async def _one(
        self, fleet: _Fleet, batch: _Batch, target: Json, slots: asyncio.Semaphore, progress: Progress
    ) -> None:
        async def wait() -> None:
            if fleet.resumed:
                await fleet.kind.before_again(fleet.request, target)
            await asyncio.sleep(self._random.uniform(0.0, fleet.request.get("spread_seconds", 0.0)))

        await _unless(fleet.cancelled, wait())
        async with slots:
            task = None if batch.too_many_failed(fleet.most_failed) else await self._part(fleet, target)
        if task is not None:
            fleet.end(batch, target, task)
            await _tell(progress, fleet)

    async def _part(self, fleet: _Fleet, target: Json) -> TaskRecord | None:
        """The VM's task that has ended; None when the fleet was cancelled before it began."""
        engine, kind, vm_uuid = self._parts.engine, fleet.kind, target["vm_uuid"]

        async def work(progress: Progress) -> Json:
            return await kind.perform(fleet.request, target, fleet.actor, progress)

        while not fleet.cancelled.is_set():
            try:
                record = await engine.submit(
                    kind.part, vm_uuid, work, actor=fleet.actor, parent=fleet.task_id, takes_turns=kind.takes_turns
                )
            except OpenNGTError as exc:  # the disk is full (F8), or the service stops: it goes on when that is over
                log.warning("part_not_begun", kind=kind.part, vm_uuid=vm_uuid, code=exc.code)
                await _unless(fleet.cancelled, asyncio.sleep(RETRY_SECONDS))
            else:
                await engine.finished(record.task_id)
                return cast(TaskRecord, await engine.wait(record.task_id, 0.0))
        return None

    async def _latest(
        self, kind: FleetKind, task_id: str, vm_uuids: Sequence[str] | None = None
    ) -> dict[str, TaskRecord]:
        """Each VM's last task: one that was interrupted may be followed by another. None: of all VMs."""
        parts = await self._parts.store.tasks.parts_of([task_id], vm_uuids)
        stored = [task for task in parts if task.kind == kind.part]
        return {str(task.vm_uuid): task for task in stored}


def _failure(target: Json, task: TaskRecord | None) -> Json | None:
    """The error of a VM that was refused at the beginning, or whose task has come to nothing."""
    if target.get("error"):
        return cast(Json, target["error"])
    return task.error or {} if task is not None and task.finished and task.state != "succeeded" else None


def _state(kind: FleetKind, target: Json, task: TaskRecord | None, left: str, again: bool) -> str:
    """`left` is what a VM is that was not begun; `again`: one that was cut short will be done again."""
    if target.get("error"):
        return "failed"
    if task is None:
        return left
    if task.state == "interrupted" and again:
        return "waiting"
    return {"queued": "waiting", "running": "running", "succeeded": kind.done}.get(task.state, "failed")


def _shown(record: TaskRecord) -> Json:
    return {
        "task_id": record.task_id,
        "title": TITLES.get(record.kind, record.kind),
        "state": record.state,
        "progress": record.progress,
        "step": record.step,
    }


def _is_done(task: TaskRecord, again: bool) -> bool:
    return task.finished and (task.state != "interrupted" or not again)


async def _unless(event: asyncio.Event, wait: Awaitable[None]) -> None:
    """Wait, but not after the event."""
    waits = asyncio.ensure_future(wait), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if waits[0].done():
            waits[0].result()
    finally:
        for each in waits:
            each.cancel()


async def _tell(progress: Progress, fleet: _Fleet) -> None:
    total, failed = len(fleet.targets), fleet.failed
    done = fleet.refused + len(fleet.ended)
    text = f"{done - failed} of {total} {fleet.kind.done}" + (f", {failed} failed" if failed else "")
    if fleet.cancelled.is_set():
        text += ", cancelled"
    try:
        await progress.step(100 * done // total if total else 100, text)
    except OpenNGTError as exc:
        log.warning("fleet_progress_not_stored", task_id=progress.task_id, code=exc.code)


async def _tell_cancelled(progress: Progress, fleet: _Fleet) -> None:
    await fleet.cancelled.wait()
    await _tell(progress, fleet)


def _verdict(fleet: _Fleet) -> Json:
    """The fleet's result; its one VM's own error, or TASK_FAILED with each VM that came to nothing."""
    failed, total = fleet.failures(), len(fleet.targets)
    if not failed:
        return {fleet.kind.done: total}
    if total == 1:
        [(name, error)] = failed
        said = str(error["message"])
        raise OpenNGTError(
            error["code"], said if name in said else f"VM {name}: {said}", error["details"], error["remedy"]
        )
    left = len(fleet.left())
    text = f"{len(failed)} of {total} VMs were not {fleet.kind.done}: {_named(failed)}"
    if left:
        text += f"; that is more than {fleet.most_failed} %, {left} were not begun"
    details = {
        fleet.kind.done: total - left - len(failed),
        "failed": len(failed),
        "codes": dict(Counter(str(error["code"]) for _, error in failed)),
    }
    raise OpenNGTError(
        "TASK_FAILED",
        text,
        {**details, "not_begun": left} if left else details,
        f"read each VM's row: {fleet.kind.rows}, with this task's id",
    )


def _cancelled(fleet: _Fleet) -> OpenNGTError:
    total, left, failed = len(fleet.targets), len(fleet.left()), len(fleet.failures())
    done = total - left - failed
    message = f"cancelled: {done} of {total} VMs were {fleet.kind.done}, {failed} failed, {left} were left as they are"
    return OpenNGTError("TASK_CANCELLED", message, {fleet.kind.done: done, "failed": failed, "left": left})


def _named(failed: Sequence[tuple[str, Json]]) -> str:
    named = ", ".join(f"{name} ({error['code']})" for name, error in failed[:NAMED_IN_ERROR])
    return f"{named} and {len(failed) - NAMED_IN_ERROR} more" if len(failed) > NAMED_IN_ERROR else named


def _not_cancellable(record: TaskRecord, why: str) -> OpenNGTError:
    details = {"task_id": record.task_id, "kind": record.kind, "state": record.state}
    return OpenNGTError("TASK_NOT_CANCELLABLE", f"task {record.task_id} ({record.kind}) {why}", details)


def _position(page_token: str | None) -> int:
    if page_token is None:
        return 0
    try:
        return int(page_token, 16)
    except ValueError:
        raise foreign_page_token() from None
