# SPDX-License-Identifier: GPL-3.0-or-later
"""One power verb for many VMs: a row for each, so many at a time, and what a restart does and does not repeat."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import Workshop, open_workshop

from openngt.errors import OpenNGTError
from openngt_service.tasks import power as power_module
from openngt_service.tasks.fleet_power import PowerAsk

Json = dict[str, Any]
NAMES = {f"web{number}": str(uuid.UUID(int=number + 1)) for number in range(8)}
TASK_FIELDS = {"task_id", "title", "state", "progress", "step"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_module, "POLL_SECONDS", 0.01)


def scenario(tmp_path: Path, story: Callable[[Workshop], Awaitable[None]]) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop:
            for name, vm_uuid in NAMES.items():
                workshop.hypervisor.add(vm_uuid, name, {"ide0": None}, "on")
            await story(workshop)

    asyncio.run(main())


def ask(verb: Any, *vms: str, **more: Any) -> PowerAsk:
    return PowerAsk(vms or tuple(NAMES), verb, **{"wait_seconds": 0.3, **more})


async def switched(workshop: Workshop, asked: PowerAsk) -> tuple[Json, list[Json]]:
    """The task that has ended, and its rows."""
    task = await workshop.operations.power_many(asked, actor="test")
    ended = await workshop.operations.task(task["task_id"], wait=PATIENCE_SECONDS)
    rows = await workshop.operations.power_rows(task["task_id"])
    assert rows["task"] == ended
    return ended, rows["items"]


def test_all_are_switched_and_a_second_time_none_changes(tmp_path: Path) -> None:
    async def story(workshop: Workshop) -> None:
        foretold = (await workshop.operations.plan_power(ask("off")))["items"]
        assert {row["state"] for row in foretold} == {"due"} and workshop.hypervisor.done == []
        task, rows = await switched(workshop, ask("off"))
        assert (task["state"], task["result"]) == ("succeeded", {"switched": 8})
        assert [row["vm"] for row in rows] == list(NAMES), "in the order of the request"
        assert {(row["before"], row["power_state"], row["changed"]) for row in rows} == {("on", "off", True)}
        assert [set(row["tasks"][0]) for row in rows] == [TASK_FIELDS] * 8
        assert [{**row, "state": "due", "tasks": []} for row in rows] == foretold
        task, rows = await switched(workshop, ask("off"))
        assert task["state"] == "succeeded" and not any(row["changed"] for row in rows)
        assert {row["state"] for row in (await workshop.operations.plan_power(ask("off")))["items"]} == {"unchanged"}
        assert workshop.hypervisor.done == ["off"] * 8

    scenario(tmp_path, story)


def test_each_that_fails_says_why_and_the_others_are_switched(tmp_path: Path) -> None:
    async def story(workshop: Workshop) -> None:
        workshop.hypervisor.add(str(uuid.uuid4()), "twin", {}, "on")
        workshop.hypervisor.add(str(uuid.uuid4()), "twin", {}, "on")
        workshop.hypervisor.guest(NAMES["web1"], ignores_acpi=True)
        asked = ask("shutdown", "web0", "web1", NAMES["web0"].upper(), "twin", "webb2")
        task, rows = await switched(workshop, asked)
        assert [(row["vm"], row["state"], row["code"]) for row in rows] == [
            ("web0", "switched", None),
            ("web1", "failed", "ACPI_IGNORED"),
            ("twin", "failed", "VM_AMBIGUOUS"),
            ("webb2", "failed", "VM_NOT_FOUND"),
        ], "a VM that was named twice is switched once"
        assert all(row["remedy"] for row in rows[1:]) and "web2" in rows[3]["details"]["near"]
        assert (task["state"], task["error"]["code"]) == ("failed", "TASK_FAILED")
        assert task["error"]["details"]["codes"] == {"ACPI_IGNORED": 1, "VM_AMBIGUOUS": 1, "VM_NOT_FOUND": 1}
        planned = (await workshop.operations.plan_power(asked))["items"]
        assert [row["state"] for row in planned] == ["unchanged", "due", "blocked", "blocked"]

    scenario(tmp_path, story)


@pytest.mark.parametrize(("vms", "more"), [((), {}), (("web0",), {"fallback": "acpi"})])
def test_what_makes_no_sense_is_refused_before_any_change(tmp_path: Path, vms: tuple[str, ...], more: Json) -> None:
    with pytest.raises(OpenNGTError) as caught:
        PowerAsk(vms, "on", **more)
    assert caught.value.code == "INVALID_INPUT"


def test_no_more_than_max_in_flight_at_a_time(tmp_path: Path) -> None:
    async def story(workshop: Workshop) -> None:
        for vm_uuid in NAMES.values():
            workshop.hypervisor.guest(vm_uuid, ignores_acpi=True)
        asked = ask("shutdown", max_in_flight=3, fallback="off", wait_seconds=0.5)
        task = await workshop.operations.power_many(asked, actor="test")
        most = 0
        while (await workshop.operations.task(task["task_id"]))["state"] in ("queued", "running"):
            rows = (await workshop.operations.power_rows(task["task_id"]))["items"]
            most = max(most, sum(row["state"] == "running" for row in rows))
            await asyncio.sleep(0.01)
        assert most == 3
        rows = (await workshop.operations.power_rows(task["task_id"]))["items"]
        assert {(row["stopped_by"], row["failed_before"][0]["code"]) for row in rows} == {("off", "ACPI_IGNORED")}

    scenario(tmp_path, story)


def test_it_is_cancelled_like_every_fleet(tmp_path: Path) -> None:
    async def story(workshop: Workshop) -> None:
        for vm_uuid in NAMES.values():
            workshop.hypervisor.guest(vm_uuid, ignores_acpi=True)
        task = await workshop.operations.power_many(ask("shutdown", max_in_flight=1), actor="test")
        await workshop.operations.cancel_task(task["task_id"], actor="test")
        ended = await workshop.operations.task(task["task_id"], wait=PATIENCE_SECONDS)
        assert ended["state"] == "cancelled" and ended["error"]["details"]["left"] >= 6

    scenario(tmp_path, story)


@pytest.mark.parametrize(("verb", "state", "again"), [("shutdown", "switched", True), ("power_cycle", "failed", False)])
def test_after_a_restart_the_rest_is_done_and_nothing_is_reset_twice(
    tmp_path: Path, verb: str, state: str, again: bool
) -> None:
    """A verb with a goal is repeated where it was cut short; one that starts a guest anew is not, and says so."""
    ids: list[str] = []

    async def first(workshop: Workshop) -> None:
        for vm_uuid in NAMES.values():
            workshop.hypervisor.guest(vm_uuid, ignores_acpi=True)
        workshop.hypervisor.faults["power"] = "hang"
        workshop.parts.hypervisor._power_seconds = 60.0
        task = await workshop.operations.power_many(
            ask(verb, "web0", "web1", max_in_flight=1, wait_seconds=60), actor="test"
        )
        while not any(row["tasks"] for row in (await workshop.operations.power_rows(task["task_id"]))["items"]):
            await asyncio.sleep(0.005)
        ids.append(task["task_id"])

    scenario(tmp_path, first)

    async def second() -> None:
        async with open_workshop(tmp_path) as workshop:
            for vm_uuid in NAMES.values():
                workshop.hypervisor.guest(vm_uuid, ignores_acpi=False)
            await workshop.operations.task(ids[0], wait=PATIENCE_SECONDS)
            rows = (await workshop.operations.power_rows(ids[0]))["items"]
            assert [row["state"] for row in rows] == [state, "switched"]
            assert (rows[0]["code"] is None) == again and (again or rows[0]["code"] == "TASK_FAILED")

    asyncio.run(second())
