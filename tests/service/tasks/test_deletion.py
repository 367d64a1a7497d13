# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that is deleted while its certificate is refreshed, or while something is broken (T17, F32).

tests/service/test_revocation.py does it beside media changes and power, and under load.
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agents import FakeAgents, agents_of
from tests.fakes.hypervisor import Fault
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt import effects
from openngt.errors import OpenNGTError
from openngt_service.ports import Refused
from openngt_service.tasks import enrol
from openngt_service.tasks.refresh_plan import Ask, Via

from .test_disk_full import FullDatabase

Story = Callable[[Workshop, FakeAgents], Awaitable[None]]


def play(tmp_path: Path, story: Story) -> None:
    async def main() -> None:
        async with (
            asyncio.timeout(2 * PATIENCE_SECONDS),
            open_workshop(tmp_path) as workshop,
            agents_of(workshop) as agents,
        ):
            await agents.install(VM, "web1")
            await story(workshop, agents)

    asyncio.run(main())


class Held:
    """The agent's answer to one method waits until it is let go."""

    def __init__(self, workshop: Workshop, agents: FakeAgents, method: str) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self._agents, self._method = agents, method
        workshop.gateway.answers = self._answer

    async def _answer(self, vm_uuid: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == self._method:
            self.reached.set()
            await self.go.wait()
        return await self._agents.answer(vm_uuid, method, params)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrol, "OTHERS_SECONDS", 0.3)


async def deleted_in_time(workshop: Workshop) -> None:
    """While the other work stands still: neither revocation nor its answer waits for that."""
    async with asyncio.timeout(5):
        answer = await workshop.operations.disable(VM, actor="test")
    assert answer["revoked"] and workshop.gateway.cuts[0] == (VM, "revoked")
    await shut_out(workshop)


async def shut_out(workshop: Workshop) -> None:
    """No certificate that the VM ever had opens anything, those included that were signed this moment."""
    serials = list(workshop.store.ledger._of_vm[VM])
    verdicts = [workshop.store.ledger.judge(serial, effects.now()) for serial in serials]
    assert verdicts and all(isinstance(verdict, Refused) for verdict in verdicts), verdicts
    assert workshop.gateway.session(VM) is None


async def in_order(workshop: Workshop) -> None:
    """Nothing of the VM is left anywhere."""
    workshop.background.reconciler._looked = None
    await workshop.background.reconciler.settle_all()
    assert (workshop.hypervisor.media(), workshop.iso_files()) == ([], [])
    assert workshop.store.mounts.get(VM) is None and not workshop.parts.engine.busy(VM)
    await shut_out(workshop)
    assert (await workshop.store.audit.verify()).problem is None


@pytest.mark.parametrize("via", ["link", "iso"])
@pytest.mark.parametrize("method", ["identity.request", "identity.rotate"])
def test_deletion_in_the_middle_of_a_refresh(tmp_path: Path, via: Via, method: str) -> None:
    """T17: certificate in the making or not, it is refused before the refresh knows; and the refresh ends by name."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        held = Held(workshop, agents, method)
        task = await workshop.operations.refresh(Ask(vm=(VM,), via=via, wait_seconds=5.0), actor="test")
        await held.reached.wait()
        await deleted_in_time(workshop)
        held.go.set()
        ended = await workshop.operations.task(task["task_id"], wait=PATIENCE_SECONDS)
        [row] = (await workshop.operations.refresh_rows(task["task_id"]))["items"]
        assert (ended["state"], row["state"]) == ("failed", "failed"), row
        assert row["code"] in {"NOT_ENROLLED", "LINK_NOT_ACTIVE", "LINK_LOST", "AGENT_TIMED_OUT"} and row["remedy"], row
        await asyncio.gather(*agents.coming)
        assert all(refused.reason == "revoked" for refused in agents.refused), agents.refused
        await in_order(workshop)

    play(tmp_path, story)


def test_deletion_while_the_service_waits_for_the_guest_to_take_its_disc(tmp_path: Path) -> None:
    """T17."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        agents.deaf.add(VM)
        task = await workshop.operations.refresh(Ask(vm=(VM,), via="iso", wait_seconds=5.0), actor="test")
        while not workshop.hypervisor.media():
            await asyncio.sleep(0.005)
        await deleted_in_time(workshop)
        ended = await workshop.operations.task(task["task_id"], wait=PATIENCE_SECONDS)
        assert ended["state"] == "failed" and ended["error"]["code"]
        await in_order(workshop)

    play(tmp_path, story)


@pytest.mark.parametrize("method", ["list_vms", "find", "eject", "insert"])
@pytest.mark.parametrize("fault", ["refused", "never"])
def test_deletion_while_the_hypervisor_does_not_answer(tmp_path: Path, method: str, fault: Fault) -> None:
    """F32: its word is not needed to shut a VM out."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        workshop.hypervisor.faults[method] = fault
        await deleted_in_time(workshop)
        workshop.hypervisor.faults.clear()
        await in_order(workshop)

    play(tmp_path, story)


def test_deletion_on_a_full_disk_is_refused_by_name_and_done_when_there_is_space(tmp_path: Path) -> None:
    """F32: either the revocation is durable or it is not said to have happened."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        disk = FullDatabase(workshop)
        code = None
        while code is None:
            code = await code_of(workshop.operations.issue_batch([{"vm_uuid": VM}] * 50, actor="test"))
        assert code == "NO_SPACE"
        if await code_of(workshop.operations.disable(VM, actor="test")) == "NO_SPACE":
            assert workshop.gateway.session(VM) is not None and workshop.gateway.cuts == []
        disk.relieve()
        if workshop.store.registry.get(VM) is not None:
            await deleted_in_time(workshop)
        await in_order(workshop)

    play(tmp_path, story)


@pytest.mark.parametrize("jump", [-365, 365 * 5], ids=["a year back", "five years on"])
def test_deletion_with_a_clock_that_has_jumped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int) -> None:
    """F32: a revoked serial is refused whatever the time is, then and when the clock is right again."""
    real = effects.now

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        monkeypatch.setattr(effects, "now", lambda: real() + datetime.timedelta(days=jump))
        await deleted_in_time(workshop)
        monkeypatch.setattr(effects, "now", real)
        await in_order(workshop)

    play(tmp_path, story)


def test_deletion_of_a_vm_whose_agent_lost_its_answers(tmp_path: Path) -> None:
    """F32 beside F19: the agent has stored what it was given, and nobody knows."""

    async def story(workshop: Workshop, agents: FakeAgents) -> None:
        agents.silent.add(VM)
        agents.gone.add(VM)
        task = await workshop.operations.refresh(Ask(vm=(VM,), via="link", wait_seconds=5.0), actor="test")
        while VM not in agents.at_work:
            await asyncio.sleep(0.005)
        await deleted_in_time(workshop)
        await workshop.operations.task(task["task_id"], wait=PATIENCE_SECONDS)
        assert await agents.connect(VM) == Refused("revoked", VM)
        await in_order(workshop)

    play(tmp_path, story)


async def code_of(work: Awaitable[Any]) -> str | None:
    try:
        await work
    except OpenNGTError as exc:
        return exc.code
    return None
