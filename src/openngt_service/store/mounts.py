# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VM has its tools ISO in which drive, for whom; one row a VM, written before the drive is touched."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, select

from . import audit, schema
from .clocks import Moment, since_boot
from .database import Database

__all__ = ["Mount", "MountPhase", "Mounts"]

MountPhase = Literal["preparing", "mounted", "ejecting"]


@dataclass(frozen=True)
class Mount:
    """`preparing` and `ejecting` without a task at work are what a crash left: the reconciler clears them away."""

    vm_uuid: str
    phase: MountPhase
    drive: str
    config_only: bool
    holder: str
    since: datetime.datetime
    lease_ends: datetime.datetime
    generation: int | None = None
    """None, as the next two, until the ISO's certificate is issued."""
    serial: str | None = None
    expires: datetime.datetime | None = None
    validity_days: int | None = None
    """Life of the certificate that follows the disc's; None: what the settings say."""


class _Known(NamedTuple):
    mount: Mount
    told: Moment


class Mounts:
    """Mirrored in memory; `load` once before use.

    A lease lasts as long as was asked for, however this host's clock is set meanwhile: `get` and `all` tell its end by
    the clock as it is now.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = since_boot) -> None:
        self._database = database
        self._clock = clock
        self._mounts: dict[str, _Known] = {}
        self.on_removed: Callable[[Mount], None] = lambda mount: None
        """Called on the event loop with a mount as it was, after the commit."""

    async def load(self) -> None:
        """Read the mounts from the database."""
        self._mounts = {mount.vm_uuid: self._known(mount) for mount in await self._database.read(_load)}

    def get(self, vm_uuid: str) -> Mount | None:
        known = self._mounts.get(vm_uuid)
        return None if known is None else self._today(known)

    def all(self) -> list[Mount]:
        return [self._today(known) for known in self._mounts.values()]

    async def put(self, mount: Mount, *entries: audit.AuditEntry) -> None:
        """Store the VM's mount as it now is, together with its trace in the audit trail."""

        def write(connection: Connection) -> None:
            connection.execute(delete(schema.mounts).where(schema.mounts.c.vm_uuid == mount.vm_uuid))
            connection.execute(insert(schema.mounts), vars(mount))
            audit.append(connection, entries)

        await self._database.write(write, committed=lambda _: self._remember(mount))

    async def remove(self, vm_uuid: str, *entries: audit.AuditEntry) -> None:
        """Forget a mount whose drive and file are clean. Idempotent."""

        def write(connection: Connection) -> None:
            connection.execute(delete(schema.mounts).where(schema.mounts.c.vm_uuid == vm_uuid))
            audit.append(connection, entries)

        await self._database.write(write, committed=lambda _: self._forget(vm_uuid))

    def _known(self, mount: Mount) -> _Known:
        return _Known(mount, Moment.by(self._clock))

    def _today(self, known: _Known) -> Mount:
        return replace(known.mount, lease_ends=known.told.moved(known.mount.lease_ends, self._clock))

    def _remember(self, mount: Mount) -> None:
        self._mounts[mount.vm_uuid] = self._known(mount)

    def _forget(self, vm_uuid: str) -> None:
        known = self._mounts.pop(vm_uuid, None)
        if known is not None:
            self.on_removed(known.mount)


def _load(connection: Connection) -> list[Mount]:
    return [_mount(row) for row in connection.execute(select(schema.mounts))]


def _mount(row: Row[Any]) -> Mount:
    return Mount(**row._mapping)
