# SPDX-License-Identifier: GPL-3.0-or-later
"""What was last known of each VM's link, for after a restart; the live state is the gateway's and `tasks.links`'."""

import datetime
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from . import schema
from .database import Database

__all__ = ["LinkRow", "LinkRows"]

GROUP = 500
"""Databases limit the number of parameters of one statement."""


@dataclass(frozen=True)
class LinkRow:
    vm_uuid: str
    agent_version: str | None = None
    status: dict[str, Any] | None = None
    since: datetime.datetime | None = None
    peer: str | None = None
    last_seen: datetime.datetime | None = None
    refusal_reason: str | None = None
    refusal_at: datetime.datetime | None = None


class LinkRows:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> list[LinkRow]:
        return await self._database.read(_load)

    async def save(self, rows: Sequence[LinkRow]) -> None:
        """Replace the rows of these VMs."""
        for start in range(0, len(rows), GROUP):
            group = rows[start : start + GROUP]
            await self._database.write(functools.partial(_replace, group))


def _replace(group: Sequence[LinkRow], connection: Connection) -> None:
    table = schema.links
    connection.execute(delete(table).where(table.c.vm_uuid.in_([row.vm_uuid for row in group])))
    connection.execute(insert(table), [vars(row) for row in group])


def _load(connection: Connection) -> list[LinkRow]:
    return [LinkRow(**row._mapping) for row in connection.execute(select(schema.links))]
