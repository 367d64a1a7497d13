# SPDX-License-Identifier: GPL-3.0-or-later
"""Power, mount, refresh and deletion of a VM at once, in an order and at a pace that are drawn at random.

Many VMs are at it in one service, each in rounds of its own. After a round everything of its VM must be in order.
"""

import asyncio
import contextlib
import random
import tempfile
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from openngt import effects
from openngt.errors import OpenNGTError
from openngt_service.ports import Refused, SessionInfo
from openngt_service.tasks import enrol, power
from openngt_service.tasks.power_plan import FALLBACKS, VERBS, WAYS
from openngt_service.tasks.refresh_plan import Ask

from .agents import FakeAgents, agents_of
from .workshop import Workshop, open_workshop

__all__ = ["LEGAL", "interleave"]

LEGAL = frozenset(
    {
        "done", "VM_BUSY", "VM_POWERED_OFF", "NOT_ENROLLED", "LINK_NOT_ACTIVE", "ACPI_IGNORED", "NO_EMPTY_DRIVE",
        "GUEST_NOT_BACK", "GUEST_STILL_RUNS", "AGENT_TIMED_OUT", "AGENT_NOT_INSTALLED", "AUTHENTICATION_FAILED",
    }
)  # fmt: skip
"""How a deed may end beside another. AUTHENTICATION_FAILED: an agent's certificate was revoked as it was shown."""
Json = dict[str, Any]
AT_ONCE = 4
PACE_SECONDS = 0.02
WAIT_SECONDS = 0.05
TURN_SECONDS = 120.0


@contextlib.contextmanager
def _hurried() -> Iterator[None]:
    before = power.POLL_SECONDS, enrol.OTHERS_SECONDS
    power.POLL_SECONDS, enrol.OTHERS_SECONDS = 0.005, 0.05
    try:
        yield
    finally:
        power.POLL_SECONDS, enrol.OTHERS_SECONDS = before


async def interleave(rounds: int, *, vms: int, seed: int) -> Counter[str]:
    """So many rounds in all; how often each deed ended how. AssertionError when something is left out of order."""
    # Not a disk's pace but the order of events is looked for: in memory, where there is such a place.
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with _hurried(), tempfile.TemporaryDirectory(prefix="ngt-", dir=place) as folder:
        async with open_workshop(Path(folder) / "state") as workshop, agents_of(workshop) as agents:
            workshop.gateway.answers = _obeying(workshop, agents)
            players = [await _Player.of(workshop, agents, seed + number) for number in range(vms)]
            for start in range(0, rounds, vms):
                await asyncio.gather(*(player.round() for player in players[: rounds - start]))
            assert (await workshop.store.audit.verify()).problem is None
            return sum((player.ended for player in players), Counter())


def _obeying(workshop: Workshop, agents: FakeAgents) -> Callable[[str, str, Json], Awaitable[Json]]:
    async def answer(vm: str, method: str, params: Json) -> Json:
        if method == "guest.shutdown":
            workshop.hypervisor.set_power(vm, "off")
        elif method == "guest.reboot":
            await agents.connect(vm)
        elif method != "capabilities.set":
            return await agents.answer(vm, method, params)
        return {}

    return answer


class _Player:
    def __init__(self, workshop: Workshop, agents: FakeAgents, vm: str, choose: random.Random) -> None:
        self.ended: Counter[str] = Counter()
        self._workshop, self._agents, self._vm, self._choose = workshop, agents, vm, choose

    @classmethod
    async def of(cls, workshop: Workshop, agents: FakeAgents, seed: int) -> "_Player":
        choose = random.Random(seed)
        vm = str(uuid.UUID(int=choose.getrandbits(128), version=4))
        workshop.hypervisor.add(vm, f"vm-{vm}", {"cd0": None})
        return cls(workshop, agents, vm, choose)

    async def round(self) -> None:
        """One interleaving: what was left of the one before is its beginning."""
        await self._begin()
        deeds = [self._at_its_pace(deed) for deed in self._choose.sample(self._deeds(), AT_ONCE)]
        async with asyncio.timeout(TURN_SECONDS):
            self.ended.update(await asyncio.gather(*deeds))
        await self._in_order()

    async def _begin(self) -> None:
        """In half of the cases the VM is on, enrolled, and its agent linked; else as it was."""
        hypervisor = self._workshop.hypervisor
        hypervisor.guest(self._vm, ignores_acpi=self._choose.random() < 0.3)
        for habit in (self._agents.deaf, self._agents.silent, self._agents.gone):
            (habit.add if self._choose.random() < 0.1 else habit.discard)(self._vm)
        if self._choose.random() < 0.5:
            hypervisor.set_power(self._vm, "on")
            await self._agents.install(self._vm, f"vm-{self._vm}")

    def _deeds(self) -> list[Callable[[], Awaitable[Any]]]:
        operations, vm, choose = self._workshop.operations, self._vm, self._choose
        verb = choose.choice(VERBS)
        fallback = choose.choice([each for each in FALLBACKS if (verb, each) in WAYS or each == "none"])
        force, via = choose.random() < 0.3, choose.choice(["auto", "link", "iso"])
        asked = Ask(vm=(vm,), via=via, wait_seconds=WAIT_SECONDS)
        mounted = {"holder": choose.choice(["alice", "bob"]), "config_only": True, "actor": "test"}
        how = {"wait_seconds": WAIT_SECONDS, "actor": "test"}
        return [
            lambda: self._task(operations.power(vm, verb=verb, fallback=fallback, force=force, **how)),
            lambda: self._task(operations.power(vm, verb="on", **how)),
            lambda: self._task(operations.power(vm, verb="off", force=True, **how)),
            lambda: self._task(operations.mount(vm, **mounted)),
            lambda: self._task(operations.eject(vm, holder=mounted["holder"], force=force, actor="test")),
            lambda: self._task(operations.refresh(asked, actor="test")),
            lambda: operations.enable(vm, {}, actor="test"),
            lambda: operations.disable(vm, actor="test"),
            lambda: operations.issue_batch([{"vm_uuid": vm}], actor="test"),
            lambda: self._agents.connect(vm) if self._agents.identity(vm).exists() else asyncio.sleep(0),
        ]

    async def _at_its_pace(self, deed: Callable[[], Awaitable[Any]]) -> str:
        await asyncio.sleep(self._choose.uniform(0.0, PACE_SECONDS))
        try:
            await deed()
        except OpenNGTError as exc:
            return exc.code
        return "done"

    async def _task(self, asked: Awaitable[dict[str, Any]]) -> None:
        await self._workshop.result(await asked)

    async def _in_order(self) -> None:
        workshop, vm = self._workshop, self._vm
        engine, store = workshop.parts.engine, workshop.store
        while engine.busy(vm):  # what a deletion did not wait for
            await asyncio.sleep(0.005)
        assert vm not in engine._claims, "the VM is held by nobody"
        await workshop.background.reconciler._settle(vm)
        held, iso = store.mounts.get(vm), workshop.parts.media.path(vm)
        assert held is None or (held.phase == "mounted" and store.registry.get(vm) is not None), held
        assert iso.exists() == (held is not None), (iso, held)
        [seen] = await workshop.operations.hypervisor_vms(vm)
        in_drive = [drive["holds"] for drive in seen["cdrom_drives"] if drive["holds"]]
        assert in_drive == ([str(iso)] if held is not None else []), (in_drive, held)
        assert seen["power_state"] in ("on", "off")
        entries = store.ledger.entries_of(vm)
        live = Counter(entry.state for entry in entries)
        assert live["current"] <= 1 and live["next"] <= 1, live
        if store.registry.get(vm) is None:
            verdicts = [store.ledger.judge(int(entry.serial_hex, 16), effects.now()) for entry in entries]
            assert all(isinstance(verdict, Refused) for verdict in verdicts), verdicts
            assert not isinstance(workshop.gateway.session(vm), SessionInfo), "cut with its certificates"
