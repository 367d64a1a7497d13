# SPDX-License-Identifier: GPL-3.0-or-later
"""A lease is kept by a clock that nobody sets (F15): jumps of this host's clock end none and prolong none."""

import asyncio
import datetime
from pathlib import Path

import pytest
from tests.fakes.two_clocks import TwoClocks
from tests.fakes.workshop import HOLDER, VM, open_workshop

from openngt.errors import OpenNGTError

HOUR = datetime.timedelta(hours=1)
YEARS = datetime.timedelta(days=5 * 365)
JUMPS = [HOUR, -HOUR, YEARS, -YEARS]
LEASE = 600


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_a_jump_of_the_clock_neither_ends_a_lease_nor_prolongs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: datetime.timedelta
) -> None:
    async def main() -> None:
        clocks = TwoClocks(monkeypatch)
        async with open_workshop(tmp_path) as workshop:
            clocks.of(workshop.store.mounts)
            workshop.hypervisor.add(VM, "web1", {"ide1": None})
            await workshop.operations.enable(VM, {}, actor="test")
            await workshop.mount(lease_seconds=LEASE)
            clocks.wall += jump
            clocks.pass_by(LEASE - 10)
            assert await workshop.background.reconciler.settle_all() == set(), "the lease has ten seconds left"
            held = workshop.store.mounts.get(VM)
            assert held is not None and held.lease_ends - clocks.wall == datetime.timedelta(seconds=10)
            for work in (workshop.mount("somebody else"), workshop.eject("somebody else"), workshop.power("off")):
                with pytest.raises(OpenNGTError) as busy:
                    await work
                assert (busy.value.code, busy.value.details["holder"]) == ("VM_BUSY", HOLDER)
            clocks.pass_by(11)
            assert await workshop.background.reconciler.settle_all() == {VM}, "and no more than these"
            assert workshop.hypervisor.media() == [] and workshop.iso_files() == []

    asyncio.run(main())


def test_a_lease_that_is_prolonged_after_a_jump_is_as_long_as_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        clocks = TwoClocks(monkeypatch)
        async with open_workshop(tmp_path) as workshop:
            clocks.of(workshop.store.mounts)
            workshop.hypervisor.add(VM, "web1", {"ide1": None})
            await workshop.operations.enable(VM, {}, actor="test")
            await workshop.mount(lease_seconds=LEASE)
            clocks.wall -= HOUR
            clocks.pass_by(LEASE / 2)
            await workshop.mount(lease_seconds=LEASE)
            held = workshop.store.mounts.get(VM)
            assert held is not None and held.lease_ends - clocks.wall == datetime.timedelta(seconds=LEASE)

    asyncio.run(main())


def test_a_service_that_starts_anew_goes_by_the_time_that_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        clocks = TwoClocks(monkeypatch)
        async with open_workshop(tmp_path) as workshop:
            clocks.of(workshop.store.mounts)
            workshop.hypervisor.add(VM, "web1", {"ide1": None})
            await workshop.operations.enable(VM, {}, actor="test")
            await workshop.mount(lease_seconds=LEASE)
            stored = workshop.store.mounts.get(VM)
        async with open_workshop(tmp_path) as workshop:
            assert workshop.store.mounts.get(VM) == stored

    asyncio.run(main())
