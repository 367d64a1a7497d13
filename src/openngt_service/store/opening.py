# SPDX-License-Identifier: GPL-3.0-or-later
"""All parts of the store, opened together in the order in which they need each other."""

from dataclasses import dataclass
from typing import Self

from openngt.pki.authority import Authority

from ..config import Settings
from .audit import AuditLog
from .customizations import Customizations
from .database import Database, ServiceIdentity, open_database
from .health_rows import HealthRows
from .ledger import Ledger
from .link_rows import LinkRows
from .mounts import Mounts
from .registry import Registry
from .sightings import Sightings
from .task_rows import TaskRows
from .tokens import Tokens

__all__ = ["Store", "open_store"]


@dataclass(frozen=True)
class Store:
    """Opened by `open_store`; `load` fills the mirrors in memory, on the event loop, before anything else is asked."""

    database: Database
    registry: Registry
    ledger: Ledger
    mounts: Mounts
    customizations: Customizations
    links: LinkRows
    tasks: TaskRows
    tokens: Tokens
    audit: AuditLog
    sightings: Sightings
    health: HealthRows

    @property
    def identity(self) -> ServiceIdentity:
        return self.database.identity

    async def load(self) -> Self:
        await self.registry.load()
        await self.ledger.load()
        await self.mounts.load()
        await self.customizations.load()
        await self.tokens.load()
        await self.sightings.load()
        await self.health.load()
        return self

    def close(self) -> None:
        """Commit what is queued, then stop. Blocking, for after the event loop's work."""
        self.ledger.close()
        self.database.close()


def open_store(settings: Settings, authority: Authority) -> Store:
    """Open (create, migrate) the database of these settings; blocking. Errors are those of `open_database`."""
    database = open_database(settings.database, cluster_uuid=settings.cluster_uuid)
    registry = Registry(database)
    return Store(
        database=database,
        registry=registry,
        ledger=Ledger(database, registry, authority, key_type=settings.key_type),
        mounts=Mounts(database),
        customizations=Customizations(database),
        links=LinkRows(database),
        tasks=TaskRows(database),
        tokens=Tokens(database),
        audit=AuditLog(database),
        sightings=Sightings(database),
        health=HealthRows(database),
    )
