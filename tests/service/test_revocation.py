# SPDX-License-Identifier: GPL-3.0-or-later
"""A deleted VM is out (T17, T18, F32): under load, during every other work, and with its UUID used again.

How fast is measured in bench/revoke.py; here only the order of events counts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.hypervisor import Fault
from tests.fakes.service import ServiceProcess
from tests.fakes.swarm import Swarm
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt import effects
from openngt.errors import OpenNGTError
from openngt_service.ports import Refused, SessionInfo

BYSTANDERS = 150
VICTIMS = 12
LIMIT_SECONDS = 120


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path_factory.mktemp("service"), {"log_level": "warning"})
    running.start()
    yield running
    running.stop()


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            await scenario()

    asyncio.run(limited())


def test_deleted_vms_are_cut_and_refused_while_hundreds_beat_and_connect(
    service: ServiceProcess, tmp_path: Path
) -> None:
    """T17: nothing of a deleted VM is welcome once the service has answered; the others feel nothing."""
    swarm = Swarm(service, tmp_path)
    bystanders, victims = swarm.enrol(BYSTANDERS), swarm.enrol(VICTIMS)

    async def keep_connecting(vms: list[str]) -> None:
        while True:
            for vm in vms:
                assert await swarm.is_welcome(vm), "a bystander was refused"

    async def delete(vm: str) -> None:
        """The VM's agent is connected and knocks all the time; its knocks are judged by when they began."""
        agent = await swarm.connect(vm)
        answered = asyncio.Event()
        verdicts: list[tuple[bool, bool]] = []

        async def knock() -> None:
            while len([late for late, _ in verdicts if late]) < 5:
                late = answered.is_set()
                verdicts.append((late, await swarm.is_welcome(vm)))

        knocking = asyncio.create_task(knock())
        await asyncio.sleep(0.05)
        with service.client() as client:
            revoked = await asyncio.to_thread(client.disable, vm)
        answered.set()
        assert len(revoked["revoked"]) == 1
        assert await agent.closed(), "the live session is cut"
        await knocking
        assert not any(welcome for late, welcome in verdicts if late), verdicts

    async def scenario() -> None:
        await swarm.connect_all(bystanders)
        busy = [asyncio.create_task(keep_connecting(bystanders[start::4])) for start in range(4)]
        try:
            for start in range(0, VICTIMS, 4):
                await asyncio.gather(*(delete(vm) for vm in victims[start : start + 4]))
            assert not any(task.done() for task in busy), [task for task in busy if task.done()]
            with service.client() as client:
                records = await asyncio.to_thread(client.vms, bystanders)
            assert len(records) == BYSTANDERS
            assert all(record["communication_link_active"] for record in records)
        finally:
            for task in busy:
                task.cancel()
            await swarm.stop()

    play(scenario)


def test_a_uuid_that_is_used_again_opens_nothing_for_the_old_agent(service: ServiceProcess, tmp_path: Path) -> None:
    """T18."""
    swarm = Swarm(service, tmp_path)
    [vm] = swarm.enrol(1)
    old = swarm.contexts[vm]
    with service.client() as client:
        before = client.vm(vm)
        client.disable(vm)
        after = client.enable(vm)
        assert after["ngt_uuid"] != before["ngt_uuid"]
        [issued] = client.issue_batch([{"vm_uuid": vm}])
        assert issued["generation"] > before["generation"]
        swarm.take(issued)

        async def scenario() -> None:
            assert not await swarm.is_welcome(vm, old)
            assert await swarm.is_welcome(vm)
            assert not await swarm.is_welcome(vm, old)

        play(scenario)
        assert client.vm(vm)["link"]["last_refusal"]["reason"] == "revoked"


async def mounting(workshop: Workshop) -> None:
    await workshop.mount()


async def ejecting(workshop: Workshop) -> None:
    await workshop.eject()


async def switching_off(workshop: Workshop) -> None:
    await workshop.power("off", force=True)


async def waiting_for_acpi(workshop: Workshop) -> None:
    workshop.hypervisor.guest(VM, ignores_acpi=True)
    await workshop.power("shutdown", force=True, wait_seconds=2)


async def changing_capabilities(workshop: Workshop) -> None:
    await workshop.operations.enable(VM, {"vss_snapshot": False}, actor="test")


# What is going on -> how the hypervisor behaves meanwhile; None: as it should.
OTHER_WORK: list[tuple[Callable[[Workshop], Awaitable[None]], str, Fault | None]] = [
    (mounting, "insert", None),
    (mounting, "insert", "refused"),
    (mounting, "insert", "never"),
    (mounting, "insert", "lost"),
    (mounting, "insert", "late"),
    (mounting, "find", "never"),
    (ejecting, "eject", None),
    (ejecting, "eject", "never"),
    (ejecting, "eject", "lost"),
    (switching_off, "power", None),
    (switching_off, "power", "never"),
    (waiting_for_acpi, "power", None),
    (changing_capabilities, "find", "never"),
]


@pytest.mark.parametrize(("work", "method", "fault"), OTHER_WORK, ids=lambda value: getattr(value, "__name__", value))
def test_deletion_during_other_work_revokes_first_and_leaves_nothing(
    tmp_path: Path, work: Callable[[Workshop], Awaitable[None]], method: str, fault: Fault | None
) -> None:
    """F32, T17: whatever is at work on the VM, its serials are refused before that work has ended."""

    async def scenario() -> None:
        async with open_workshop(tmp_path) as workshop:
            workshop.hypervisor.add(VM, "web1", {"ide0": None})
            await workshop.operations.enable(VM, {}, actor="test")
            if work is not mounting:
                await workshop.mount()
            [issued] = await workshop.operations.issue_batch([{"vm_uuid": VM}], actor="test")
            identity = (issued["private_key_pem"] + issued["certificate_pem"]).encode()
            assert isinstance(await workshop.gateway.connect(identity), SessionInfo)
            if fault is not None:
                workshop.hypervisor.faults[method] = fault

            order: list[str] = []
            workshop.store.ledger.on_revoked(lambda vm_uuid, serials: order.append("revoked"))
            workshop.hypervisor.asked.clear()
            busy = asyncio.create_task(attempt(work(workshop)))
            busy.add_done_callback(lambda _: order.append("work ended"))
            while method not in workshop.hypervisor.asked:
                await asyncio.sleep(0.001)
            deleting = asyncio.create_task(workshop.operations.disable(VM, actor="test"))
            while "revoked" not in order:
                await asyncio.sleep(0.001)
            if fault in ("never", "late") or work is waiting_for_acpi:
                assert order == ["revoked"], "the deny row does not wait for what hangs"
            assert await workshop.gateway.connect(identity) == Refused("revoked", VM)
            assert workshop.gateway.cuts[0] == (VM, "revoked")

            await deleting
            await busy
            workshop.hypervisor.faults.clear()
            workshop.hypervisor.release.set()
            # The file of a late insert may be gone by now, which is as good as a refusal.
            await asyncio.gather(*workshop.hypervisor.late, return_exceptions=True)
            workshop.background.reconciler._looked = None
            await workshop.background.reconciler.settle_all()
            assert (workshop.hypervisor.media(), workshop.iso_files()) == ([], [])
            assert workshop.store.mounts.get(VM) is None
            verdicts = [workshop.store.ledger.judge(entry, effects.now()) for entry in serials(workshop)]
            assert verdicts and all(isinstance(verdict, Refused) for verdict in verdicts)

    play(scenario)


async def attempt(work: Awaitable[None]) -> None:
    """It may fail, since its VM goes away; how is other tests' business."""
    try:
        await work
    except OpenNGTError:
        return


def serials(workshop: Workshop) -> list[Any]:
    """Every serial that the VM ever had."""
    return list(workshop.store.ledger._of_vm[VM])
