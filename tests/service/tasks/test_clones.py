# SPDX-License-Identifier: GPL-3.0-or-later
"""Clones of enrolled VMs: named with their parents, enabled by somebody or at once, and then VMs of their own."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.fakes.agents import FakeAgents, agents_of
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt import effects
from openngt_service.health.catalogue import CHECKS, default_policy
from openngt_service.health.checks import CheckResult, Facts
from openngt_service.hypervisors.base import Described
from openngt_service.store.registry import Capabilities, Vm
from openngt_service.store.sightings import Sighting
from openngt_service.tasks.clones import ENABLE_IN_A_LOOK, clones_of, duplicates_of
from openngt_service.tasks.recover import AT_ONCE

COPY, OTHER = str(uuid.uuid4()), str(uuid.uuid4())
NOW = effects.now()
PARENT = Vm(VM, "web1", VM, True, Capabilities(), 3, NOW)


def scenario(tmp_path: Path, story: Callable[[Workshop, FakeAgents], Awaitable[None]], **settings: object) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path, **settings) as workshop, agents_of(workshop) as agents:
            await story(workshop, agents)

    asyncio.run(main())


async def clone(workshop: Workshop, name: str = "web1-copy", power_state: str = "on") -> str:
    copy = await workshop.hypervisor.clone(VM, name)
    workshop.hypervisor.set_power(copy, power_state)
    return copy


async def look(workshop: Workshop) -> None:
    """A round of everything that works without being asked."""
    await workshop.background.clones.look()
    await workshop.background.recovery.look()


async def linked(workshop: Workshop, vm_uuid: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            session = workshop.gateway.session(vm_uuid)
            if session is not None and session.kind == "link" and not workshop.store.mounts.all():
                return
            await asyncio.sleep(0.01)


def judge(workshop: Workshop) -> CheckResult:
    clones = workshop.background.clones
    facts = Facts(
        effects.now(),
        [{"vm_uuid": vm.vm_uuid, "vm_name": vm.vm_name} for vm in workshop.store.registry.all()],
        [],
        {},
        sightings=workshop.store.sightings.all(),
        clones=list(clones.all.values()),
        duplicates=clones.duplicates,
    )
    check = CHECKS["ngt_duplicate_identity_check"]
    return check.judge(facts, default_policy(check).thresholds)


def known(*vms: Vm) -> Callable[[str], Vm | None]:
    rows = {vm.vm_uuid: vm for vm in vms}
    return lambda vm_uuid: rows.get(vm_uuid)


def sighting(vm_uuid: str, parent: str) -> Sighting:
    return Sighting(vm_uuid, "foreign_port", "ab", "serial port 1", parent, NOW, NOW)


@pytest.mark.parametrize(
    ("described", "sightings", "rows", "found"),
    [
        (Described(COPY, "c", VM), [], (PARENT,), ("hypervisor", True)),
        (Described(COPY, "c"), [sighting(COPY, VM)], (PARENT,), ("serial_port", True)),
        (Described(COPY, "c", VM), [], (), None),
        (Described(COPY, "c", OTHER), [], (PARENT,), None),
        (Described(COPY, "c"), [sighting(OTHER, VM)], (PARENT,), None),
        (Described(VM, "c", VM), [], (PARENT,), None),
        # Somebody has decided about it, one way or the other.
        (
            Described(COPY, "c", VM),
            [],
            (PARENT, Vm(COPY, "c", OTHER, True, Capabilities(), 0, NOW)),
            ("hypervisor", False),
        ),
        (
            Described(COPY, "c", VM),
            [],
            (PARENT, Vm(COPY, "c", OTHER, False, Capabilities(), 0, NOW)),
            ("hypervisor", False),
        ),
    ],
)
def test_what_is_a_clone_and_which_waits(
    described: Described, sightings: list[Sighting], rows: tuple[Vm, ...], found: object
) -> None:
    clones = clones_of([described], sightings, known(*rows))
    assert [(one.seen_by, one.pending) for one in clones] == ([] if found is None else [found])


def test_vms_that_share_a_uuid_are_all_named() -> None:
    """F16."""
    seen = [Described(VM, "web1"), Described(COPY, "x"), Described(VM, "web1-copied-by-hand")]
    assert duplicates_of(seen) == {VM: ["web1", "web1-copied-by-hand"]}


def test_a_listed_clone_waits_until_somebody_enables_it_and_then_goes_active_by_itself(tmp_path: Path) -> None:
    """T1: the original's second option. Nothing is issued, mounted or enabled before that."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        await workshop.operations.enable(VM, {"vss_snapshot": False}, actor="test")
        parent = agents.identity(VM).read_bytes()
        copy = await clone(workshop)
        for _ in range(3):
            await look(workshop)
        [waiting] = await workshop.operations.hypervisor_vms(clone_pending=True)
        assert (waiting["vm_uuid"], waiting["clone_pending"], waiting["enrolled"]) == (copy, True, False)
        assert waiting["cloned_from"] == {"vm_uuid": VM, "vm_name": "web1"}
        assert [vm["vm_uuid"] for vm in await workshop.operations.hypervisor_vms(clone_pending=False)] == [VM]
        assert workshop.store.registry.known(copy) is None and workshop.hypervisor.media() == []
        [item] = judge(workshop).items
        assert item["state"] == "INFO" and "web1-copy" in item["message"] and "clone of VM web1" in item["message"]

        record, created = await workshop.operations.enable("web1-copy", {}, actor="test")
        assert created and not record["vss_snapshot"] and record["self_service_restore"], "as its parent's"
        await look(workshop)
        await linked(workshop, copy)
        session = workshop.gateway.session(copy)
        assert session is not None and session.vm_uuid == copy
        assert agents.identity(VM).read_bytes() == parent, "the parent is undisturbed"
        assert workshop.gateway.session(VM) is not None and not agents.refused
        [task] = [task for task in (await workshop.operations.tasks(copy))["items"] if task["kind"] == "clone"]
        assert task["title"] == "Giving a clone its own identity"
        await look(workshop)
        assert await workshop.operations.hypervisor_vms(clone_pending=True) == [] and judge(workshop).items == []
        assert len((await workshop.operations.tasks(copy))["items"]) == 2, "once, with its mount"

    scenario(tmp_path, story)


def test_clones_are_enabled_at_once_where_the_settings_say_so_and_few_at_a_time(tmp_path: Path) -> None:
    """T1, F16 with 100: the original's first option. Each has its parent's capabilities and an identity of its own."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        await workshop.operations.enable(VM, {"self_service_restore": False}, actor="test")
        copies = [await clone(workshop, f"copy-{number:03}") for number in range(100)]
        await workshop.background.clones.look()
        assert len(workshop.store.registry.all()) == 1 + ENABLE_IN_A_LOOK
        most = 0
        async with asyncio.timeout(120):
            while any(workshop.gateway.session(copy) is None for copy in copies):
                await look(workshop)
                most = max(most, len(workshop.background.recovery._followers))
                await asyncio.sleep(0.02)
        assert most <= AT_ONCE
        assert all(not vm.capabilities.self_service_restore for vm in workshop.store.registry.all())
        serials = {session.serial for copy in copies if (session := workshop.gateway.session(copy)) is not None}
        assert len(serials) == 100 and workshop.gateway.session(VM) is not None

    scenario(tmp_path, story, clones="enable")


@pytest.mark.parametrize("why", ["its parent was disabled", "it was disabled itself"])
def test_what_somebody_has_taken_out_is_not_enabled_again(tmp_path: Path, why: str) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        copy = await clone(workshop)
        if why == "it was disabled itself":
            await look(workshop)
            await linked(workshop, copy)
            await workshop.operations.disable(copy, actor="test")
        else:
            await workshop.operations.disable(VM, actor="test")
        for _ in range(2):
            await look(workshop)
        assert workshop.store.registry.get(copy) is None
        pending = await workshop.operations.hypervisor_vms(clone_pending=True)
        assert [vm["vm_uuid"] for vm in pending] == ([copy] if why == "its parent was disabled" else [])

    scenario(tmp_path, story, clones="enable")


def test_a_clone_that_is_off_is_given_its_disc_when_it_runs(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        await agents.install(VM, "web1")
        copy = await clone(workshop, power_state="off")
        await workshop.operations.enable(copy, {}, actor="test")
        await look(workshop)
        assert workshop.store.ledger.entries_of(copy) == [] and workshop.background.recovery.attempts == {}
        workshop.hypervisor.set_power(copy, "on")
        workshop.background.recovery._not_before.clear()  # five seconds later
        await look(workshop)
        await linked(workshop, copy)

    scenario(tmp_path, story)


def test_a_clone_whose_parent_never_had_an_agent_is_left_for_an_installation(tmp_path: Path) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        workshop.hypervisor.add(VM, "web1", {"cd0": None})
        await workshop.operations.enable(VM, {}, actor="test")
        copy = await clone(workshop)
        await workshop.operations.enable(copy, {}, actor="test")
        await look(workshop)
        assert workshop.hypervisor.media() == [] and workshop.background.recovery.attempts == {}

    scenario(tmp_path, story)


@pytest.mark.parametrize("template", ["web1", VM], ids=["by name", "by UUID"])
def test_a_clone_of_a_template_gets_its_disc_although_nobody_has_heard_of_its_agent(
    tmp_path: Path, template: str
) -> None:
    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        workshop.hypervisor.add(VM, "web1", {"cd0": None}, "off")
        await workshop.operations.enable(VM, {}, actor="test")
        copy = await clone(workshop)
        await look(workshop)
        assert workshop.hypervisor.media() == [], "nobody has enabled it"
        await workshop.operations.enable(copy, {}, actor="test")
        await look(workshop)
        await linked(workshop, copy)
        assert workshop.gateway.session(VM) is None

    scenario(tmp_path, story, templates=[template])


def test_a_copy_that_shows_itself_over_its_own_port_is_named_with_its_parent(tmp_path: Path) -> None:
    """T1: `identity_mismatch`, on a hypervisor that does not know what it has copied."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        session = await agents.install(VM, "web1")
        workshop.hypervisor.add(COPY, "web1-copy", {"cd0": None})
        workshop.background.identity_news.clear()
        workshop.links.foreign(COPY, VM, session.serial, "serial port 1")
        assert workshop.background.identity_news.is_set(), "judged within seconds, not with the next round"
        await look(workshop)
        [item] = judge(workshop).items
        assert item["state"] == "FAIL" and "web1-copy" in item["message"] and "identity of VM web1" in item["message"]
        [waiting] = await workshop.operations.hypervisor_vms(clone_pending=True)
        assert waiting["cloned_from"] == {"vm_uuid": VM, "vm_name": "web1"}
        await workshop.operations.enable(COPY, {}, actor="test")
        await look(workshop)
        await linked(workshop, COPY)

    scenario(tmp_path, story)
