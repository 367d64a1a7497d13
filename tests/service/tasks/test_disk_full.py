# SPDX-License-Identifier: GPL-3.0-or-later
"""A full disk (F8): named refusals, heartbeats go on, and all is well by itself when there is space again."""

import asyncio
import shutil
import sqlite3
from collections import namedtuple
from pathlib import Path

import pytest
from sqlalchemy import event
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt.errors import OpenNGTError

from .test_links import session


class FullDatabase:
    """SQLite answers as on a full file system, until `relieve`."""

    def __init__(self, workshop: Workshop) -> None:
        self._engine = workshop.store.database.engine
        self._pages = 1
        event.listen(self._engine, "checkout", self._limit)

    def relieve(self) -> None:
        self._pages = 1 << 30

    def _limit(self, connection: sqlite3.Connection, *_: object) -> None:
        # Never below what is in use: SQLite rounds the limit up to that.
        connection.execute(f"PRAGMA max_page_count = {self._pages}")


async def enrol(workshop: Workshop) -> None:
    workshop.hypervisor.add(VM, "web1", {"ide1": None})
    await workshop.operations.enable("web1", {}, actor="test")


async def refused(workshop: Workshop) -> str:
    """The code of the first operation that finds no room; free pages of the file are used up before."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await workshop.operations.issue_batch([{"vm_uuid": VM}] * 50, actor="test")
            except OpenNGTError as exc:
                return exc.code


def test_work_is_refused_by_name_links_stay_and_all_heals(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            await workshop.links.link_up(session("one"), {})
            disk = FullDatabase(workshop)
            assert await refused(workshop) == "NO_SPACE"
            generation = (await workshop.operations.vm(VM))["generation"]
            workshop.links.heartbeat(session("one"), None)
            record = await workshop.operations.vm(VM)
            assert record["communication_link_active"]
            assert workshop.background.alive
            disk.relieve()
            [issued] = await workshop.operations.issue_batch([{"vm_uuid": VM}], actor="test")
            assert issued["generation"] > generation
            assert (await workshop.store.audit.verify()).problem is None

    asyncio.run(main())


def test_a_task_whose_end_cannot_be_stored_ends_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def work(progress: object) -> dict[str, object]:
            await go.wait()
            return {"text": "x" * 100_000}  # more than the free pages of the file

        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            record = await workshop.parts.engine.submit("test", VM, work, actor="test")
            while (await workshop.operations.task(record.task_id))["state"] != "running":
                await asyncio.sleep(0.005)
            disk = FullDatabase(workshop)
            go.set()
            ended = await workshop.operations.task(record.task_id, wait=PATIENCE_SECONDS)
            assert ended["state"] == "succeeded"
            disk.relieve()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await workshop.store.tasks.page()).items[0].state != "succeeded":
                    await asyncio.sleep(0.05)

    asyncio.run(main())


def test_an_iso_that_would_fill_the_disk_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await enrol(workshop)
            await workshop.mount()
            await workshop.eject()
            monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 1 << 20))
            with pytest.raises(OpenNGTError) as failure:
                await workshop.mount()
            assert failure.value.code == "NO_SPACE"
            assert workshop.iso_files() == [] and workshop.store.mounts.all() == []
            issued = [row for row in await workshop.store.audit.page() if row.verb == "certificate.issue"]
            assert len(issued) == 1, "found out before anything was signed"

    asyncio.run(main())
