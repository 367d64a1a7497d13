# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks and idempotency keys as rows."""

import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, insert, select, tuple_, update

from openngt import effects
from openngt.errors import OpenNGTError

from . import audit, schema
from .database import Database
from .pages import foreign_page_token

__all__ = [
    "FINISHED",
    "RequestKey",
    "TaskPage",
    "TaskRecord",
    "TaskRows",
    "TaskState",
    "request_key",
]

TaskState = Literal["queued", "running", "succeeded", "failed", "interrupted", "cancelled"]
FINISHED: frozenset[TaskState] = frozenset({"succeeded", "failed", "interrupted", "cancelled"})
UNFINISHED: tuple[TaskState, ...] = ("queued", "running")

NAMES_IN_ONE_STATEMENT = 500
KEY_LIFE = datetime.timedelta(days=1)
TASK_LIFE = datetime.timedelta(days=30)


@dataclass(frozen=True)
class TaskRecord:
    task_id: str
    kind: str
    vm_uuid: str | None
    actor: str
    state: TaskState
    progress: int
    step: str
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created: datetime.datetime
    updated: datetime.datetime
    parent: str | None = None
    """The task that it is a part of."""
    request: dict[str, Any] | None = None
    """What was asked. A task that has it goes on after a restart, by whoever submitted it."""
    cancelled_by: str | None = None
    """Who has asked that it ends before its time; as it was when the record was read."""

    @property
    def finished(self) -> bool:
        return self.state in FINISHED


@dataclass(frozen=True)
class TaskPage:
    items: list[TaskRecord]
    next_page_token: str | None


@dataclass(frozen=True)
class RequestKey:
    """An `Idempotency-Key` with the caller whose it is and a digest of what was asked. Made by `request_key`."""

    actor: str
    key: str
    request_sha256: str


def request_key(actor: str, key: str, verb: str, request: Mapping[str, Any]) -> RequestKey:
    """INVALID_INPUT unless the key has 1 to 128 printable ASCII characters."""
    if not (1 <= len(key) <= 128 and key.isascii() and key.isprintable()):
        raise OpenNGTError("INVALID_INPUT", "Idempotency-Key: give 1 to 128 printable ASCII characters")
    asked = json.dumps([verb, request], sort_keys=True, separators=(",", ":"))
    return RequestKey(actor, key, hashlib.sha256(asked.encode()).hexdigest())


class TaskRows:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, record: TaskRecord, key: RequestKey | None = None) -> tuple[TaskRecord, bool]:
        """Store a new task; or return (with False) the one that an earlier request with the same key has made.

        IDEMPOTENCY_MISMATCH when the key belongs to a different request.
        """

        def write(connection: Connection) -> tuple[TaskRecord, bool]:
            earlier = _made_by(connection, key) if key is not None else None
            if earlier is not None:
                return earlier, False
            connection.execute(insert(schema.tasks), _values(record))
            if key is not None:
                connection.execute(
                    insert(schema.idempotency), {**vars(key), "task_id": record.task_id, "created": record.created}
                )
            return record, True

        return await self._database.write(write)

    async def update(self, record: TaskRecord) -> None:
        """Store progress or the end of a task."""
        values = _values(record)
        del values["request"]  # as it was created; it can be long, and progress is stored often
        del values["cancelled_by"]  # of `cancel` alone
        change = update(schema.tasks).where(schema.tasks.c.task_id == record.task_id).values(**values)
        await self._database.write(lambda connection: connection.execute(change).rowcount)

    async def cancel(self, task_id: str, actor: str) -> None:
        """Note durably that the task shall end, so that a start does not go on with it; audited."""
        table = schema.tasks
        change = update(table).where(table.c.task_id == task_id, table.c.cancelled_by.is_(None))

        def write(connection: Connection) -> None:
            if connection.execute(change.values(cancelled_by=actor)).rowcount:
                audit.append(connection, [audit.AuditEntry(actor, "task.cancel", details={"task_id": task_id})])

        await self._database.write(write)

    async def get(self, task_id: str) -> TaskRecord | None:
        return await self._database.read(lambda connection: _get(connection, task_id))

    async def page(self, *, vm_uuid: str | None = None, limit: int = 100, page_token: str | None = None) -> TaskPage:
        """Newest first. The page token is the last task's id."""
        if limit < 1:
            raise OpenNGTError("INVALID_INPUT", "limit: give a whole number above 0")
        return await self._database.read(lambda connection: _page(connection, vm_uuid, limit, page_token))

    async def parts_of(self, parents: Sequence[str], vm_uuids: Sequence[str] | None = None) -> list[TaskRecord]:
        """The tasks that are parts of those, of these VMs or (None) of all, for each parent oldest first."""
        return await self._database.read(lambda connection: _parts(connection, parents, vm_uuids))

    async def unfinished(self) -> list[TaskRecord]:
        """Tasks with a request that were queued or running when the service ended, oldest first: they can go on."""
        table = schema.tasks
        query = select(table).where(table.c.state.in_(UNFINISHED), table.c.request.is_not(None))
        query = query.order_by(table.c.created, table.c.task_id)
        return await self._database.read(lambda connection: [_record(row) for row in connection.execute(query)])

    async def interrupt_unfinished(self) -> int:
        """At a start: what was queued or running when the process died, and cannot go on, is `interrupted`.

        Returns how many.
        """
        error = OpenNGTError(
            "TASK_FAILED",
            "the service ended before the task did",
            remedy="ask for it again: it begins with a look at what there is",
        )
        change = (
            update(schema.tasks)
            .where(schema.tasks.c.state.in_(UNFINISHED), schema.tasks.c.request.is_(None))
            .values(state="interrupted", error=error.to_dict(), updated=effects.now())
        )
        return await self._database.write(lambda connection: connection.execute(change).rowcount)

    async def forget_old(self, now: datetime.datetime) -> None:
        """Delete finished tasks after 30 days and idempotency keys after one."""

        def write(connection: Connection) -> None:
            table, keys = schema.tasks, schema.idempotency
            connection.execute(delete(table).where(table.c.updated < now - TASK_LIFE, table.c.state.in_(FINISHED)))
            connection.execute(delete(keys).where(keys.c.created < now - KEY_LIFE))

        await self._database.write(write)


def _made_by(connection: Connection, key: RequestKey) -> TaskRecord | None:
    table = schema.idempotency
    row = connection.execute(select(table).where(table.c.actor == key.actor, table.c.key == key.key)).one_or_none()
    if row is None:
        return None
    if row.request_sha256 != key.request_sha256:
        raise OpenNGTError("IDEMPOTENCY_MISMATCH", f"Idempotency-Key {key.key} belongs to a different request")
    return _get(connection, row.task_id)


def _parts(connection: Connection, parents: Sequence[str], vm_uuids: Sequence[str] | None) -> list[TaskRecord]:
    table = schema.tasks
    found: list[TaskRecord] = []
    for some_parents in _some_at_a_time(parents):
        query = select(table).where(table.c.parent.in_(some_parents)).order_by(table.c.created, table.c.task_id)
        wanted = (
            [query]
            if vm_uuids is None
            else [query.where(table.c.vm_uuid.in_(some_vms)) for some_vms in _some_at_a_time(vm_uuids)]
        )
        for each in wanted:
            found += [_record(row) for row in connection.execute(each)]
    return found


def _some_at_a_time(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), NAMES_IN_ONE_STATEMENT):
        yield names[start : start + NAMES_IN_ONE_STATEMENT]


def _values(record: TaskRecord) -> dict[str, Any]:
    return dict(vars(record))


def _record(row: Row[Any]) -> TaskRecord:
    return TaskRecord(**row._mapping)


def _get(connection: Connection, task_id: str) -> TaskRecord | None:
    row = connection.execute(select(schema.tasks).where(schema.tasks.c.task_id == task_id)).one_or_none()
    return None if row is None else _record(row)


def _page(connection: Connection, vm_uuid: str | None, limit: int, page_token: str | None) -> TaskPage:
    table = schema.tasks
    query = select(table).order_by(table.c.created.desc(), table.c.task_id.desc()).limit(limit + 1)
    if vm_uuid is not None:
        query = query.where(table.c.vm_uuid == vm_uuid)
    if page_token is not None:
        last = _get(connection, page_token)
        if last is None:
            raise foreign_page_token()
        query = query.where(tuple_(table.c.created, table.c.task_id) < tuple_(last.created, last.task_id))
    items = [_record(row) for row in connection.execute(query)]
    return TaskPage(items[:limit], items[limit - 1].task_id if len(items) > limit else None)
