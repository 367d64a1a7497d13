# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger's rows and the SQL that changes them; `ledger` is the only room that calls it."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, insert, or_, select, update

from openngt import effects
from openngt.errors import OpenNGTError

from ..ports import Accepted, CertificateKind, SerialState
from . import audit, schema
from .registry import not_enrolled, raise_generations

__all__ = ["LIVE", "Entry", "change", "entry_of", "load", "promote", "row_of", "store_issued", "trace"]

LIVE: frozenset[SerialState] = frozenset({"next", "current"})
NAMES_IN_ONE_STATEMENT = 500

# Built once: building a statement costs more than SQLite takes to run it.
RETIRE_NEXT = (
    update(schema.certificates)
    .where(schema.certificates.c.vm_uuid == bindparam("of_vm"), schema.certificates.c.state == "next")
    .values(state="retired")
)
INSERT = insert(schema.certificates)
ENABLED = select(schema.vms.c.vm_uuid, schema.vms.c.ngt_uuid).where(
    schema.vms.c.vm_uuid.in_(bindparam("names", expanding=True)), schema.vms.c.enabled
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A serial as the ledger holds it."""

    serial: int
    vm_uuid: str
    ngt_uuid: str
    generation: int
    kind: CertificateKind
    state: SerialState
    not_before: datetime.datetime
    not_after: datetime.datetime
    sha256: str
    first_used_at: datetime.datetime | None = None
    """When an agent first came with it; None before that, and for what an earlier release has seen."""
    ca_sha256: str | None = None
    """Of the CA that signed it; None where nobody has written it down (`Succession.oldest_sha256`)."""
    next_ca_sha256: str | None = None
    """Of the CA that was handed over beside that one: an agent that has the certificate trusts both."""

    @property
    def serial_hex(self) -> str:
        return f"{self.serial:x}"

    def accepted(self) -> Accepted:
        return Accepted(self.vm_uuid, self.ngt_uuid, self.serial, self.generation, self.kind, self.state)


def store_issued(connection: Connection, entries: Sequence[Entry], at: datetime.datetime, actor: str) -> None:
    """Insert new certificates; a `next` that their VMs had is retired. NOT_ENROLLED for a VM that is not enabled."""
    generations: dict[str, int] = {}
    for entry in entries:
        generations[entry.vm_uuid] = max(entry.generation, generations.get(entry.vm_uuid, 0))
    _require_enabled(connection, {entry.vm_uuid: entry.ngt_uuid for entry in entries})
    connection.execute(RETIRE_NEXT, [{"of_vm": vm_uuid} for vm_uuid in generations])
    connection.execute(INSERT, [row_of(entry, at) for entry in entries])
    raise_generations(connection, generations)
    audit.append(connection, [trace(actor, "certificate.issue", entry) for entry in entries])


def _require_enabled(connection: Connection, ngt_uuids: Mapping[str, str]) -> None:
    """Asked inside the transaction: while a certificate was being signed its VM may have ended this life (T18)."""
    vm_uuids = list(ngt_uuids)
    for start in range(0, len(vm_uuids), NAMES_IN_ONE_STATEMENT):
        names = vm_uuids[start : start + NAMES_IN_ONE_STATEMENT]
        enabled = {row.vm_uuid: row.ngt_uuid for row in connection.execute(ENABLED, {"names": names})}
        for vm_uuid in names:
            if enabled.get(vm_uuid) != ngt_uuids[vm_uuid]:
                raise not_enrolled(vm_uuid)


def row_of(entry: Entry, issued_at: datetime.datetime) -> dict[str, Any]:
    return {
        "serial": entry.serial_hex,
        "vm_uuid": entry.vm_uuid,
        "ngt_uuid": entry.ngt_uuid,
        "generation": entry.generation,
        "kind": entry.kind,
        "state": entry.state,
        "not_before": entry.not_before,
        "not_after": entry.not_after,
        "sha256": entry.sha256,
        "issued_at": issued_at,
        "first_used_at": entry.first_used_at,
        "ca_sha256": entry.ca_sha256,
        "next_ca_sha256": entry.next_ca_sha256,
    }


def entry_of(row: Any) -> Entry:
    return Entry(
        int(row.serial, 16),
        row.vm_uuid,
        row.ngt_uuid,
        row.generation,
        row.kind,
        row.state,
        row.not_before,
        row.not_after,
        row.sha256,
        row.first_used_at,
        row.ca_sha256,
        row.next_ca_sha256,
    )


def trace(actor: str, verb: str, entry: Entry) -> audit.AuditEntry:
    details = {"serial": entry.serial_hex, "generation": entry.generation, "kind": entry.kind}
    return audit.AuditEntry(actor, verb, entry.vm_uuid, details=details)


def load(connection: Connection, now: datetime.datetime) -> list[tuple[Entry, datetime.datetime]]:
    table = schema.certificates
    query = select(table).where(or_(table.c.not_after > now, table.c.state.in_(LIVE)))
    return [(entry_of(row), row.issued_at) for row in connection.execute(query)]


def change(
    connection: Connection, to: SerialState, which: ColumnElement[bool], states: Iterable[SerialState], **more: Any
) -> list[Entry]:
    """Set the state of those rows, and the columns in `more`; returns them as they are then."""
    table = schema.certificates
    rows = connection.execute(
        update(table).where(which, table.c.state.in_(list(states))).values(state=to, **more).returning(table)
    )
    return [entry_of(row) for row in rows]


def promote(connection: Connection, serial: int) -> list[Entry]:
    table = schema.certificates
    mine = table.c.serial == f"{serial:x}"
    row = connection.execute(select(table).where(mine)).one_or_none()
    if row is None or row.state not in LIVE:
        state = "unknown" if row is None else row.state
        raise OpenNGTError("AUTHENTICATION_FAILED", f"serial {serial:x} is {state}")
    if row.state == "current":
        return [entry_of(row)]
    retired = change(connection, "retired", table.c.vm_uuid == row.vm_uuid, {"current"})
    promoted = change(connection, "current", mine, {"next"}, first_used_at=effects.now())
    audit.append(connection, [trace("agent", "certificate.promote", entry) for entry in promoted])
    return retired + promoted
