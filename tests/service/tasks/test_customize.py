# SPDX-License-Identifier: GPL-3.0-or-later
"""A customization from what was asked for to an empty drive, whoever tells its end."""

import asyncio
import datetime
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt import effects
from openngt.errors import OpenNGTError
from openngt_service.customization import checked
from openngt_service.customization.judge import judge
from openngt_service.customization.schema_files import published_schemas
from openngt_service.ports import SessionInfo
from openngt_service.store.clocks import since_boot

OTHER = "7f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e22"
USERS = "/isos/debian.iso"
SECRET = "correct-horse-battery"
SPEC = {"scripts": [{"content": f"#!/bin/sh\necho {SECRET}\n"}]}
OTHER_SPEC = {"scripts": [{"content": "#!/bin/sh\necho other\n"}]}


@pytest.fixture(autouse=True)
def judged_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process for each: what the child does is tried by its own tests."""
    schemas = published_schemas()

    async def ask(question: bytes) -> dict[str, Any]:
        return judge(json.loads(question), schemas)

    monkeypatch.setattr(checked, "ask_child", ask)


def add_vm(workshop: Workshop, power_state: str = "off", vm_uuid: str = VM, name: str = "web1", **habits: Any) -> None:
    workshop.hypervisor.add(vm_uuid, name, {"ide0": USERS, "ide1": None}, power_state)
    workshop.hypervisor.guest(vm_uuid, **habits)


async def apply(workshop: Workshop, spec: dict[str, Any] = SPEC, vm: str = VM, **options: Any) -> dict[str, Any]:
    asked = {"power_on": False, "wait_seconds": None, "actor": "test", **options}
    record = await workshop.operations.customizations.apply(vm, spec, **asked)
    return await workshop.result({"task_id": record.task_id})


async def withdraw(workshop: Workshop, vm: str = VM) -> dict[str, Any]:
    record = await workshop.operations.customizations.withdraw(vm, actor="test")
    return await workshop.result({"task_id": record.task_id})


async def state(workshop: Workshop, vm: str = VM) -> str:
    return str((await workshop.operations.customizations.show(vm))["state"])


async def settle(workshop: Workshop) -> set[str]:
    return await workshop.background.customization_watch.settle_all()


def discs(workshop: Workshop) -> list[str]:
    folder = workshop.settings.discs_directory
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def clean(workshop: Workshop, media: list[str] | None = None) -> bool:
    return (workshop.hypervisor.media(), discs(workshop)) == ([USERS] if media is None else media, [])


def nonce_on(workshop: Workshop, vm: str = VM) -> str:
    """As the guest reads it."""
    content = (workshop.settings.discs_directory / f"{vm}.iso").read_bytes()
    match = re.search(rb'report\("([0-9a-f]{32})"', content)
    assert match is not None
    return match[1].decode()


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


async def ended_as(workshop: Workshop, how: str) -> None:
    row = workshop.store.customizations.get(VM)
    assert row is not None
    if how == "timed_out":
        await end_of_time(workshop)
        return
    told = {"nonce": nonce_on(workshop), "status": "done" if how == "done" else "error", "errors": ["x"]}
    workshop.links.recorded(VM, told)
    await until(workshop, how)


async def end_of_time(workshop: Workshop) -> None:
    row = workshop.store.customizations.get(VM)
    assert row is not None and row.deadline is not None
    rows = workshop.store.customizations
    rows._clock = lambda: since_boot() + row.wait_seconds
    try:
        await settle(workshop)
    finally:
        rows._clock = since_boot


async def until(workshop: Workshop, wanted: str, vm: str = VM) -> None:
    async with asyncio.timeout(10):
        while await state(workshop, vm) != wanted:
            await asyncio.sleep(0.005)


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


REPORTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "done": ({"status": "done", "message": "finished in 12 s"}, "done", "finished in 12 s"),
    "error": (
        {"status": "error", "module": "scripts_user", "errors": ["exit 3"], "message": "oops\n"},
        "failed",
        "scripts_user: oops",
    ),
    "error without words": ({"status": "error", "errors": ["a", "b"]}, "failed", "a; b"),
    "error of odd types": ({"status": "error", "errors": {"a": 1}, "message": 7, "module": []}, "failed", "not why"),
    "terminal codes": ({"status": "error", "message": "\x1b[2J\u202eevil\r"}, "failed", "\ufffd[2J\ufffdevil"),
    "too many words": ({"status": "error", "message": "x" * 9000 + "end"}, "failed", "x" * 2045 + "end"),
}


@pytest.mark.parametrize("by", ["serial", "agent"])
@pytest.mark.parametrize("case", REPORTS.values(), ids=REPORTS.keys())
def test_the_guests_report_ends_it_and_the_disc_is_taken_away(tmp_path: Path, by: str, case: tuple[Any, ...]) -> None:
    report, wanted, words = case

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, "on")
            await apply(workshop)
            await settle(workshop)
            if by == "serial":
                workshop.links.recorded(VM, {**report, "nonce": nonce_on(workshop)})
            else:
                await say(workshop, {"boot_id": "b2", "customization": {**report, "instance_id": f"i-{VM}"}})
            await until(workshop, wanted)
            assert clean(workshop), "an end is told once drive and file are clean"
            shown = await workshop.operations.customizations.show(VM)
            assert words in shown["message"] and shown["drive"] is None and shown["finished_at"] is not None
            assert shown["code"] == (None if wanted == "done" else "CUSTOMIZATION_FAILED")
            assert shown["details"]["told_by"] == by and len(shown["message"]) < 2200
            last = (await workshop.store.audit.page())[-1]
            assert (last.verb, last.details["state"]) == ("vm.customize.end", wanted)
            assert words not in str(last.details)

    asyncio.run(main())


async def say(workshop: Workshop, status: dict[str, Any], vm: str = VM) -> None:
    """As the gateway tells what an agent says of itself."""
    session = SessionInfo(vm, vm, "session", 1, 1, "link", "serial port 1", "serial", effects.now(), "0.1.0", "b2")
    await workshop.links.link_up(session, status)


IGNORED: dict[str, dict[str, Any]] = {
    "nobody's nonce": {"status": "done", "nonce": "0" * 32},
    "no nonce": {"status": "done", "nonce": None},
    "a nonce of another type": {"status": "done", "nonce": 7},
    "half a surrogate pair": {"status": "done", "nonce": "\ud800"},
    "still at it": {"status": "running"},
    "no status": {},
    "a status of another type": {"status": ["done"]},
}


@pytest.mark.parametrize("record", IGNORED.values(), ids=IGNORED.keys())
def test_what_is_no_report_of_this_disc_ends_nothing(tmp_path: Path, record: dict[str, Any]) -> None:
    """T8: a guest can write anything into its port."""

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, "on")
            await apply(workshop)
            await settle(workshop)
            workshop.links.recorded(VM, {"nonce": nonce_on(workshop), **record})
            workshop.links.recorded(OTHER, {"status": "done", "nonce": nonce_on(workshop)})
            await asyncio.sleep(0.05)
            await settle(workshop)
            assert await state(workshop) == "running" and len(discs(workshop)) == 1

    asyncio.run(main())


def test_a_vm_speaks_for_itself_alone_even_with_anothers_nonce(tmp_path: Path) -> None:
    """T1, T7: what another VM's disc holds proves nothing on this VM's port."""

    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, "on")
            add_vm(workshop, "on", OTHER, "db1")
            await apply(workshop)
            await apply(workshop, vm=OTHER)
            await settle(workshop)
            mine, others = nonce_on(workshop), nonce_on(workshop, OTHER)
            workshop.links.recorded(VM, {"status": "done", "nonce": others})
            workshop.links.recorded(OTHER, {"status": "done", "nonce": mine})
            await asyncio.sleep(0.05)
            assert [await state(workshop, vm) for vm in (VM, OTHER)] == ["running", "running"]
            workshop.links.recorded(OTHER, {"status": "error", "nonce": others})
            await until(workshop, "failed", OTHER)
            assert await state(workshop) == "running"

    asyncio.run(main())


def test_what_the_agent_says_of_another_instance_or_of_the_boot_before_is_not_this_discs(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, "on")
            await workshop.operations.enable("web1", {}, actor="test")
            done = {"status": "done", "instance_id": f"i-{VM}"}
            await say(workshop, {"boot_id": "b1", "customization": done})
            await apply(workshop)
            await settle(workshop)
            session = workshop.links.view(VM).session
            assert session is not None
            for status in (
                {"boot_id": "b1", "customization": {**done, "message": "again"}},
                {"boot_id": "b3", "customization": {**done, "instance_id": "i-other"}},
                {"boot_id": "b3", "customization": "done"},
            ):
                await workshop.links.status(session, status)
                await settle(workshop)
                assert await state(workshop) == "running"
            await workshop.links.status(session, {"boot_id": "b3", "customization": done})
            await until(workshop, "done")

    asyncio.run(main())


@pytest.mark.parametrize("change", [{"holds": None}, {"tray_open": True}, {"holds": "/isos/windows.iso"}])
def test_a_disc_that_the_guest_ejects_is_the_end_too(tmp_path: Path, change: dict[str, Any]) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, "on")
            await apply(workshop)
            await settle(workshop)
            workshop.hypervisor.change(VM, "ide1", **change)
            assert await settle(workshop) == {VM}
            assert await state(workshop) == "done"
            assert clean(workshop, sorted({USERS, change.get("holds")} - {None}))

    asyncio.run(main())


def test_the_time_limit_counts_from_the_vms_first_sight_and_ends_it_even_when_the_guest_holds_on(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop)
            await apply(workshop, wait_seconds=60)
            await settle(workshop)
            shown = await workshop.operations.customizations.show(VM)
            assert (shown["state"], shown["deadline"]) == ("pending", None)
            workshop.hypervisor.set_power(VM, "on")
            await settle(workshop)
            shown = await workshop.operations.customizations.show(VM)
            assert shown["deadline"] - shown["started_at"] == datetime.timedelta(seconds=60)
            workshop.hypervisor.lock(VM, "ide1")
            await end_of_time(workshop)
            shown = await workshop.operations.customizations.show(VM)
            assert (shown["state"], shown["code"]) == ("timed_out", "CUSTOMIZATION_TIMED_OUT")
            assert "60 s" in shown["message"] and clean(workshop)

    asyncio.run(main())


def test_a_disc_that_goes_with_the_vms_process_is_there_at_its_next_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, starts=0)
            await apply(workshop, power_on=True)
            await settle(workshop)
            await workshop.power("off")
            assert workshop.hypervisor.media() == []
            await settle(workshop)
            assert await state(workshop) == "running", "a VM that is off has ejected nothing"
            await workshop.power("on")
            await settle(workshop)
            assert await state(workshop) == "running" and len(workshop.hypervisor.media()) == 1
            await workshop.power("off")
            assert (await apply(workshop, power_on=True))["changed"] is True
            assert len(workshop.hypervisor.media()) == 1
            await workshop.power("power_cycle")
            assert len(workshop.hypervisor.media()) == 1 and workshop.hypervisor.asked.count("start_with") == 4
            workshop.hypervisor.change(VM, "ide0", holds=None)  # as when others stop and start it
            workshop.hypervisor.guest(VM, starts=9)
            assert await settle(workshop) == {VM}
            assert await state(workshop) == "running" and len(workshop.hypervisor.media()) == 1

    asyncio.run(main())


@pytest.mark.parametrize("by", ["the service", "others"])
def test_a_disc_waits_for_the_start_of_a_vm_that_is_off(tmp_path: Path, by: str) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, starts=0)
            assert (await apply(workshop))["drive"] is None and len(discs(workshop)) == 1
            await settle(workshop)
            assert (await state(workshop), workshop.hypervisor.done) == ("pending", [])
            if by == "the service":
                await workshop.power("on")
                assert len(workshop.hypervisor.media()) == 2, "from its first moment on"
            else:
                await workshop.hypervisor.power(VM, "on")
            await settle(workshop)
            shown = await workshop.operations.customizations.show(VM)
            assert (shown["state"], shown["drive"]) == ("running", "ide1")
            assert len(workshop.hypervisor.media()) == 2

    asyncio.run(main())


def test_a_drive_that_cannot_be_emptied_now_is_tried_again_and_the_end_is_known(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, "on")
            await apply(workshop)
            await settle(workshop)
            workshop.hypervisor.faults["eject"] = "refused"
            workshop.links.recorded(VM, {"status": "error", "message": "no", "nonce": nonce_on(workshop)})
            await asyncio.sleep(0.05)
            await settle(workshop)
            assert await state(workshop) == "running", "an end is told once the drive is empty"
        async with open_workshop(tmp_path) as workshop:
            assert await state(workshop) == "failed" and clean(workshop)

    asyncio.run(main())


def test_a_failed_insert_leaves_nothing_and_keeps_what_was_known(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            add_vm(workshop, "on")
            await apply(workshop)
            await settle(workshop)
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
            add_vm(workshop, "on")
            add_vm(workshop, "on", OTHER, "db1")
            await apply(workshop)
            await apply(workshop, vm=OTHER)
            await settle(workshop)
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
            add_vm(workshop, "on")
            await apply(workshop)
            await settle(workshop)
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
