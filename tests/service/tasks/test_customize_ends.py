# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a customization, whoever tells it: the guest, its agent, its drive or the time limit."""

import asyncio
import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.customized_workshop import (
    OTHER,
    USERS,
    add_vm,
    apply,
    at_work,
    clean,
    discs,
    end_of_time,
    nonce_on,
    say,
    settle,
    state,
    until,
)
from tests.fakes.workshop import VM, open_workshop

pytestmark = pytest.mark.usefixtures("judged_here")

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
            await at_work(workshop)
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
            await at_work(workshop)
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
            await at_work(workshop, VM, OTHER)
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
            await at_work(workshop)
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
            await at_work(workshop)
            workshop.hypervisor.faults["eject"] = "refused"
            workshop.links.recorded(VM, {"status": "error", "message": "no", "nonce": nonce_on(workshop)})
            await asyncio.sleep(0.05)
            await settle(workshop)
            assert await state(workshop) == "running", "an end is told once the drive is empty"
        async with open_workshop(tmp_path) as workshop:
            assert await state(workshop) == "failed" and clean(workshop)

    asyncio.run(main())
