# SPDX-License-Identifier: GPL-3.0-or-later
"""Long work: queued, one at a time for a VM, progress on disk, and honest about what a restart cut short."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from openngt import effects
from openngt.errors import OpenNGTError

from ..store.task_rows import RequestKey, TaskRecord, TaskRows, TaskState

__all__ = ["Progress", "TaskEngine", "Work"]

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


@dataclass
class _Live:
    record: TaskRecord
    finished: asyncio.Event = field(default_factory=asyncio.Event)


class Progress:
    """Handed to a piece of work, for it to say how far it is."""

    def __init__(self, engine: "TaskEngine", live: _Live) -> None:
        self._engine = engine
        self._live = live

    @property
    def task_id(self) -> str:
        return self._live.record.task_id

    async def part(self, kind: str, work: "Work") -> dict[str, Any]:
        """Do some of the work as a task of its own, in this one's turn; returns its result or raises its error."""
        return await self._engine._run_part(self._live.record, kind, work)

    async def step(self, percent: int, text: str) -> None:
        """What begins now, and how much was done before; stored before it begins."""
        await self._engine._store(self._live, progress=percent, step=text)


Work = Callable[[Progress], Awaitable[dict[str, Any]]]
"""Returns the task's result, JSON values without secrets, or raises OpenNGTError."""

_Begin = Callable[["_Live", Work], Coroutine[Any, Any, dict[str, Any]]]


@dataclass
class _VmLock:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class TaskEngine:
    """Runs work as tasks; a VM's tasks take turns, and one may hold the VM for longer than its turn (`claim`).

    `start` before the first `submit`; `stop` interrupts what is still at work."""

    def __init__(self, rows: TaskRows, *, in_flight: int) -> None:
        self._rows = rows
        self._slots = asyncio.Semaphore(in_flight)
        self._live: dict[str, _Live] = {}
        self._runners: set[asyncio.Task[None]] = set()
        self._vms: dict[str, _VmLock] = {}
        self._claims: dict[str, str] = {}
        self._stopping = False
        self.on_ended: Callable[[TaskRecord], None] = lambda record: None
        """Called on the event loop when a task is no longer at work."""

    async def start(self) -> int:
        """Mark what an earlier process left unfinished as `interrupted`; returns how many tasks that were.

        Tasks that keep their request are left for `resume`.
        """
        return await self._rows.interrupt_unfinished()

    def resume(self, record: TaskRecord, work: Work) -> None:
        """Go on with a task of `TaskRows.unfinished`."""
        self._launch(
            replace(record, state="queued", step="goes on after a restart of the service"), self._take_turn, work
        )

    async def stop(self) -> None:
        """Accept no more, cancel what runs and store it as `interrupted`."""
        self._stopping = True
        for runner in self._runners:
            runner.cancel()
        if self._runners:
            await asyncio.wait(self._runners)

    async def submit(
        self,
        kind: str,
        vm_uuid: str | None,
        work: Work,
        *,
        actor: str,
        key: RequestKey | None = None,
        takes_turns: bool = False,
        parent: str | None = None,
        request: dict[str, Any] | None = None,
    ) -> TaskRecord:
        """Queue the work and return at once; or, when a request with this key has made a task before, return that one.

        Work that `takes_turns` itself begins at once, without the VM's turn and without a slot: it mostly waits.
        With `request` the task outlives the service: its caller hands it to `resume` at the next start.
        IDEMPOTENCY_MISMATCH when the key belongs to another request, RATE_LIMITED when the service is stopping.
        """
        if self._stopping:
            raise OpenNGTError("RATE_LIMITED", "the service is stopping", remedy="repeat when it runs again")
        now = effects.now()
        task_id = uuid.uuid4().hex
        draft = TaskRecord(
            task_id, kind, vm_uuid, actor, "queued", 0, "queued", None, None, now, now, parent=parent, request=request
        )
        record, created = await self._rows.create(draft, key)
        if created:
            self._launch(record, self._begin if takes_turns else self._take_turn, work)
        return record

    async def wait(self, task_id: str, seconds: float) -> TaskRecord | None:
        """The task, once it has ended or the time is up; None for an unknown id."""
        live = self._live.get(task_id)
        if live is None:
            return await self._rows.get(task_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await live.finished.wait()
        return live.record

    async def finished(self, task_id: str) -> None:
        """Return when the task is no longer at work."""
        live = self._live.get(task_id)
        if live is not None:
            await live.finished.wait()

    def busy(self, vm_uuid: str) -> bool:
        """Whether somebody holds or waits for the VM."""
        return vm_uuid in self._vms

    @contextlib.asynccontextmanager
    async def exclusive(self, vm_uuid: str) -> AsyncIterator[None]:
        """Work on a VM alone, in turn with its tasks."""
        vm = self._vms.setdefault(vm_uuid, _VmLock())
        vm.users += 1
        try:
            async with vm.lock:
                yield
        finally:
            vm.users -= 1
            if vm.users == 0:
                del self._vms[vm_uuid]

    @contextlib.contextmanager
    def claim(self, vm_uuid: str, holder: str) -> Iterator[None]:
        """Hold the VM without its turn: a second claim is refused meanwhile, and work that asks `require_unclaimed`."""
        self.require_unclaimed(vm_uuid)
        self._claims[vm_uuid] = holder
        try:
            yield
        finally:
            del self._claims[vm_uuid]

    def require_unclaimed(self, vm_uuid: str) -> None:
        """VM_BUSY names who holds the VM."""
        holder = self._claims.get(vm_uuid)
        if holder is not None:
            raise OpenNGTError("VM_BUSY", f"{holder} is at work on the VM", {"holder": holder, "vm_uuid": vm_uuid})

    def _launch(self, record: TaskRecord, begin: "_Begin", work: Work) -> None:
        live = self._live[record.task_id] = _Live(record)
        runner = asyncio.create_task(self._run(live, begin, work), name=f"{record.kind} {record.vm_uuid}")
        self._runners.add(runner)
        runner.add_done_callback(self._runners.discard)

    async def _run_part(self, whole: TaskRecord, kind: str, work: Work) -> dict[str, Any]:
        now, task_id = effects.now(), uuid.uuid4().hex
        draft = TaskRecord(
            task_id, kind, whole.vm_uuid, whole.actor, "running", 0, "started", None, None, now, now, whole.task_id
        )
        record, _ = await self._rows.create(draft)
        live = self._live[task_id] = _Live(record)
        worker = asyncio.ensure_future(work(Progress(self, live)))
        try:
            await asyncio.wait({worker})
        finally:
            worker.cancel()
            await asyncio.wait({worker})
            await self._finish(live, worker)
        return worker.result()

    async def _finish(self, live: _Live, worker: "asyncio.Future[dict[str, Any]]") -> None:
        live.record = replace(live.record, updated=effects.now(), **_end(live.record, worker))
        live.finished.set()
        self.on_ended(live.record)
        await self._store_end(live.record)
        del self._live[live.record.task_id]

    async def _run(self, live: _Live, begin: "_Begin", work: Work) -> None:
        """Waits for the work as a task of its own, so that its end is read, whatever it is, and not caught."""
        worker = asyncio.create_task(begin(live, work))
        try:
            await asyncio.wait({worker})
        except asyncio.CancelledError:
            worker.cancel()
            await asyncio.wait({worker})
        await self._finish(live, worker)

    async def _store_end(self, record: TaskRecord) -> None:
        """On a full disk again and again, until the service stops; who waits for the task has its end already (F8)."""
        while True:
            try:
                await self._rows.update(record)
            except OpenNGTError as exc:
                log.warning("task_end_not_stored", task_id=record.task_id, state=record.state, code=exc.code)
                if self._stopping:
                    return
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _take_turn(self, live: _Live, work: Work) -> dict[str, Any]:
        vm_uuid = live.record.vm_uuid
        alone = contextlib.nullcontext() if vm_uuid is None else self.exclusive(vm_uuid)
        # A task that is no VM's waits for those that are: it must not keep a slot from them.
        slot = contextlib.nullcontext() if vm_uuid is None else self._slots
        # The VM's turn first: a task that waits for its VM must not keep a slot from others.
        async with alone, slot:
            return await self._begin(live, work)

    async def _begin(self, live: _Live, work: Work) -> dict[str, Any]:
        await self._store(live, state="running", step="started")
        return await work(Progress(self, live))

    async def _store(self, live: _Live, **changes: Any) -> None:
        live.record = replace(live.record, updated=effects.now(), **changes)
        await self._rows.update(live.record)


def _end(record: TaskRecord, worker: "asyncio.Future[dict[str, Any]]") -> dict[str, Any]:
    state: TaskState
    if worker.cancelled() and record.request is not None:
        return {"step": "goes on when the service runs again"}
    if worker.cancelled():
        state, error = "interrupted", OpenNGTError("TASK_FAILED", "the service was stopped before the task ended")
        return {"state": state, "error": error.to_dict()}
    failure = worker.exception()
    if failure is None:
        state = "succeeded"
        return {"state": state, "progress": 100, "step": "done", "result": worker.result()}
    state = "failed"
    if isinstance(failure, OpenNGTError):
        if failure.code == "TASK_CANCELLED":
            return {"state": "cancelled", "error": failure.to_dict()}
        log.info("task_failed", task_id=record.task_id, kind=record.kind, vm_uuid=record.vm_uuid, code=failure.code)
        return {"state": state, "error": failure.to_dict()}
    log.error("task_broke", task_id=record.task_id, kind=record.kind, vm_uuid=record.vm_uuid, exc_info=failure)
    defect = OpenNGTError("INTERNAL", f"task {record.task_id} ended with {type(failure).__name__}")
    return {"state": state, "error": defect.to_dict()}
