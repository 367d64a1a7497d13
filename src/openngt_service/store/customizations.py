# SPDX-License-Identifier: GPL-3.0-or-later
"""What VMs were given at their first boot and what became of it: one row a VM, written before its drive is touched.

Never what it was: passwords and user-data are on the disc alone, and gone with it.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, delete, insert, select

from openngt.errors import OpenNGTError

from . import audit, schema
from .clocks import Moment, since_boot
from .database import Database
from .pages import foreign_page_token

__all__ = ["Customizations", "Customized", "CustomizedPhase", "CustomizedState"]

CustomizedState = Literal["pending", "running", "done", "failed", "timed_out"]
CustomizedPhase = Literal["preparing", "inserted", "ending", "clean"]

Json = dict[str, Any]


@dataclass(frozen=True)
class Customized:
    """`preparing` without a task at work is what a crash left. `ending`: the outcome is known, the disc is still there.
    `clean`: drive and file are."""

    vm_uuid: str
    vm_name: str
    phase: CustomizedPhase
    state: CustomizedState
    format: str
    instance_id: str
    digest: str
    """Of what was asked for; see `customization_plan.digest_of`."""
    nonce_sha256: str
    """Of the nonce on the disc, which the guest's report has to hold."""
    wait_seconds: int
    requested_at: datetime.datetime
    drive: str | None = None
    run: str | None = None
    """Life of the VM's process in which the disc was put in; `HypervisorVm.run`."""
    boot_id: str | None = None
    """The guest's boot at that time, where its agent had told it: what it says of that boot is none of this disc's."""
    started_at: datetime.datetime | None = None
    deadline: datetime.datetime | None = None
    finished_at: datetime.datetime | None = None
    code: str | None = None
    message: str | None = None
    details: Json | None = None

    @property
    def live(self) -> bool:
        """Whether there is a disc to be watched."""
        return self.phase != "clean"


@dataclass(frozen=True)
class CustomizedPage:
    items: list[Customized]
    next_page_token: str | None


class _Known(NamedTuple):
    row: Customized
    told: Moment


class Customizations:
    """Mirrored in memory; `load` once before use.

    A guest has as long as was given it, however this host's clock is set meanwhile: `get`, `all` and `page` tell its
    deadline by the clock as it is now.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = since_boot) -> None:
        self._database = database
        self._clock = clock
        self._rows: dict[str, _Known] = {}

    async def load(self) -> None:
        """Read the rows from the database."""
        self._rows = {row.vm_uuid: self._known(row) for row in await self._database.read(_load)}

    def get(self, vm_uuid: str) -> Customized | None:
        known = self._rows.get(vm_uuid)
        return None if known is None else self._today(known)

    def all(self) -> list[Customized]:
        return [self._today(known) for known in self._rows.values()]

    def page(self, *, limit: int, page_token: str | None) -> CustomizedPage:
        """In the order of their UUIDs. The page token is the last VM's UUID."""
        if limit < 1:
            raise OpenNGTError("INVALID_INPUT", "limit: give a whole number above 0")
        if page_token is not None and page_token not in self._rows:
            raise foreign_page_token()
        vm_uuids = sorted(vm_uuid for vm_uuid in self._rows if page_token is None or vm_uuid > page_token)
        shown = [self._today(self._rows[vm_uuid]) for vm_uuid in vm_uuids[:limit]]
        return CustomizedPage(shown, shown[-1].vm_uuid if len(vm_uuids) > limit else None)

    async def put(self, row: Customized, *entries: audit.AuditEntry) -> None:
        """Store how it is with the VM now, together with its trace in the audit trail."""

        def write(connection: Connection) -> None:
            connection.execute(delete(schema.customizations).where(schema.customizations.c.vm_uuid == row.vm_uuid))
            connection.execute(insert(schema.customizations), vars(row))
            audit.append(connection, entries)

        await self._database.write(write, committed=lambda _: self._remember(row))

    async def remove(self, vm_uuid: str, *entries: audit.AuditEntry) -> None:
        """Forget one whose drive and file are clean. Idempotent."""

        def write(connection: Connection) -> None:
            connection.execute(delete(schema.customizations).where(schema.customizations.c.vm_uuid == vm_uuid))
            audit.append(connection, entries)

        await self._database.write(write, committed=lambda _: self._forget(vm_uuid))

    def _known(self, row: Customized) -> _Known:
        return _Known(row, Moment.by(self._clock))

    def _today(self, known: _Known) -> Customized:
        row = known.row
        return row if row.deadline is None else replace(row, deadline=known.told.moved(row.deadline, self._clock))

    def _remember(self, row: Customized) -> None:
        self._rows[row.vm_uuid] = self._known(row)

    def _forget(self, vm_uuid: str) -> None:
        self._rows.pop(vm_uuid, None)


def _load(connection: Connection) -> list[Customized]:
    return [Customized(**row._mapping) for row in connection.execute(select(schema.customizations))]
