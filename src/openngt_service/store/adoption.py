# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes over what a CA has issued before there was a service: its issue log becomes rows of registry and ledger."""

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, insert, select

from openngt.pki.issue_log import IssueLog, IssueRecord

from ..ports import SerialState
from . import audit, schema
from .certificate_rows import LIVE, Entry, change, entry_of, row_of, trace
from .registry import Capabilities, Vm, raise_generations, read_vms, save

__all__ = ["Adopted", "adopt"]


@dataclass(frozen=True)
class Adopted:
    """How many serials were new and how many known; and what the mirrors in memory have to learn."""

    adopted: int
    known: int
    vms: list[Vm] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)


def adopt(connection: Connection, issue_log: IssueLog, now: datetime.datetime, actor: str) -> Adopted:
    """Store what the log holds and the ledger does not. Runs inside the caller's transaction."""
    held = {entry.serial_hex: entry for entry in _held(connection)}
    unknown = [record for record in issue_log.issued if record.serial not in held]
    vms = {vm.vm_uuid: vm for vm in read_vms(connection)}
    has_live = {entry.vm_uuid for entry in held.values() if entry.state in LIVE}
    plans = [
        _plan(vms.get(vm_uuid), records, issue_log.revoked, now, has_live=vm_uuid in has_live)
        for vm_uuid, records in _by_vm(unknown).items()
    ]
    for vm, entries in plans:
        _store(connection, vm, entries, now, actor, new=vm.vm_uuid not in vms)
    revoked = _revoke(connection, issue_log.revoked & held.keys(), actor)
    return Adopted(
        adopted=len(unknown),
        known=len(issue_log.issued) - len(unknown),
        vms=[vm for vm, _ in plans],
        entries=[entry for _, entries in plans for entry in entries] + revoked,
    )


def _held(connection: Connection) -> Iterable[Entry]:
    return [entry_of(row) for row in connection.execute(select(schema.certificates))]


def _by_vm(records: Sequence[IssueRecord]) -> Mapping[str, list[IssueRecord]]:
    grouped: defaultdict[str, list[IssueRecord]] = defaultdict(list)
    for record in records:
        grouped[record.vm_uuid].append(record)
    return grouped


def _plan(
    vm: Vm | None, records: Sequence[IssueRecord], revoked: frozenset[str], now: datetime.datetime, *, has_live: bool
) -> tuple[Vm, list[Entry]]:
    """What the VM's row and its new serials become. A disabled VM stays disabled and its serials denied (T18)."""
    newest = max(records, key=lambda record: record.generation)
    usable = newest.serial not in revoked and not has_live and newest.not_after > now and (vm is None or vm.enabled)
    entries = [_entry(record, _state(record, newest if usable else None, revoked)) for record in records]
    generation = newest.generation
    if vm is None:
        name = newest.vm_name or newest.vm_uuid
        return Vm(newest.vm_uuid, name, newest.ngt_uuid, True, Capabilities(), generation, now), entries
    ngt_uuid = newest.ngt_uuid if usable else vm.ngt_uuid
    return replace(vm, ngt_uuid=ngt_uuid, generation=max(vm.generation, generation)), entries


def _state(record: IssueRecord, current: IssueRecord | None, revoked: frozenset[str]) -> SerialState:
    if record.serial in revoked:
        return "revoked"
    return "current" if record is current else "retired"


def _entry(record: IssueRecord, state: SerialState) -> Entry:
    return Entry(
        serial=int(record.serial, 16),
        vm_uuid=record.vm_uuid,
        ngt_uuid=record.ngt_uuid,
        generation=record.generation,
        kind="external",
        state=state,
        not_before=record.not_before,
        not_after=record.not_after,
        sha256=record.sha256,
    )


def _store(
    connection: Connection, vm: Vm, entries: Sequence[Entry], now: datetime.datetime, actor: str, *, new: bool
) -> None:
    save(connection, vm, new=new)
    raise_generations(connection, {vm.vm_uuid: vm.generation})
    connection.execute(insert(schema.certificates), [row_of(entry, now) for entry in entries])
    audit.append(connection, [trace(actor, "certificate.adopt", entry) for entry in entries])


def _revoke(connection: Connection, serials: Iterable[str], actor: str) -> list[Entry]:
    """The log's revocations of serials that the ledger knew before."""
    changed = [
        entry
        for serial in sorted(serials)
        for entry in change(connection, "revoked", schema.certificates.c.serial == serial, LIVE)
    ]
    audit.append(connection, [trace(actor, "certificate.revoke", entry) for entry in changed])
    return changed
