# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest has as long as it was given, by a clock that nobody sets (F15)."""

import asyncio
import datetime
from pathlib import Path

import pytest
from tests.fakes.customized_workshop import apply, settle, state
from tests.fakes.two_clocks import TwoClocks
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt_service.ports import SessionInfo

SPEC = {"options": {"hostname": "web1"}}
HOUR = datetime.timedelta(hours=1)
YEARS = datetime.timedelta(days=5 * 365)
LIMIT = 600


async def customized(workshop: Workshop) -> None:
    workshop.hypervisor.add(VM, "web1", {"ide1": None})
    await apply(workshop, SPEC, wait_seconds=LIMIT)
    await settle(workshop)


async def settled_as(workshop: Workshop) -> str:
    await settle(workshop)
    return await state(workshop)


@pytest.mark.parametrize("jump", [HOUR, -HOUR, YEARS, -YEARS], ids=str)
def test_a_jump_of_the_clock_neither_ends_a_customization_nor_gives_it_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: datetime.timedelta
) -> None:
    async def main() -> None:
        clocks = TwoClocks(monkeypatch)
        async with open_workshop(tmp_path) as workshop:
            clocks.of(workshop.store.customizations)
            await customized(workshop)
            clocks.wall += jump
            clocks.pass_by(LIMIT - 10)
            assert await settled_as(workshop) == "running"
            [shown] = workshop.operations.customizations.list(limit=1, page_token=None)["items"]
            assert shown["deadline"] - clocks.wall == datetime.timedelta(seconds=10)
            clocks.pass_by(11)
            assert await settled_as(workshop) == "timed_out"

    asyncio.run(main())


def test_an_end_whose_disc_stays_is_not_kept_back_until_a_clock_that_was_set_back_has_caught_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        clocks = TwoClocks(monkeypatch)
        async with open_workshop(tmp_path) as workshop:
            clocks.of(workshop.store.customizations)
            await customized(workshop)
            workshop.hypervisor.faults["eject"] = "refused"
            clocks.pass_by(LIMIT)
            assert await settled_as(workshop) == "running", "its disc is being taken away"
            clocks.wall -= HOUR
            assert await settled_as(workshop) == "timed_out"

    asyncio.run(main())


@pytest.mark.parametrize(("status", "ends"), [("done", "done"), ("error", "failed"), ("running", "timed_out")])
def test_a_guest_that_says_its_end_after_its_time_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, ends: str
) -> None:
    async def main() -> None:
        clocks = TwoClocks(monkeypatch)
        async with open_workshop(tmp_path) as workshop:
            clocks.of(workshop.store.customizations)
            await customized(workshop)
            clocks.pass_by(LIMIT)
            assert await settled_as(workshop) == "timed_out"
            session = SessionInfo(VM, VM, "session", 1, 1, "link", "peer", "serial", clocks.wall, "0.1.0", "b2")
            said = {"boot_id": "b2", "customization": {"instance_id": f"i-{VM}", "status": status}}
            await workshop.links.link_up(session, said)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await settled_as(workshop) != ends:
                    await asyncio.sleep(0.005)
            row = workshop.store.customizations.get(VM)
            assert row is not None and row.phase == "clean"

    asyncio.run(main())
