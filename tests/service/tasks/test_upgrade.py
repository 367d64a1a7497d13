# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrades of agents: the guest has kept the new one, or the failure has a name; limits hold; a restart goes on."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agent_releases import release
from tests.fakes.upgrading import UpgradableAgents, upgradable_agents_of
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import HOLDER, VM, Workshop, open_workshop

from openngt.agent_bundle import build_zipapp
from openngt.errors import OpenNGTError
from openngt.version import __version__
from openngt_service.ports import Refused
from openngt_service.tasks.upgrade_plan import UpgradeAsk

Json = dict[str, Any]
OLD = "0.0.9"


def scenario(tmp_path: Path, story: Callable[[Workshop, UpgradableAgents], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path, **settings) as workshop, upgradable_agents_of(workshop) as agents:
            await story(workshop, agents)

    asyncio.run(main())


async def installed(agents: UpgradableAgents, vm_uuid: str, name: str, version: str = OLD) -> None:
    agents.versions[vm_uuid] = version
    await agents.install(vm_uuid, name)


async def upgraded(workshop: Workshop, **ask: Any) -> tuple[Json, list[Json]]:
    """The fleet's task that has ended, and its rows."""
    asked = UpgradeAsk(**{"wait_seconds": 2.0, "rollback_seconds": 5, **ask})
    task = await workshop.operations.upgrade(asked, actor="test")
    ended = await workshop.operations.task(task["task_id"], wait=PATIENCE_SECONDS)
    return ended, (await workshop.operations.upgrade_rows(task["task_id"]))["items"]


async def planned(workshop: Workshop, **ask: Any) -> dict[str, Json]:
    rows = (await workshop.operations.plan_upgrade(UpgradeAsk(**ask)))["items"]
    return {row["vm_name"]: row for row in rows}


def fleet(count: int) -> dict[str, str]:
    return {f"web{number}": str(uuid.UUID(int=number + 1)) for number in range(count)}


@pytest.mark.parametrize("via", ["link", "iso", "auto"])
def test_the_agent_runs_the_services_version_and_a_second_run_changes_nothing(tmp_path: Path, via: str) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        await installed(agents, VM, "web1")
        task, [row] = await upgraded(workshop, vm=("web1",), via=via)
        assert task["state"] == "succeeded" and task["result"] == {"upgraded": 1}
        assert (row["state"], row["via"]) == ("upgraded", "iso" if via == "iso" else "link")
        assert (row["old_version"], row["new_version"], row["reboot_required"]) == (OLD, __version__, False)
        record = await workshop.operations.vm(VM)
        assert record["agent_version"] == __version__ and record["certificate"]["kind"] == "link"
        assert via == "iso" or agents.received[VM] == [build_zipapp()]
        assert (workshop.hypervisor.media(), workshop.iso_files(), workshop.store.mounts.all()) == ([], [], [])
        before = len(workshop.gateway.calls)
        task, rows = await upgraded(workshop, vm=("web1",), via=via)
        assert (task["result"], rows, len(workshop.gateway.calls)) == ({"upgraded": 0}, [], before)
        verbs = [entry.verb for entry in await workshop.store.audit.page()]
        assert verbs.count("agent.upgrade") == 1

    scenario(tmp_path, story)


def test_without_a_link_the_iso_brings_the_agent(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        await installed(agents, VM, "web1")
        await agents.disconnect(VM)
        _, [row] = await upgraded(workshop, vm=(VM,))
        assert (row["state"], row["via"]) == ("upgraded", "iso")

    scenario(tmp_path, story)


def test_a_link_that_breaks_is_waited_for_and_what_has_come_is_not_sent_again(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        await installed(agents, VM, "web1")
        agents.breaking.add(VM)
        _, [row] = await upgraded(workshop, vm=(VM,), via="link")
        assert row["state"] == "upgraded"
        offsets = [params["offset"] for _, method, params in workshop.gateway.calls if method.endswith("chunk")]
        assert offsets == sorted(set(offsets)), "each piece once"

    scenario(tmp_path, story)


@pytest.mark.parametrize(
    ("fate", "code"),
    [
        (("rolled_back", "UPGRADE_ROLLED_BACK", "agent 0.1.0 did not hold its link within 5 s: it ended"), None),
        (("failed", "NO_SPACE", "no space left on device"), None),
        (("rolled_back", "FORMAT_C", "x"), "UPGRADE_ROLLED_BACK"),
        (("failed", None, None), "UPGRADE_INVALID"),
    ],
)
@pytest.mark.parametrize("via", ["link", "iso"])
def test_what_the_guest_took_back_is_told_with_its_reason(
    tmp_path: Path, via: str, fate: tuple[str, str | None, str | None], code: str | None
) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        await installed(agents, VM, "web1")
        agents.fates[VM] = fate
        task, [row] = await upgraded(workshop, vm=(VM,), via=via)
        assert (row["state"], row["code"]) == ("failed", code or fate[1])
        assert row["message"] and row["remedy"] and fate[2] in (row["message"], None)
        assert task["error"]["code"] == row["code"] and task["error"]["details"]["serves"] == OLD
        assert (workshop.hypervisor.media(), workshop.store.mounts.all()) == ([], [])
        assert (await workshop.operations.vm(VM))["certificate"]["kind"] == "link"

    scenario(tmp_path, story)


def test_each_vm_that_cannot_be_upgraded_has_its_code_and_the_others_go_on(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        names = fleet(5)
        for name, vm_uuid in names.items():
            await installed(agents, vm_uuid, name)
        agents.too_old.add(names["web1"])
        agents.blocking.add(names["web2"])
        await agents.disconnect(names["web3"])
        held = await workshop.operations.mount(names["web4"], holder=HOLDER, config_only=True, actor="test")
        await workshop.result(held)
        workshop.hypervisor.add(str(uuid.UUID(int=99)), "stranger", {"cd0": None})
        workshop.hypervisor.add(str(uuid.UUID(int=98)), "empty", {"cd0": None})
        await workshop.operations.enable("empty", {}, actor="test")
        expected = {
            "web0": None,
            "web1": "AGENT_TOO_OLD",
            "web2": "METHOD_BLOCKED",
            "web3": "LINK_NOT_ACTIVE",
            "web4": "VM_BUSY",
            "stranger": "NOT_ENROLLED",
            "empty": "LINK_NOT_ACTIVE",
        }
        task, rows = await upgraded(workshop, vm=tuple(expected), via="link", max_fail_percentage=100)
        assert {row["vm_name"]: row["code"] for row in rows} == expected
        assert all(row["remedy"] and row["message"] for row in rows if row["code"])
        assert task["error"]["code"] == "TASK_FAILED" and task["error"]["details"]["upgraded"] == 1

    scenario(tmp_path, story)


@pytest.mark.parametrize(
    ("ask", "begun"),
    [
        ({"max_in_flight": 1}, 3),  # 2 of 10 are 20 %: not exceeded
        ({"max_in_flight": 1, "max_fail_percentage": 0}, 1),
        ({"batch": 2, "max_fail_percentage": 50}, 2),
        ({"batch": 5, "max_in_flight": 5, "max_fail_percentage": 60}, 5),
        ({"max_fail_percentage": 100}, 10),
    ],
)
def test_after_too_many_failures_the_others_are_not_begun(tmp_path: Path, ask: Json, begun: int) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        names = fleet(10)
        for name, vm_uuid in names.items():
            await installed(agents, vm_uuid, name)
            agents.fates[vm_uuid] = ("rolled_back", "UPGRADE_ROLLED_BACK", "it ended")
        task, rows = await upgraded(workshop, **ask)
        states = [row["state"] for row in rows]
        assert (states.count("failed"), states.count("not_begun")) == (begun, 10 - begun)
        assert task["error"]["code"] == "TASK_FAILED"
        assert task["error"]["details"].get("not_begun", 0) == 10 - begun
        assert len(agents.received) == begun

    scenario(tmp_path, story)


def test_no_more_than_max_in_flight_at_a_time(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        for name, vm_uuid in fleet(6).items():
            await installed(agents, vm_uuid, name)
        _, rows = await upgraded(workshop, max_in_flight=2)
        assert agents.busy_most <= 2 and {row["state"] for row in rows} == {"upgraded"}

    scenario(tmp_path, story)


def test_it_is_cancelled_between_its_batches_too(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        for name, vm_uuid in fleet(6).items():
            await installed(agents, vm_uuid, name)
        asked = UpgradeAsk(wait_seconds=PATIENCE_SECONDS, rollback_seconds=5, batch=2, max_in_flight=1)
        task_id = (await workshop.operations.upgrade(asked, actor="alice"))["task_id"]
        while (await workshop.operations.task(task_id))["progress"] == 0:
            await asyncio.sleep(0.005)
        await workshop.operations.cancel_task(task_id, actor="bob")
        ended = await workshop.operations.task(task_id, wait=PATIENCE_SECONDS)
        assert (ended["state"], ended["error"]["code"]) == ("cancelled", "TASK_CANCELLED")
        states = [row["state"] for row in (await workshop.operations.upgrade_rows(task_id))["items"]]
        assert set(states) == {"upgraded", "cancelled"}
        assert len(agents.received) == states.count("upgraded") == ended["error"]["details"]["upgraded"]

    scenario(tmp_path, story)


def test_the_plan_says_who_is_due_and_changes_nothing(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        for (name, vm_uuid), version in zip(fleet(3).items(), (OLD, __version__, "0.2.0"), strict=True):
            await installed(agents, vm_uuid, name, version)
        workshop.hypervisor.add(VM, "empty", {"cd0": None})
        await workshop.operations.enable("empty", {}, actor="test")
        rows = await planned(workshop)
        told = {name: (row["state"], row["reason"]) for name, row in rows.items()}
        assert told == {
            "web0": ("due", f"runs {OLD}"),
            "web1": ("unchanged", f"runs {__version__}"),
            "web2": ("unchanged", "runs 0.2.0, which is newer; allow_downgrade would take it back"),
            "empty": ("unchanged", "no agent has ever connected"),
        }
        assert (rows["web0"]["old_version"], rows["web0"]["new_version"]) == (OLD, __version__)
        assert (await planned(workshop, allow_downgrade=True))["web2"]["state"] == "due"
        [named] = (await planned(workshop, vm=("web2",), version=__version__)).values()
        assert (named["state"], named["code"]) == ("blocked", "DOWNGRADE_REFUSED")
        assert workshop.gateway.calls == [] and (await workshop.operations.tasks())["items"] == []

    scenario(tmp_path, story)


def test_a_downgrade_is_refused_by_the_guest_too_and_taken_when_asked(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        await installed(agents, VM, "web1", "0.2.0")
        task, [row] = await upgraded(workshop, vm=(VM,), version=__version__)
        assert (task["state"], row["code"]) == ("failed", "DOWNGRADE_REFUSED") and VM not in agents.received
        _, [row] = await upgraded(workshop, vm=(VM,), allow_downgrade=True)
        assert row["state"] == "upgraded" and agents.versions[VM] == __version__

    scenario(tmp_path, story)


def test_another_version_comes_from_the_shelf(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        await installed(agents, VM, "web1")
        shelf = workshop.settings.state_dir / "agents"
        shelf.mkdir()
        (shelf / "ngt_agent-0.2.0.pyz").write_bytes(release("0.2.0"))
        _, [row] = await upgraded(workshop, vm=(VM,), version="0.2.0")
        assert row["new_version"] == "0.2.0" and agents.received[VM] == [release("0.2.0")]
        (shelf / "ngt_agent-0.1.7.pyz").write_bytes(b"")
        for version, via, code in (
            ("0.1.5", "auto", "NOT_FOUND"),
            ("0.1.7", "auto", "FILE_UNUSABLE"),
            ("0.2.0", "iso", "INVALID_INPUT"),
            ("0.9.0", "auto", "VERSION_UNSUPPORTED"),
            ("../../0", "auto", "VERSION_UNSUPPORTED"),
        ):
            with pytest.raises(OpenNGTError) as failure:
                await planned(workshop, vm=(VM,), version=version, via=via)
            assert failure.value.code in (code, "INVALID_INPUT"), version

    scenario(tmp_path, story)


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        ({"vm": ()}, "vm"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"batch": 0}, "batch"),
        ({"max_fail_percentage": 101}, "max_fail_percentage"),
        ({"rollback_seconds": 4}, "rollback_seconds"),
        ({"rollback_seconds": 3601}, "rollback_seconds"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_its_field(tmp_path: Path, ask: Json, field: str) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        for call in (
            workshop.operations.plan_upgrade(UpgradeAsk(**ask)),
            workshop.operations.upgrade(UpgradeAsk(**ask), actor="test"),
        ):
            with pytest.raises(OpenNGTError) as failure:
                await call
            assert (failure.value.code, failure.value.details["field"]) == ("INVALID_INPUT", field)

    scenario(tmp_path, story)


def test_a_guest_that_never_says_what_became_of_it_is_a_failure_with_a_name(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: UpgradableAgents) -> None:
        await installed(agents, VM, "web1")
        agents.gone.add(VM)
        agents.fates[VM] = ("on_trial", None, None)
        _, [row] = await upgraded(workshop, vm=(VM,), via="link", wait_seconds=0.1)
        assert row["code"] == "AGENT_TIMED_OUT" and "what became of agent" in row["message"]

    scenario(tmp_path, story)


def test_after_a_restart_it_goes_on_and_what_is_done_stays_done(tmp_path: Path) -> None:
    names = fleet(4)

    async def first() -> tuple[str, Json, dict[str, str]]:
        async with open_workshop(tmp_path) as workshop, upgradable_agents_of(workshop) as agents:
            for name, vm_uuid in names.items():
                await installed(agents, vm_uuid, name)
            agents.gone.add(names["web2"])
            asked = UpgradeAsk(vm=tuple(names), max_in_flight=1, wait_seconds=60.0)
            task = await workshop.operations.upgrade(asked, actor="test")
            while names["web2"] not in agents.received:
                await asyncio.sleep(0.005)
            return str(task["task_id"]), agents.reports, agents.versions

    async def second(task_id: str, reports: Json, versions: dict[str, str]) -> None:
        async with open_workshop(tmp_path) as workshop, upgradable_agents_of(workshop) as agents:
            agents.reports, agents.versions = reports, versions
            for vm_uuid in names.values():
                assert not isinstance(await agents.connect(vm_uuid), Refused)
            ended = await workshop.operations.task(task_id, wait=PATIENCE_SECONDS)
            assert ended["state"] == "succeeded" and ended["result"] == {"upgraded": 4}
            assert names["web2"] not in agents.received, "the guest has it from before the restart"

    asyncio.run(second(*asyncio.run(first())))
