# SPDX-License-Identifier: GPL-3.0-or-later
"""A customization from what was asked for to its disc: begun, refused, applied again, withdrawn, and never told of."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.customized_workshop import (
    OTHER,
    OTHER_SPEC,
    SECRET,
    SPEC,
    USERS,
    add_vm,
    apply,
    at_work,
    clean,
    discs,
    end_of_time,
    ended_as,
    nonce_on,
    settle,
    state,
    until,
    withdraw,
)
from tests.fakes.workshop import VM, open_workshop

from openngt.errors import OpenNGTError

pytestmark = pytest.mark.usefixtures("judged_here")


def test_an_off_vm_gets_its_disc_is_switched_on_and_runs(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop)
            result = await apply(workshop, power_on=True)
            assert (result["changed"], result["state"], result["drive"]) == (True, "pending", "ide1")
            iso = workshop.settings.discs_directory / f"{VM}.iso"
            assert iso.stat().st_mode & 0o777 == 0o600
            assert workshop.hypervisor.media() == [USERS, str(iso)] and workshop.hypervisor.done == ["on"]
            await settle(workshop)
            assert await state(workshop) == "running"
            again = await apply(workshop, power_on=True)
            assert again["changed"] is False and workshop.hypervisor.inserted == 1

    asyncio.run(main())


@pytest.mark.parametrize("habits", [{}, {"starts": 0}], ids=["drives outlive the VM's process", "drives die with it"])
def test_the_disc_is_in_the_drive_when_the_vm_begins(tmp_path: Path, habits: dict[str, Any]) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, **habits)
            assert (await apply(workshop, power_on=True))["drive"] == "ide1"
            order = [name for name in workshop.hypervisor.asked if name in ("insert", "power", "start_with")]
            assert order == (["start_with"] if habits else ["insert", "power"])

    asyncio.run(main())


def test_a_vm_that_runs_gets_its_disc_beside_the_tools_iso_and_neither_takes_the_others_drive(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            workshop.hypervisor.add(VM, "web1", {"ide0": USERS, "ide1": None, "ide2": None})
            await workshop.operations.enable("web1", {}, actor="test")
            await workshop.mount()
            assert (await apply(workshop))["drive"] == "ide2"
            await workshop.background.reconciler.settle_all()
            await settle(workshop)
            assert len(workshop.hypervisor.media()) == 3
            assert await workshop.eject() == {"ejected": True}
            assert await withdraw(workshop) == {"withdrawn": True}
            assert clean(workshop)

    asyncio.run(main())


REFUSED = {
    "no drive is empty": ({"ide0": USERS}, "on", "NO_EMPTY_DRIVE", USERS),
    "there is no drive": ({}, "on", "NO_EMPTY_DRIVE", "no CD-ROM drive"),
    "the hypervisor cannot ask it": ({"ide0": None}, "unknown", "HYPERVISOR_FAILED", "web1"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_stands_in_the_way_is_told_before_anything_is_written(tmp_path: Path, case: tuple[Any, ...]) -> None:
    drives, power_state, code, words = case

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            workshop.hypervisor.add(VM, "web1", drives, power_state)
            with pytest.raises(OpenNGTError) as caught:
                await apply(workshop)
            assert caught.value.code == code and words in caught.value.message
            assert discs(workshop) == [] and workshop.store.customizations.all() == []

    asyncio.run(main())


AGAIN = {
    ("pending", "same", "same id"): "unchanged",
    ("pending", "other", "same id"): "replaced",
    ("running", "same", "same id"): "unchanged",
    ("running", "other", "same id"): "CUSTOMIZATION_CONFLICT",
    ("running", "other", "new id"): "replaced",
    ("done", "same", "same id"): "unchanged",
    ("done", "other", "same id"): "CUSTOMIZATION_CONFLICT",
    ("done", "same", "new id"): "replaced",
    ("done", "other", "new id"): "replaced",
    ("failed", "same", "same id"): "CUSTOMIZATION_CONFLICT",
    ("failed", "other", "same id"): "CUSTOMIZATION_CONFLICT",
    ("failed", "other", "new id"): "replaced",
    ("timed_out", "same", "same id"): "replaced",
    ("timed_out", "other", "same id"): "replaced",
}


@pytest.mark.parametrize("case", AGAIN.items(), ids=lambda case: " ".join(case[0]))
def test_a_second_application_changes_nothing_replaces_or_conflicts(tmp_path: Path, case: Any) -> None:
    (first, content, instance), outcome = case

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, "off" if first == "pending" else "on")
            before = await apply(workshop)
            if first != "pending":
                await settle(workshop)
            if first not in ("pending", "running"):
                await ended_as(workshop, first)
            spec = {**(SPEC if content == "same" else OTHER_SPEC)}
            spec |= {"instance_id": "i-again"} if instance == "new id" else {}
            planned = workshop.operations.customizations.plan(VM, spec, power_on=False)
            if outcome == "CUSTOMIZATION_CONFLICT":
                with pytest.raises(OpenNGTError, match="instance_id") as caught:
                    await planned
                assert caught.value.code == outcome
                with pytest.raises(OpenNGTError) as caught:
                    await apply(workshop, spec)
                assert caught.value.code == outcome and await state(workshop) == first
                return
            plan = await planned
            after = await apply(workshop, spec)
            assert plan["changed"] is after["changed"] is (outcome == "replaced")
            assert (plan["preview_before"] == plan["preview_after"]) is (outcome == "unchanged")
            assert plan["digest"] == after["digest"]
            assert (after["digest"] == before["digest"]) is (content == "same")
            assert await state(workshop) == ("pending" if outcome == "replaced" else first)
            assert len(discs(workshop)) == (0 if (first, outcome) == ("done", "unchanged") else 1)

    asyncio.run(main())


def test_a_failed_insert_leaves_nothing_and_keeps_what_was_known(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await at_work(workshop)
            await ended_as(workshop, "done")
            workshop.hypervisor.faults["insert"] = "refused"
            with pytest.raises(OpenNGTError, match="refused"):
                await apply(workshop, {**SPEC, "instance_id": "i-2"})
            assert clean(workshop) and await state(workshop) == "done"
            assert (await apply(workshop))["changed"] is False

    asyncio.run(main())


def test_one_vm_that_does_not_answer_holds_up_no_other(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            await at_work(workshop, VM, OTHER)
            async with workshop.parts.engine.exclusive(VM):  # whoever works on it, and takes his time
                workshop.links.recorded(VM, {"status": "done", "nonce": nonce_on(workshop)})
                workshop.links.recorded(OTHER, {"status": "done", "nonce": nonce_on(workshop, OTHER)})
                await until(workshop, "done", OTHER)
                assert await state(workshop) == "running"
            await until(workshop, "done")

    asyncio.run(main())


def test_a_vm_that_is_gone_for_good_is_forgotten_and_one_that_is_missed_once_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            now = [0.0]
            workshop.background.customization_watch._clock = lambda: now[0]
            await at_work(workshop)
            workshop.hypervisor.remove(VM)
            await settle(workshop)
            now[0] = 30.0
            await settle(workshop)
            assert await state(workshop) == "running"
            now[0] = 61.0
            assert await settle(workshop) == {VM}
            assert workshop.store.customizations.all() == [] and clean(workshop, [])

    asyncio.run(main())


def test_a_leftover_disc_is_swept_and_a_users_medium_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, "on")
            await apply(workshop)
            await workshop.store.customizations.remove(VM)
            workshop.hypervisor.add(OTHER, "db1", {"ide0": f"/elsewhere/{VM}.iso"})
            assert await settle(workshop) == {VM}
            assert clean(workshop, sorted([USERS, f"/elsewhere/{VM}.iso"]))

    asyncio.run(main())


def test_withdrawn_is_as_never_given(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, "on")
            assert await withdraw(workshop) == {"withdrawn": False}
            await apply(workshop)
            assert await withdraw(workshop, "web1") == {"withdrawn": True}
            assert clean(workshop) and workshop.store.customizations.all() == []
            with pytest.raises(OpenNGTError) as caught:
                await state(workshop)
            assert caught.value.code == "NOT_FOUND"
            assert (await apply(workshop, OTHER_SPEC))["changed"] is True
            workshop.hypervisor.remove(VM)
            assert await withdraw(workshop) == {"withdrawn": True}, "also of a VM that has gone"

    asyncio.run(main())


def test_nothing_but_the_disc_knows_what_the_guest_is_given(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """T35: user-data and passwords are on the disc, and nowhere else."""

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, "on")
            bad = {"scripts": [{"content": f"#cloud-config\n[{SECRET}"}]}
            with pytest.raises(OpenNGTError) as caught:
                await apply(workshop, bad)
            assert caught.value.code == "CUSTOMIZATION_INVALID" and SECRET not in str(caught.value.to_dict())
            options = {"options": {"users": [{"name": "ops", "password": SECRET}]}}
            plan = await workshop.operations.customizations.plan(VM, options, power_on=False)
            assert SECRET not in json.dumps(plan)
            await apply(workshop, options)
            nonce = nonce_on(workshop)
            await settle(workshop)
            await end_of_time(workshop)
            assert SECRET not in str((await workshop.operations.tasks())["items"])
            with sqlite3.connect(workshop.settings.state_dir / "openngt.db") as connection:
                dump = "\n".join(connection.iterdump())
            assert "customizations" in dump and SECRET not in dump and nonce not in dump

    asyncio.run(main())
    assert SECRET not in "".join(capfd.readouterr())
