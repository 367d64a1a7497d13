# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA's rollover while the fleet runs (T14): no agent is lost in any phase, and refusals name who is not ready."""

import asyncio
import datetime
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agents import agents_of
from tests.fakes.ca_holders import HoldingAgents, holders
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import Workshop, open_workshop

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.authority import create_authority
from openngt_service.cli.ca_rollover import recovered
from openngt_service.ports import Refused
from openngt_service.tasks.ca_rollover import CaRollover
from openngt_service.tasks.refresh_plan import Ask

Json = dict[str, Any]
Story = Callable[[Workshop, HoldingAgents, CaRollover], Awaitable[None]]
DAY = datetime.timedelta(days=1)


def scenario(folder: Path, story: Story) -> None:
    async def main() -> None:
        async with open_workshop(folder) as workshop:
            agents, rollover = holders(workshop)
            async with agents_of(workshop, agents):
                await story(workshop, agents, rollover)

    asyncio.run(main())


class Clock:
    """The service's, some time off the real one, by which TLS judges."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offset = datetime.timedelta(0)
        real = effects.now
        monkeypatch.setattr(effects, "now", lambda: real() + self.offset)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def name_of(number: int) -> str:
    return f"web{number}"


def uuid_of(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name_of(number)))


async def install(agents: HoldingAgents, number: int) -> list[str]:
    fleet = [uuid_of(n) for n in range(number)]
    for n, vm_uuid in enumerate(fleet):
        await agents.install(vm_uuid, name_of(n))
    return fleet


async def refresh(workshop: Workshop, rollover: CaRollover, **ask: Any) -> Json:
    """Those that are behind, as the playbook does it; the task that has ended."""
    names = tuple(vm["vm_name"] for vm in rollover.status()["vms_behind"])
    asked = Ask(**{"vm": names, "wait_seconds": 5.0, "max_in_flight": 64, **ask})
    task = await workshop.operations.refresh(asked, actor="test")
    return await workshop.operations.task(task["task_id"], wait=PATIENCE_SECONDS)


async def all_come_back(agents: HoldingAgents, fleet: list[str]) -> None:
    """Each ends its session and begins another one, by a handshake of its own."""
    for vm_uuid in fleet:
        assert not isinstance(await agents.connect(vm_uuid), Refused)
    assert (agents.lost, agents.refused, agents.discs_refused) == ([], [], [])


async def blocked(rollover: CaRollover, step: Any) -> list[str]:
    """The VMs that it is refused for."""
    with pytest.raises(OpenNGTError) as raised:
        await rollover.step(step, actor="test")
    assert raised.value.code == "CA_ROLLOVER_BLOCKED"
    return [vm["vm_name"] for vm in raised.value.details.get("vms", [])]


def test_a_fleet_goes_over_to_the_next_ca_and_nobody_is_lost(tmp_path: Path) -> None:
    """F18, light: every agent of 200 takes the new CA, twice refreshed, all at once."""

    async def story(workshop: Workshop, agents: HoldingAgents, rollover: CaRollover) -> None:
        fleet = await install(agents, 200)
        old = workshop.store.ledger.authority.ca_sha256
        prepared = await rollover.step("prepare", actor="test", replaces=old)
        assert prepared["changed"] and prepared["signing"]["ca_sha256"] == old and len(prepared["vms_behind"]) == 200
        assert len(await blocked(rollover, "activate")) == 200
        await all_come_back(agents, fleet)
        assert (await refresh(workshop, rollover))["state"] == "succeeded"
        new = prepared["next"]["ca_sha256"]
        assert all(agents.held(vm_uuid) == [old, new] for vm_uuid in fleet)
        assert rollover.status()["vms_behind"] == []

        active = await rollover.step("activate", actor="test")
        assert (active["signing"]["ca_sha256"], active["old"]["ca_sha256"]) == (new, old)
        await all_come_back(agents, fleet)
        assert len(await blocked(rollover, "retire")) == 200 == len(active["vms_behind"])
        assert (await refresh(workshop, rollover))["state"] == "succeeded"
        assert all(agents.held(vm_uuid) == [new] for vm_uuid in fleet)
        await all_come_back(agents, fleet)

        retired = await rollover.step("retire", actor="test")
        assert (retired["phase"], retired["vms_behind"], retired["old"]) == ("none", [], None)
        await all_come_back(agents, fleet)
        again = [await rollover.step(step, actor="test", replaces=old) for step in ("prepare", "activate", "retire")]
        assert not any(outcome["changed"] for outcome in again)
        rows = await workshop.store.audit.page(limit=100_000)
        audited = [row.verb for row in rows if row.verb.startswith("ca.")]
        assert audited == ["ca.prepare", "ca.activate", "ca.retire"]

    scenario(tmp_path, story)


def test_an_agent_that_knows_the_old_ca_alone_still_finds_its_way(tmp_path: Path) -> None:
    """Forced before its time: the new CA's servers show by whom they are vouched for."""

    async def story(workshop: Workshop, agents: HoldingAgents, rollover: CaRollover) -> None:
        fleet = await install(agents, 3)
        await rollover.step("prepare", actor="test", force=True)
        outcome = await rollover.step("activate", actor="test", force=True)
        assert "forced, without 3 VMs" in outcome["reason"]
        await all_come_back(agents, fleet)
        assert (await refresh(workshop, rollover))["state"] == "succeeded"
        assert (await rollover.step("retire", actor="test"))["changed"]
        await all_come_back(agents, fleet)

    scenario(tmp_path, story)


def test_one_that_slept_through_it_all_is_named_and_comes_back_by_disc(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: HoldingAgents, rollover: CaRollover) -> None:
        fleet = await install(agents, 3)
        sleeper = fleet[2]
        await agents.disconnect(sleeper)
        agents.deaf.add(sleeper)
        await rollover.step("prepare", actor="test", force=True)
        await refresh(workshop, rollover, vm=("web0", "web1"))
        assert await blocked(rollover, "activate") == ["web2"]
        await rollover.step("activate", actor="test", force=True)
        await refresh(workshop, rollover, vm=("web0", "web1"))
        assert await blocked(rollover, "retire") == ["web2"]
        [asleep] = rollover.status()["vms_behind"]
        assert "power the VM on, then openngt refresh run web2" in asleep["remedy"]
        after = await rollover.step("retire", actor="test", force=True)
        [left] = after["vms_behind"]
        assert (left["vm_name"], left["remedy"]) == ("web2", "openngt refresh run web2 --via iso")
        await all_come_back(agents, fleet[:2])

        assert await agents.connect(sleeper) == Refused("untrusted_certificate")
        agents.deaf.clear()
        assert (await refresh(workshop, rollover, via="iso"))["state"] == "succeeded"
        assert agents.held(sleeper) == [after["signing"]["ca_sha256"]] and agents.discs_refused == []
        assert rollover.status()["vms_behind"] == [] and workshop.gateway.session(sleeper) is not None

    scenario(tmp_path, story)


@pytest.mark.parametrize("days_left", [1, -1])
def test_no_agent_is_lost_the_day_before_the_ca_ends_nor_the_day_after(
    days_left: int, tmp_path: Path, clock: Clock
) -> None:
    """T14. The day after, the links are down: discs bring the agents back, who still know by whom to be vouched for."""
    life = 10 * DAY
    clock.offset = days_left * DAY - life  # then, the CA was new; now is the real time, by which TLS judges
    create_authority(tmp_path / "ca", common_name="test CA", now=effects.now(), validity=life)

    async def before(workshop: Workshop, agents: HoldingAgents, rollover: CaRollover) -> None:
        for n in range(3):
            workshop.hypervisor.add(uuid_of(n), name_of(n), {"cd0": None})
            await workshop.operations.enable(uuid_of(n), {}, actor="test")
            [issued] = await workshop.operations.issue_batch([{"vm_uuid": uuid_of(n)}], actor="test")
            agents.identity(uuid_of(n)).write_text(issued["private_key_pem"] + issued["certificate_pem"])
            entry = workshop.store.ledger.certificate_of(uuid_of(n))
            assert entry is not None
            await workshop.store.ledger.promote(entry.serial)
        clock.offset = datetime.timedelta(0)

    async def after(workshop: Workshop, agents: HoldingAgents, rollover: CaRollover) -> None:
        fleet = [uuid_of(n) for n in range(3)]
        old_pem = (tmp_path / "ca/ca.pem").read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n"
        agents.cas.update(dict.fromkeys(fleet, old_pem))
        if days_left > 0:
            advice = rollover.status()["advice"]
            assert (advice["step"], advice["state"]) == ("prepare", "WARN")
            await rollover.step("prepare", actor="test")
            await rollover.step("activate", actor="test", force=True)
            await all_come_back(agents, fleet)
        else:
            assert [await agents.connect(vm_uuid) for vm_uuid in fleet] == [Refused("untrusted_certificate")] * 3
            agents.lost.clear()
        assert (await refresh(workshop, rollover, vm=tuple(fleet)))["state"] == "succeeded"
        assert (await rollover.step("retire", actor="test"))["changed"]
        await all_come_back(agents, fleet)
        assert all(agents.held(vm_uuid) == [workshop.store.ledger.authority.ca_sha256] for vm_uuid in fleet)

    scenario(tmp_path, before)
    if days_left < 0:
        recovered(tmp_path)
    scenario(tmp_path, after)
