# SPDX-License-Identifier: GPL-3.0-or-later
"""Who did what to which VM: append-only rows, each holding the hash of the one before.

The chain shows that a row was altered, removed or moved. Whoever can write the whole database can also forge a whole
new chain, so `head` belongs somewhere else from time to time: the service logs it, and an export carries it.
"""

import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from openngt import effects

from . import schema
from .database import GENESIS, Database

__all__ = ["AuditEntry", "AuditHead", "AuditLog", "AuditReport", "AuditRow", "append"]

PAGE = 1000

# Built once: every change of the service appends a row.
INSERT = insert(schema.audit)
HEAD = select(schema.service.c.audit_sequence, schema.service.c.audit_hash)
MOVE_HEAD = update(schema.service).values(audit_sequence=bindparam("sequence"), audit_hash=bindparam("hash"))


@dataclass(frozen=True)
class AuditEntry:
    """One thing done. `result` is `ok` or an error code; `details` holds JSON values and never a secret."""

    actor: str
    verb: str
    vm_uuid: str | None = None
    result: str = "ok"
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditRow:
    sequence: int
    at: datetime.datetime
    actor: str
    verb: str
    vm_uuid: str | None
    result: str
    details: Mapping[str, Any]
    previous: str
    hash: str

    def to_dict(self) -> dict[str, Any]:
        """The exported form: what the hash covers, and the hash."""
        return {**_hashed(self), "hash": self.hash}

    def expected_hash(self) -> str:
        text = json.dumps(_hashed(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class AuditHead:
    sequence: int
    hash: str


@dataclass(frozen=True)
class AuditReport:
    """`problem` is None for a whole chain, else it names the first bad row; `sequence` is that row's number."""

    rows: int
    sequence: int | None = None
    problem: str | None = None


def _hashed(row: AuditRow) -> dict[str, Any]:
    return {
        "sequence": row.sequence,
        "at": row.at.astimezone(datetime.UTC).isoformat(timespec="microseconds"),
        "actor": row.actor,
        "verb": row.verb,
        "vm_uuid": row.vm_uuid,
        "result": row.result,
        "details": dict(row.details),
        "previous": row.previous,
    }


def append(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Add rows inside the caller's transaction: what was done and its trace are committed together or not at all."""
    if not entries:
        return
    head = _head(connection)
    sequence, previous, at = head.sequence, head.hash, effects.now()
    rows = []
    for entry in entries:
        sequence += 1
        draft = AuditRow(
            sequence, at, entry.actor, entry.verb, entry.vm_uuid, entry.result, entry.details, previous, hash=""
        )
        previous_hash, previous = previous, draft.expected_hash()
        rows.append(
            {
                "sequence": sequence,
                "at": at,
                "actor": entry.actor,
                "verb": entry.verb,
                "vm_uuid": entry.vm_uuid,
                "result": entry.result,
                "details": dict(entry.details),
                "previous": previous_hash,
                "hash": previous,
            }
        )
    connection.execute(INSERT, rows)
    connection.execute(MOVE_HEAD, {"sequence": sequence, "hash": previous})


def _head(connection: Connection) -> AuditHead:
    row = connection.execute(HEAD).one()
    return AuditHead(row.audit_sequence, row.audit_hash)


class AuditLog:
    """The audit trail as the API and the CLI read it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, entry: AuditEntry) -> None:
        """Write one row that goes with no other change (a refusal, an export); durable when it returns."""
        await self._database.write(lambda connection: append(connection, [entry]))

    async def page(self, *, after: int = 0, limit: int = PAGE) -> list[AuditRow]:
        """Rows with a sequence above `after`, oldest first. Paging to the end exports the whole trail."""
        return await self._database.read(lambda connection: _page(connection, after, limit))

    async def head(self) -> AuditHead:
        """The newest row's number and hash, as they stand outside the chain."""
        return await self._database.read(_head)

    async def verify(self) -> AuditReport:
        """Recompute the whole chain; the report names the first row that is missing, altered or out of place."""
        return await self._database.read(_verify)


def _page(connection: Connection, after: int, limit: int) -> list[AuditRow]:
    query = select(schema.audit).where(schema.audit.c.sequence > after).order_by(schema.audit.c.sequence).limit(limit)
    return [_row(row) for row in connection.execute(query)]


def _row(row: Row[Any]) -> AuditRow:
    return AuditRow(
        row.sequence, row.at, row.actor, row.verb, row.vm_uuid, row.result, row.details, row.previous, row.hash
    )


def _all_rows(connection: Connection) -> Iterator[AuditRow]:
    after = 0
    while rows := _page(connection, after, PAGE):
        yield from rows
        after = rows[-1].sequence


def _verify(connection: Connection) -> AuditReport:
    sequence, previous = 0, GENESIS
    for row in _all_rows(connection):
        if row.sequence != sequence + 1:
            return AuditReport(sequence, sequence + 1, f"row {sequence + 1} is missing")
        if row.previous != previous:
            return AuditReport(sequence, row.sequence, f"row {row.sequence} does not follow the row before it")
        if row.hash != row.expected_hash():
            return AuditReport(sequence, row.sequence, f"row {row.sequence} was altered")
        sequence, previous = row.sequence, row.hash
    head = _head(connection)
    if head.sequence != sequence:
        return AuditReport(sequence, sequence + 1, f"rows {sequence + 1} to {head.sequence} are missing at the end")
    if head.hash != previous:
        return AuditReport(sequence, sequence, f"row {sequence} is not the one that was written last")
    return AuditReport(sequence)
