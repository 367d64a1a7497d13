# SPDX-License-Identifier: GPL-3.0-or-later
"""Cancelling work on many VMs: no further one is begun, those at work end, and a restart does not go on with it."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agents import FakeAgents, agents_of
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import Workshop, open_workshop

from openngt.errors import OpenNGTError
from openngt_service.tasks.refresh_plan import Ask

Json = dict[str, Any]
NAMES = {f"web{number}": str(uuid.UUID(int=number + 1)) for number in range(6)}


def scenario(tmp_path: Path, story: Callable[[Workshop, FakeAgents], Awaitable[None]]) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path) as workshop, agents_of(workshop) as agents:
            for name, vm_uuid in NAMES.items():
                await agents.install(vm_uuid, name)
            await story(workshop, agents)

    asyncio.run(main())


async def begun(workshop: Workshop, **ask: Any) -> str:
    """A refresh of all whose second VM is at work and will be for `wait_seconds`: its id."""
    ask = {"vm": tuple(NAMES), "max_in_flight": 1, "wait_seconds": 0.5, **ask}
    task = await workshop.operations.refresh(Ask(**ask), actor="alice")
    while (await workshop.operations.task(task["task_id"]))["progress"] == 0:
        await asyncio.sleep(0.005)
    return str(task["task_id"])


async def states(workshop: Workshop, task_id: str) -> list[str]:
    rows = (await workshop.operations.refresh_rows(task_id))["items"]
    return sorted(row["state"] for row in rows)


async def failure(call: Awaitable[Any]) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        await call
    return caught.value


def test_those_at_work_end_and_the_others_are_left_as_they_are(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        before = {vm: workshop.store.ledger.certificate_of(vm) for vm in NAMES.values()}
        task_id = await begun(workshop)
        answer = await workshop.operations.cancel_task(task_id, actor="bob")
        assert answer["task_id"] == task_id and "cancelled_by" not in answer
        ended = await workshop.operations.task(task_id, wait=PATIENCE_SECONDS)
        assert (ended["state"], ended["error"]["code"]) == ("cancelled", "TASK_CANCELLED")
        details = ended["error"]["details"]
        assert details["refreshed"] + details["left"] == 6 and details["left"] >= 3 and details["failed"] == 0
        rows = (await workshop.operations.refresh_rows(task_id))["items"]
        for row in rows:
            now = workshop.store.ledger.certificate_of(row["vm_uuid"])
            assert (row["state"] == "refreshed") == (now != before[row["vm_uuid"]])
            assert row["state"] in ("refreshed", "cancelled") and row["code"] is None
        assert sum(row["state"] == "cancelled" for row in rows) == details["left"]
        trail = [row for row in await workshop.store.audit.page() if row.verb == "task.cancel"]
        assert [(row.actor, row.details["task_id"]) for row in trail] == [("bob", task_id)]

    scenario(tmp_path, story)


def test_a_second_time_nothing_happens_and_the_rest_can_be_asked_for(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        task_id = await begun(workshop)
        for _ in range(2):
            await workshop.operations.cancel_task(task_id, actor="bob")
        ended = await workshop.operations.task(task_id, wait=PATIENCE_SECONDS)
        assert await workshop.operations.cancel_task(task_id, actor="bob") == ended
        trail = [row for row in await workshop.store.audit.page() if row.verb == "task.cancel"]
        assert len(trail) == 1
        left = [
            row["vm_uuid"]
            for row in (await workshop.operations.refresh_rows(task_id))["items"]
            if row["state"] == "cancelled"
        ]
        again = await workshop.operations.refresh(Ask(vm=tuple(left)), actor="alice")
        assert (await workshop.operations.task(again["task_id"], wait=PATIENCE_SECONDS))["result"] == {
            "refreshed": len(left)
        }

    scenario(tmp_path, story)


def test_vms_that_wait_for_their_moment_are_not_waited_for(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        task = await workshop.operations.refresh(Ask(vm=tuple(NAMES), spread_seconds=7 * 86400.0), actor="alice")
        await workshop.operations.cancel_task(task["task_id"], actor="bob")
        ended = await workshop.operations.task(task["task_id"], wait=PATIENCE_SECONDS)
        assert ended["state"] == "cancelled" and await states(workshop, task["task_id"]) == ["cancelled"] * 6

    scenario(tmp_path, story)


def test_a_fleet_of_which_nothing_is_left_ends_as_it_would_have(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        agents.gone.update(NAMES.values())
        task = await workshop.operations.refresh(
            Ask(vm=tuple(NAMES), max_in_flight=6, via="link", wait_seconds=1.0), actor="alice"
        )
        while sum(method == "identity.rotate" for _, method, _ in workshop.gateway.calls) < 6:
            await asyncio.sleep(0.005)
        await workshop.operations.cancel_task(task["task_id"], actor="bob")
        ended = await workshop.operations.task(task["task_id"], wait=PATIENCE_SECONDS)
        assert (ended["state"], ended["error"]["code"]) == ("failed", "TASK_FAILED")
        assert await states(workshop, task["task_id"]) == ["failed"] * 6

    scenario(tmp_path, story)


def test_what_cannot_be_cancelled_is_refused_by_name(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        operations = workshop.operations
        assert (await failure(operations.cancel_task("0" * 32, actor="bob"))).code == "NOT_FOUND"
        done = await operations.refresh(Ask(vm=("web0",)), actor="alice")
        assert (await operations.task(done["task_id"], wait=PATIENCE_SECONDS))["state"] == "succeeded"
        ended = await failure(operations.cancel_task(done["task_id"], actor="bob"))
        assert (ended.code, ended.details["state"]) == ("TASK_NOT_CANCELLABLE", "succeeded")
        workshop.hypervisor.guest(NAMES["web1"], ignores_acpi=True)
        power = await operations.power("web1", verb="shutdown", wait_seconds=30, actor="alice")
        refused = await failure(operations.cancel_task(power["task_id"], actor="bob"))
        assert (refused.code, refused.details["kind"]) == ("TASK_NOT_CANCELLABLE", "power") and refused.remedy
        assert [row for row in await workshop.store.audit.page() if row.verb == "task.cancel"] == []

    scenario(tmp_path, story)


def test_a_restart_does_not_go_on_with_it(tmp_path: Path) -> None:
    ids: list[str] = []

    async def cut_short(workshop: Workshop, agents: FakeAgents) -> None:
        agents.gone.update(NAMES.values())
        task = await workshop.operations.refresh(
            Ask(vm=tuple(NAMES), max_in_flight=1, via="link", wait_seconds=60.0), actor="alice"
        )
        while not workshop.gateway.calls:
            await asyncio.sleep(0.005)
        await workshop.operations.cancel_task(task["task_id"], actor="bob")
        assert (await workshop.operations.task(task["task_id"]))["state"] == "running", "one is at work"
        ids.append(task["task_id"])

    scenario(tmp_path, cut_short)

    async def second() -> None:
        async with open_workshop(tmp_path) as workshop, agents_of(workshop):
            ended = await workshop.operations.task(ids[0], wait=PATIENCE_SECONDS)
            assert ended["state"] == "cancelled" and workshop.gateway.calls == []
            rows = (await workshop.operations.refresh_rows(ids[0]))["items"]
            assert sorted(row["state"] for row in rows) == ["cancelled"] * 5 + ["failed"]
            [cut] = [row for row in rows if row["state"] == "failed"]
            assert cut["code"] == "TASK_FAILED" and "ended" in cut["message"]

    asyncio.run(second())
