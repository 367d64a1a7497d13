# SPDX-License-Identifier: GPL-3.0-or-later
"""Store, tasks and ISO library as they are, in one folder, between a fake hypervisor and a fake gateway."""

import contextlib
import datetime
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openngt.errors import OpenNGTError
from openngt.iso.tools_iso import Cluster
from openngt.pki.authority import create_authority
from openngt.pki.rollover import Succession, load_succession
from openngt_service.config import Settings
from openngt_service.store.opening import Store, open_store
from openngt_service.tasks.background import Background
from openngt_service.tasks.discs import Discs
from openngt_service.tasks.engine import TaskEngine
from openngt_service.tasks.hypervisor import PatientHypervisor
from openngt_service.tasks.links import Links
from openngt_service.tasks.media import Media
from openngt_service.tasks.operations import Operations
from openngt_service.tasks.parts import Parts

from .gateway import FakeGateway
from .hypervisor import FakeHypervisor
from .waiting import PATIENCE_SECONDS

__all__ = ["HOLDER", "VM", "Workshop", "open_workshop"]

VM = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"
HOLDER = "admin@controller pid 1 (ansible)"


@dataclass
class Workshop:
    settings: Settings
    store: Store
    hypervisor: FakeHypervisor
    gateway: FakeGateway
    links: Links
    parts: Parts
    background: Background

    @property
    def operations(self) -> Operations:
        return self.background.operations

    async def mount(self, holder: str = HOLDER, **options: Any) -> dict[str, Any]:
        """The result of a mount task that has ended; its failure is raised. Mounts the smallest ISO by default."""
        options = {"config_only": True, **options}
        return await self.result(await self.operations.mount(VM, holder=holder, actor="test", **options))

    async def eject(self, holder: str = HOLDER, **options: Any) -> dict[str, Any]:
        return await self.result(await self.operations.eject(VM, holder=holder, actor="test", **options))

    async def power(self, verb: str, **options: Any) -> dict[str, Any]:
        options = {"wait_seconds": 0.2, **options}
        return await self.result(await self.operations.power(VM, verb=verb, actor="test", **options))

    async def result(self, task: dict[str, Any]) -> dict[str, Any]:
        ended = await self.operations.task(task["task_id"], wait=PATIENCE_SECONDS)
        if ended["state"] != "succeeded":
            error = ended["error"] or {"code": "TASK_TIMED_OUT", "message": str(ended), "details": {}}
            raise OpenNGTError(error["code"], error["message"], error["details"])
        result: dict[str, Any] = ended["result"]
        return result

    def iso_files(self) -> list[str]:
        """All below the ISO folder but the templates, unfinished ones included."""
        return sorted(path.name for path in self.settings.iso_directory.glob("*") if path.is_file())


def succession_in(state_dir: Path) -> Succession:
    folder = state_dir / "ca"
    if not (folder / "ca.pem").exists():
        create_authority(folder, common_name="test CA", now=datetime.datetime.now(datetime.UTC))
    return load_succession(folder)


@contextlib.asynccontextmanager
async def open_workshop(state_dir: Path, *, start: bool = True, **settings: Any) -> AsyncIterator[Workshop]:
    """A service on `state_dir`; `start=False` leaves out what puts things right at a start."""
    state_dir.mkdir(mode=0o700, exist_ok=True)
    # The reconciler's own rounds are called by the tests.
    values = {"cluster_ip": "192.0.2.10", "reconcile_seconds": 3600.0, **settings}
    configured = Settings(state_dir=state_dir, **values)
    succession = succession_in(state_dir)
    store = open_store(configured, succession.signer)
    store.ledger.follow(succession)
    await store.load()
    gateway, links = FakeGateway(), Links(store.links, store.registry, store.sightings)
    gateway.ledger, gateway.events = store.ledger, links
    hypervisor = FakeHypervisor(state_dir / "hypervisor.json")
    cluster = Cluster(store.identity.cluster_uuid, configured.cluster_ip or "", succession.handed_pem)
    parts = Parts(
        settings=configured,
        store=store,
        hypervisor=PatientHypervisor(hypervisor, answer_seconds=0.2, eject_seconds=0.2, power_seconds=0.2),
        media=Media(configured, cluster),
        discs=Discs(configured.discs_directory),
        gateway=gateway,
        engine=TaskEngine(store.tasks, in_flight=configured.tasks_in_flight),
    )
    background = Background(parts, links)
    if start:
        await background.start()
    try:
        yield Workshop(configured, store, hypervisor, gateway, links, parts, background)
    finally:
        await background.stop()
        await hypervisor.close()
        store.close()
