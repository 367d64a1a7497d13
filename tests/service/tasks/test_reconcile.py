# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, drives and rows agree again, and what is not ours is not touched."""

import asyncio
import datetime
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.workshop import HOLDER, VM, Workshop, open_workshop

from openngt import effects
from openngt.errors import OpenNGTError
from openngt_service.hypervisors.base import Drive, HypervisorVm
from openngt_service.store.clocks import since_boot
from openngt_service.store.mounts import Mount
from openngt_service.tasks.iso_folder import vm_of_iso
from openngt_service.tasks.reconcile import Picture, fault_of, known_of

USERS = "/isos/debian.iso"
FOLDER = Path("/state/iso")
ISO = FOLDER / f"{VM}.iso"
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
HELD = Mount(VM, "mounted", "ide1", False, HOLDER, NOW, NOW + HOUR, 3, "ab", NOW + 24 * HOUR)


def vm(*drives: Drive) -> HypervisorVm:
    return HypervisorVm(VM, "web1", "on", drives)


LOADED = vm(Drive("ide0", "loaded", USERS), Drive("ide1", "loaded", str(ISO)))
EMPTY = vm(Drive("ide0", "loaded", USERS), Drive("ide1", "empty"))
ORDER = Picture(HELD, True, True, LOADED, ISO)


@pytest.mark.parametrize(
    ("picture", "fault"),
    [
        (ORDER, None),
        (Picture(None, True, False, EMPTY, ISO), None),
        (Picture(None, True, True, EMPTY, ISO), "orphan"),
        (Picture(None, False, False, LOADED, ISO), "orphan"),
        (replace(ORDER, held=replace(HELD, phase="preparing")), "unfinished"),
        (replace(ORDER, held=replace(HELD, phase="ejecting"), seen=EMPTY), "unfinished"),
        (replace(ORDER, enrolled=False), "not_enrolled"),
        (replace(ORDER, seen=None), "vm_gone"),
        (replace(ORDER, seen=EMPTY), "ejected_by_hand"),
        (replace(ORDER, seen=vm(Drive("ide0", "loaded", str(ISO)), Drive("ide1", "empty"))), "ejected_by_hand"),
        (replace(ORDER, seen=vm(Drive("ide1", "tray_open", str(ISO)))), "tray_open"),
        (replace(ORDER, held=replace(HELD, lease_ends=NOW)), "lease_ended"),
        (replace(ORDER, seen=HypervisorVm(VM, "web1", "unknown")), None),
        (Picture(None, True, True, HypervisorVm(VM, "web1", "unknown"), ISO), None),
    ],
)
def test_what_is_wrong_with_a_mount(picture: Picture, fault: str | None) -> None:
    assert fault_of(picture, NOW) == fault


def test_a_vm_is_looked_at_wherever_a_trace_of_its_mount_is() -> None:
    assert known_of([], set(), [EMPTY], FOLDER) == set()
    assert known_of([HELD], set(), [], FOLDER) == known_of([], {VM}, [], FOLDER) == {VM}
    assert known_of([], set(), [LOADED], FOLDER) == {VM}


@pytest.mark.parametrize(
    "holds",
    [
        None,
        USERS,
        f"/elsewhere/{VM}.iso",
        f"/state/iso/templates/{VM}.iso",
        "/state/iso/debian.iso",
        f"/state/iso/{VM}.iso.old",
        f"/state/iso/{VM.upper()}.iso",
    ],
)
def test_another_medium_is_nobodys_business(holds: str | None) -> None:
    assert vm_of_iso(FOLDER, holds) is None


def test_our_own_medium_is_recognised_by_its_path() -> None:
    assert vm_of_iso(FOLDER, str(ISO)) == VM


async def mounted(workshop: Workshop) -> None:
    workshop.hypervisor.add(VM, "web1", {"ide0": USERS, "ide1": None})
    await workshop.operations.enable("web1", {}, actor="test")
    await workshop.mount()


def clean(workshop: Workshop) -> bool:
    return (workshop.hypervisor.media(), workshop.iso_files(), workshop.store.mounts.all()) == ([USERS], [], [])


def test_a_mount_in_order_is_left_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await mounted(workshop)
            assert await workshop.background.reconciler.settle_all() == set()
        async with open_workshop(tmp_path) as workshop:
            assert workshop.store.mounts.get(VM) is not None, "also over a restart"
            assert await workshop.eject() == {"ejected": True}

    asyncio.run(main())


@pytest.mark.parametrize("change", [{"holds": None}, {"tray_open": True}, {"holds": "/isos/windows.iso"}])
def test_a_disc_ejected_by_hand_is_noticed_and_the_file_deleted(tmp_path: Path, change: dict[str, object]) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await mounted(workshop)
            workshop.hypervisor.change(VM, "ide1", **change)
            assert await workshop.background.reconciler.settle_all() == {VM}
            assert workshop.iso_files() == [] and workshop.store.mounts.all() == []
            users = {USERS, change.get("holds")} - {None}
            assert set(workshop.hypervisor.media()) == users
            last = (await workshop.store.audit.page())[-1]
            assert (last.actor, last.verb) == ("reconciler", "vm.eject")

    asyncio.run(main())


def test_an_expired_lease_is_ejected_even_when_the_guest_holds_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await mounted(workshop)
            workshop.hypervisor.lock(VM, "ide1")
            passed = workshop.settings.lease_seconds + 1
            later = effects.now() + datetime.timedelta(seconds=passed)
            monkeypatch.setattr(effects, "now", lambda: later)
            workshop.store.mounts._clock = lambda: since_boot() + passed
            assert await workshop.background.reconciler.settle_all() == {VM}
            assert clean(workshop)

    asyncio.run(main())


def test_a_file_that_cannot_be_deleted_ends_no_round_and_is_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            in_the_way = workshop.settings.iso_directory / f"{VM}.iso"
            in_the_way.mkdir(parents=True)
            assert await workshop.background.reconciler.settle_all() == set()
            assert workshop.background.alive
            in_the_way.rmdir()
            await mounted(workshop)
            assert await workshop.background.reconciler.settle_all() == set()

    asyncio.run(main())


def test_a_vm_that_was_deleted_on_the_hypervisor_leaves_no_file(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await mounted(workshop)
            workshop.hypervisor.remove(VM)
            assert await workshop.background.reconciler.settle_all() == {VM}
            assert workshop.iso_files() == [] and workshop.store.mounts.all() == []

    asyncio.run(main())


@pytest.mark.parametrize("method", ["list_vms", "find"])
def test_a_hypervisor_that_does_not_answer_changes_nothing_and_is_asked_again(tmp_path: Path, method: str) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await mounted(workshop)
            workshop.hypervisor.change(VM, "ide1", tray_open=True)
            workshop.hypervisor.faults[method] = "never"
            assert await workshop.background.reconciler.settle_all() == set()
            assert workshop.store.mounts.get(VM) is not None and workshop.iso_files() != []
            workshop.hypervisor.faults.clear()
            assert await workshop.background.reconciler.settle_all() == {VM}
            assert clean(workshop)

    asyncio.run(main())


def test_a_vm_that_cannot_be_asked_keeps_its_mount_and_its_file(tmp_path: Path) -> None:
    """Its drives are listed as none at all, which is not the same as none that holds the disc."""

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await mounted(workshop)
            workshop.hypervisor.set_power(VM, "unknown")
            assert await workshop.background.reconciler.settle_all() == set()
            for call in (workshop.eject, lambda: workshop.mount(config_only=False)):
                with pytest.raises(OpenNGTError) as failure:
                    await call()
                assert failure.value.code == "HYPERVISOR_FAILED"
            assert workshop.iso_files() != []
            assert workshop.store.mounts.all()[0].phase == "mounted"
            workshop.hypervisor.set_power(VM, "on")
            assert await workshop.eject() == {"ejected": True}
            assert clean(workshop)

    asyncio.run(main())


def test_a_vm_with_a_task_at_work_is_left_to_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await mounted(workshop)
            workshop.hypervisor.change(VM, "ide1", tray_open=True)
            async with workshop.parts.engine.exclusive(VM):
                assert await workshop.background.reconciler.settle_all() == set()
            assert await workshop.background.reconciler.settle_all() == {VM}

    asyncio.run(main())


def test_orphan_files_and_what_killed_writers_left_are_deleted_but_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await mounted(workshop)
            await workshop.eject()
            folder = workshop.settings.iso_directory
            for name in (f"{VM}.iso", f".{VM}.iso.0123abcd.partial", "notes.txt"):
                (folder / name).write_text("x")
            await workshop.background.reconciler.settle_all()
            assert workshop.iso_files() == ["notes.txt"]
            assert list((folder / "templates").glob("*.iso")), "templates stay"

    asyncio.run(main())
