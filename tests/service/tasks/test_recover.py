# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM that cannot connect any more is given a new identity on a disc: by itself, seldom enough, and nobody else is."""

import asyncio
import datetime
import itertools
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.agents import FakeAgents, agents_of
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.workshop import HOLDER, VM, Workshop, open_workshop

from openngt import effects
from openngt.pki.issue import VmCertificateRequest, issue_vm_certificate
from openngt_service.ports import Refused, SessionInfo
from openngt_service.tasks.recover import PAUSE_SECONDS, REMEMBER_SECONDS, Recovery
from openngt_service.tasks.refresh_plan import Ask

DAY = datetime.timedelta(days=1)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A workshop whose recovery looks when the test says so, by a clock that the test moves."""

    def __init__(self, workshop: Workshop, agents: FakeAgents) -> None:
        self.workshop, self.agents, self.clock = workshop, agents, Clock()
        self.recovery = Recovery(workshop.parts, workshop.links, clock=self.clock)
        self.told = 0
        workshop.links.on_refused = self.recovery.refused
        self.recovery.told = self.tell

    def tell(self) -> None:
        self.told += 1

    async def knock(self, client_pem: bytes | None = None) -> Refused:
        """The agent comes with what it has, and is refused."""
        pem = client_pem or self.agents.identity(VM).read_bytes()
        answer = await self.workshop.gateway.connect(pem)
        assert isinstance(answer, Refused), answer
        return answer

    async def look(self, after: float = 5.0) -> list[str]:
        self.clock.now += after
        return await self.recovery.look()

    async def recovered(self) -> None:
        """The task has ended, and the agent is linked."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.recovery.attempts[VM].state == "running":
                await asyncio.sleep(0.01)
        attempt = self.recovery.attempts[VM]
        assert attempt.state == "succeeded", attempt
        assert self.workshop.gateway.session(VM) is not None

    def clean(self) -> bool:
        return (self.workshop.hypervisor.media(), self.workshop.iso_files(), self.workshop.store.mounts.all()) == (
            [],
            [],
            [],
        )


def scenario(tmp_path: Path, story: Callable[[Scene], Awaitable[None]], **settings: object) -> None:
    async def main() -> None:
        async with open_workshop(tmp_path, **settings) as workshop, agents_of(workshop) as agents:
            scene = Scene(workshop, agents)
            try:
                await story(scene)
            finally:
                await scene.recovery.stop()

    asyncio.run(main())


async def rotate(scene: Scene) -> None:
    """A refresh over the link; the agent has the new identity, and the one before is retired."""
    task = await scene.workshop.operations.refresh(Ask(vm=(VM,), wait_seconds=PATIENCE_SECONDS), actor="test")
    assert (await scene.workshop.operations.task(task["task_id"], wait=PATIENCE_SECONDS))["state"] == "succeeded"


async def revert(scene: Scene, old: bytes) -> None:
    """The disk is put back under the VM: its agent has `old` again."""
    await scene.agents.disconnect(VM)
    scene.agents.identity(VM).write_bytes(old)


def test_a_reverted_vm_recovers_by_itself_and_again_after_the_next_revert(tmp_path: Path) -> None:
    """T2: snapshot, rotate twice, revert; unattended, the old serial never accepted, no lock-out loop."""

    async def story(scene: Scene) -> None:
        await scene.agents.install(VM, "web1")
        old = scene.agents.identity(VM).read_bytes()
        await rotate(scene)
        await rotate(scene)
        for turn in range(2):
            await revert(scene, old)
            before = scene.workshop.store.registry.known(VM)
            assert before is not None
            assert (await scene.knock()).reason == "retired"
            assert await scene.look(0.5) == [], "a copy may knock in the moment in which the VM comes back"
            assert await scene.look(PAUSE_SECONDS + 5 if turn else 5) == ([] if turn else [VM])
            if turn:  # what was said a minute ago is not acted upon; the agent says it again
                await scene.knock()
                await scene.look(0.5)
                assert await scene.look(4.0) == [VM]
            await scene.recovered()
            session = scene.workshop.gateway.session(VM)
            assert session is not None and session.kind == "link" and session.generation > before.generation
            assert (await scene.workshop.gateway.connect(old)) == Refused("retired", VM)
            assert scene.clean() and await scene.look() == []
        operations = scene.workshop.operations
        tasks = (await operations.tasks(VM))["items"]
        recoveries = [await operations.task(task["task_id"]) for task in tasks if task["kind"] == "recover"]
        assert [task["result"]["reason"] for task in recoveries] == ["retired", "retired"]
        assert scene.told == 4, "each beginning and each end"

    scenario(tmp_path, story)


@pytest.mark.parametrize("why", ["off", "linked", "disabled", "busy", "held", "turned off", "revoked", "forgotten"])
def test_nothing_is_done_where_nothing_helps_or_is_wanted(tmp_path: Path, why: str) -> None:
    async def story(scene: Scene) -> None:
        workshop = scene.workshop
        await scene.agents.install(VM, "web1")
        old = scene.agents.identity(VM).read_bytes()
        await rotate(scene)
        latest = scene.agents.identity(VM).read_bytes()
        if why == "held":
            await workshop.mount(HOLDER)
        await revert(scene, old)
        if why == "off":
            workshop.hypervisor.set_power(VM, "off")
        elif why in ("disabled", "revoked"):
            await workshop.operations.disable(VM, actor="test")
        if why == "revoked":
            await workshop.operations.enable(VM, {}, actor="test")
        await scene.knock(latest if why == "revoked" else old)
        after = REMEMBER_SECONDS + 1 if why == "forgotten" else 5.0
        if why == "linked":
            workshop.gateway.sessions[VM] = SessionInfo(VM, VM, "x", 1, 1, "link", "p", "tls", effects.now())
        if why == "busy":
            async with workshop.parts.engine.exclusive(VM):
                assert await scene.look() == []
            return
        assert await scene.look(after) == []
        assert scene.recovery.attempts == {} and (why == "held" or scene.clean())

    scenario(tmp_path, story, recover_identities=why != "turned off")


def test_a_recovery_that_fails_is_tried_again_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    """No drive, no agent that looks at discs: the reason is shown, and neither VM nor service is kept busy."""

    async def story(scene: Scene) -> None:
        await scene.agents.install(VM, "web1", {"cd0": "/isos/users.iso"})
        old = scene.agents.identity(VM).read_bytes()
        await rotate(scene)
        await revert(scene, old)
        tried = []
        for second in range(0, 2000, 5):
            await scene.knock()
            if await scene.look(5.0):
                tried.append(second)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while scene.recovery.attempts[VM].state == "running":
                        await asyncio.sleep(0.005)
        assert scene.recovery.attempts[VM].code == "NO_EMPTY_DRIVE"
        pauses = [later - earlier for earlier, later in itertools.pairwise(tried)]
        assert 3 <= len(tried) <= 6 and pauses == sorted(pauses) and pauses[0] >= PAUSE_SECONDS, tried
        assert scene.workshop.hypervisor.media() == ["/isos/users.iso"], "a user's disc is never ejected"

    scenario(tmp_path, story)


def test_an_expired_certificate_is_replaced_although_tls_does_not_say_whose_it_was(tmp_path: Path) -> None:
    """F26: a guest that slept too long. Over the network the gateway sees no more than that somebody's has expired."""

    async def story(scene: Scene) -> None:
        workshop = scene.workshop
        await scene.agents.install(VM, "web1")
        await scene.agents.disconnect(VM)
        [entry] = workshop.store.ledger.entries_of(VM)
        workshop.store.ledger._entries[entry.serial] = entry.__class__(
            **{**{name: getattr(entry, name) for name in entry.__slots__}, "not_after": effects.now() - DAY}
        )
        assert await scene.look() == []
        workshop.links.refused("expired", "203.0.113.9:4000", None, None)
        assert await scene.look(0.0) == []
        assert await scene.look() == [VM]
        await scene.recovered()

    scenario(tmp_path, story)


def test_a_guest_that_was_put_back_by_years_is_known_by_where_it_comes_from(tmp_path: Path) -> None:
    """Its certificate is so old that TLS itself refuses it; the VM's own is good, and the VM has no link."""

    async def story(scene: Scene) -> None:
        workshop = scene.workshop
        await scene.agents.install(VM, "web1")
        peer = workshop.links.view(VM).row.peer
        assert peer is not None
        workshop.links.refused("expired", peer, None, None)
        assert await scene.look() == [], "it is linked: that was another one"
        await scene.agents.disconnect(VM)
        workshop.links.strangers.clear()
        workshop.links.refused("expired", "203.0.113.9:4000", None, None)
        await scene.look(0.0)
        assert await scene.look() == [], "somebody from elsewhere is none of ours"
        workshop.links.refused("expired", f"{peer.rpartition(':')[0]}:4001", None, None)
        await scene.look(0.0)
        assert await scene.look() == [VM]
        await scene.recovered()

    scenario(tmp_path, story)


def unlogged(scene: Scene, generation: int, vm_uuid: str = VM) -> bytes:
    """A certificate of the real CA that this database does not know: of a later day, or a thief's."""
    request = VmCertificateRequest(vm_uuid, str(uuid.uuid4()), generation, "link", validity=DAY)
    pem = issue_vm_certificate(scene.workshop.store.ledger.authority, request, now=effects.now()).client_pem
    assert pem is not None
    return pem


def test_a_service_from_an_older_backup_learns_how_far_its_agents_have_gone(tmp_path: Path) -> None:
    """What the agent holds is refused (T21); the identity that it is given is newer than its own, or it took none."""

    async def story(scene: Scene) -> None:
        workshop = scene.workshop
        await scene.agents.install(VM, "web1")
        await scene.agents.disconnect(VM)
        scene.agents.identity(VM).write_bytes(unlogged(scene, 41))
        workshop.links.claimed(VM, 41, "203.0.113.9:4000")  # as the gateway does, before it refuses
        assert (await scene.knock()).reason == "unknown_serial"
        record = await workshop.operations.vm(VM)
        assert record["link"]["last_refusal"]["reason"] == "unknown_serial" and not record["communication_link_active"]
        await scene.look(0.0)
        assert await scene.look() == [VM]
        await scene.recovered()
        session = workshop.gateway.session(VM)
        assert session is not None and session.generation > 41
        workshop.links.claimed(VM, 12, "203.0.113.9:4000")
        assert workshop.store.registry.reserve_generation(VM) > session.generation, "it never goes back"

    scenario(tmp_path, story)


@pytest.mark.parametrize("generation", [2_000_000, 10**17])
def test_who_has_the_cas_key_cannot_use_the_generations_up(tmp_path: Path, generation: int) -> None:
    """T21."""

    async def story(scene: Scene) -> None:
        await scene.agents.install(VM, "web1")
        scene.workshop.links.claimed(VM, generation, "203.0.113.9:4000")
        scene.workshop.links.claimed(str(uuid.uuid4()), 5, "203.0.113.9:4000")
        assert scene.workshop.store.registry.reserve_generation(VM) < 10

    scenario(tmp_path, story)


def test_two_machines_with_one_identity_are_settled_by_a_new_one_for_the_vm_itself(tmp_path: Path) -> None:
    """T1, F16: the disc reaches the VM and nobody else; the copy has the old serial, which is retired then."""

    async def story(scene: Scene) -> None:
        workshop = scene.workshop
        older = await scene.agents.install(VM, "web1")
        old = scene.agents.identity(VM).read_bytes()
        newer = SessionInfo(**{**{n: getattr(older, n) for n in older.__slots__}, "peer": "203.0.113.9:1"})
        await scene.agents.disconnect(VM)  # as the gateway does: neither is the VM now
        workshop.links.used_twice(older, newer)
        await scene.look(0.0)
        assert await scene.look() == [VM]
        await scene.recovered()
        assert (await workshop.gateway.connect(old)) == Refused("retired", VM)

    scenario(tmp_path, story)
