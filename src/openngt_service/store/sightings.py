# SPDX-License-Identifier: GPL-3.0-or-later
"""Where one identity was seen in two hands, so that a copied VM or a stolen key shows, also after a restart.

At most one row for each VM and kind: whoever comes again only moves its time and its count.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import Connection, delete, insert, select, tuple_

from openngt.errors import OpenNGTError

from . import schema
from .database import Database

__all__ = ["Sighting", "SightingKind", "Sightings"]

SightingKind = Literal["retired_serial", "second_machine", "foreign_port"]
"""A retired identity that comes from elsewhere while the VM is linked; one serial in two machines that both live;
over a VM's own port the certificate of another one, whose UUID is then `other_peer`."""

FORGET = datetime.timedelta(days=30)
ANEW = datetime.timedelta(hours=1)
"""After so long a silence the count begins again."""


@dataclass(frozen=True)
class Sighting:
    vm_uuid: str
    kind: SightingKind
    serial: str
    peer: str
    """`address:port` of who came."""
    other_peer: str
    """Of the VM's own link, or of the session before."""
    first_seen: datetime.datetime
    last_seen: datetime.datetime
    times: int = 1

    @property
    def same_address(self) -> bool:
        return self.peer.rpartition(":")[0] == self.other_peer.rpartition(":")[0]


class Sightings:
    """Mirrored in memory; `load` once before use. `note` costs no I/O, `flush` writes what is new."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows: dict[tuple[str, str], Sighting] = {}
        self._dirty: set[tuple[str, str]] = set()

    async def load(self) -> None:
        """Read the sightings from the database."""
        self._rows = {(row.vm_uuid, row.kind): row for row in await self._database.read(_load)}

    def all(self) -> list[Sighting]:
        return list(self._rows.values())

    def note(self, seen: Sighting) -> None:
        """Somebody came (again)."""
        place = (seen.vm_uuid, seen.kind)
        known = self._rows.get(place)
        if known is not None and seen.last_seen - known.last_seen <= ANEW:
            seen = replace(seen, first_seen=known.first_seen, times=known.times + 1)
        self._rows[place] = seen
        self._dirty.add(place)

    @property
    def unwritten(self) -> bool:
        return bool(self._dirty)

    async def flush(self, now: datetime.datetime) -> None:
        """Write what is new, and forget what is older than 30 days."""
        dirty, self._dirty = self._dirty, set()
        rows = [self._rows[place] for place in sorted(dirty)]

        def write(connection: Connection) -> None:
            _replace(connection, rows, now)

        try:
            await self._database.write(write)
        except OpenNGTError:
            self._dirty |= dirty
            raise
        self._rows = {place: row for place, row in self._rows.items() if row.last_seen >= now - FORGET}


def _replace(connection: Connection, rows: Sequence[Sighting], now: datetime.datetime) -> None:
    table = schema.identity_sightings
    connection.execute(delete(table).where(table.c.last_seen < now - FORGET))
    if rows:
        places = [(row.vm_uuid, row.kind) for row in rows]
        connection.execute(delete(table).where(tuple_(table.c.vm_uuid, table.c.kind).in_(places)))
        connection.execute(insert(table), [vars(row) for row in rows])


def _load(connection: Connection) -> list[Sighting]:
    return [Sighting(**row._mapping) for row in connection.execute(select(schema.identity_sightings))]
