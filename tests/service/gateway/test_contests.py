# SPDX-License-Identifier: GPL-3.0-or-later
"""One identity in two machines (T1, F16): which one is the VM is never guessed; until it is known nobody is asked."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agent_client import AgentClient
from tests.fakes.guest_port import GuestPort, SerialAgent

from openngt.errors import OpenNGTError
from openngt_service.gateway.serial_listener import PortAddress, SerialListener

from .conftest import SERVICE_NAME, Scenario, World

Play = Callable[[Scenario], None]
QUICK = {"heartbeat_seconds": 0.5}
NOTHING: dict[str, bool] = {}


async def waiting(w: World, identity: Any, boot_id: str) -> tuple[AgentClient, "asyncio.Task[dict[str, Any]]"]:
    """An agent that has said hello and was not answered."""
    client = await w.connect(identity)
    hello = asyncio.ensure_future(client.start(boot_id=boot_id))
    await w.until(lambda: w.gateway.session(identity.vm_uuid) is None)
    return client, hello


async def beat(client: AgentClient) -> None:
    assert (await client.ask("heartbeat", {"disc_mounted": False}))["result"] == {}


async def refuses_calls(w: World, vm_uuid: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        await w.gateway.call(vm_uuid, "guest.shutdown", {})
    assert (caught.value.code, caught.value.details["outcome"]) == ("LINK_NOT_ACTIVE", "not_sent")
    assert "two machines" in caught.value.message or "not connected" in caught.value.message


def test_two_machines_that_live_are_both_in_quarantine_and_stay_there(play: Play, world: Any) -> None:
    """T1 over TLS: heartbeats alone, no operation, nothing of either in the VM's record, whoever leaves."""

    async def scenario() -> None:
        async with world(**QUICK) as w:
            identity = w.enrol()
            older = await w.agent(identity)
            newer, hello = await waiting(w, identity, "boot-2")
            await refuses_calls(w, identity.vm_uuid)
            await beat(older)
            assert await hello == NOTHING, "answered, and given no capability"
            [(one, other)] = w.events.of("used_twice")
            assert (one.session, other.session) == (older.welcome["session"], newer.welcome["session"])
            assert [reason for _, reason in w.events.of("link_down")] == ["quarantined"]
            heard = len(w.events.of("heartbeat"))
            for client in (older, newer):
                client.send({"jsonrpc": "2.0", "method": "status", "params": {"status": {"hostname": "x"}}})
                await beat(client)
            assert w.events.of("status") == [] and len(w.events.of("heartbeat")) == heard
            await refuses_calls(w, identity.vm_uuid)
            older.close()
            await w.until(lambda: w.metric("connected") == 0)
            await beat(newer)
            await refuses_calls(w, identity.vm_uuid)
            again = await w.agent(identity, boot_id="boot-1")
            assert again.welcome and w.gateway.session(identity.vm_uuid) is None
            assert len(w.events.of("link_up")) == len(w.events.of("link_down")) == 1

    play(scenario)


def test_a_guest_that_was_reset_is_linked_once_its_old_session_is_found_dead(play: Play, world: Any) -> None:
    """The everyday case must not look like a clone: no alarm, no cut, one VM."""

    async def scenario() -> None:
        async with world(**QUICK) as w:
            identity = w.enrol()
            await w.agent(identity)
            newer, hello = await waiting(w, identity, "boot-2")
            assert await hello == w.events.capabilities
            await beat(newer)
            session = w.gateway.session(identity.vm_uuid)
            assert session is not None and session.session == newer.welcome["session"]
            assert w.events.of("used_twice") == [] and w.events.refusals() == []
            assert [reason for _, reason in w.events.of("link_down")] == ["heartbeat_timeout"]

    play(scenario)


def test_who_was_there_first_goes_on_when_the_other_leaves_before_anything_is_known(play: Play, world: Any) -> None:
    async def scenario() -> None:
        async with world(heartbeat_seconds=2) as w:
            identity = w.enrol()
            older = await w.agent(identity)
            newer, hello = await waiting(w, identity, "boot-2")
            newer.close()
            await w.until(lambda: w.gateway.session(identity.vm_uuid) is not None)
            await beat(older)
            assert w.events.of("used_twice") == [] and w.events.of("link_down") == []
            hello.cancel()

    play(scenario)


def test_an_identity_that_was_issued_since_settles_it(play: Play, world: Any) -> None:
    """T1: after the next renewal the old serial is worth nothing, and whoever still has it is cut."""

    async def scenario() -> None:
        async with world(**QUICK) as w:
            identity = w.enrol()
            parent = await w.agent(identity)
            copy, hello = await waiting(w, identity, "boot-2")
            await beat(parent)
            await hello
            renewed = w.enrol(identity.vm_uuid, generation=2, state="next")
            settled = await w.agent(renewed, boot_id="boot-1")
            assert await copy.closed() and await parent.closed()
            session = w.gateway.session(identity.vm_uuid)
            assert session is not None and session.session == settled.welcome["session"]
            assert w.events.refusals() == ["retired", "retired"]
            refused = await w.connect(identity)
            assert await refused.read() is None

    play(scenario)


def test_who_was_let_in_and_replaced_before_he_said_hello_is_not_greeted(play: Play, world: Any) -> None:
    """T1: a copy that waits with its hello must not push out the VM, which has come with its new identity."""

    async def scenario() -> None:
        async with world() as w:
            old = w.enrol()
            copy = await w.connect(old)
            assert (await copy.read() or {})["method"] == "welcome"
            renewed = w.enrol(old.vm_uuid, generation=2, state="next")
            agent = await w.agent(renewed)
            hello = {"protocol": 1, "agent_version": "0.1.0", "boot_id": "boot-2", "status": {}}
            copy.send({"jsonrpc": "2.0", "id": 1, "method": "hello", "params": hello})
            assert await copy.closed() and w.events.refusals() == ["retired"]
            session = w.gateway.session(old.vm_uuid)
            assert session is not None and session.session == agent.welcome["session"]

    play(scenario)


def test_copies_on_the_network_cannot_bring_the_vms_own_port_into_doubt(play: Play, world: Any, tmp_path: Path) -> None:
    """T1: they beat before they are answered, which an agent never does; one says to be of the same boot."""

    async def scenario() -> None:
        async with world(heartbeat_seconds=5) as w:
            identity = w.enrol()
            async with port_of(w, identity.vm_uuid, tmp_path) as port:
                parent = await SerialAgent.over(port, w.pki.client(identity), SERVICE_NAME)
                await parent.start()
                for number in range(2):
                    copy = await w.connect(identity)
                    await copy.read()
                    hello = {"protocol": 1, "agent_version": "0.1.0", "boot_id": f"boot-{number}", "status": {}}
                    copy.send({"jsonrpc": "2.0", "id": 1, "method": "hello", "params": hello})
                    for beats in range(2, 4):
                        copy.send({"jsonrpc": "2.0", "id": beats, "method": "heartbeat", "params": {}})
                    assert (await copy.read() or {})["id"] in (2, 3)
                session = w.gateway.session(identity.vm_uuid)
                assert session is not None and session.transport == "serial"
                assert w.events.of("used_twice") == [] and w.events.of("link_down") == []

    play(scenario)


@contextlib.asynccontextmanager
async def port_of(w: World, vm_uuid: str, folder: Path) -> Any:
    """The VM's own serial port, attached."""
    path = folder / "port"
    path.unlink(missing_ok=True)
    async with GuestPort(path) as port:

        async def wanted() -> list[PortAddress]:
            return [PortAddress(vm_uuid, "serial port 1", path)]

        listener = SerialListener(w.gateway, wanted)
        await listener.look()
        yield port
        await listener.stop()


@pytest.mark.parametrize("first", ["port", "network"])
def test_the_vms_own_port_says_who_it_is(play: Play, world: Any, tmp_path: Path, first: str) -> None:
    """T1 over serial: the copy on the network is cut with `identity_mismatch`, and never is the VM meanwhile."""

    async def scenario() -> None:
        async with world(**QUICK) as w:
            identity = w.enrol()
            async with port_of(w, identity.vm_uuid, tmp_path) as port:
                copy = None if first == "port" else await w.agent(identity, boot_id="boot-2")
                parent = await SerialAgent.over(port, w.pki.client(identity), SERVICE_NAME)
                await parent.start()
                if copy is not None:
                    assert await copy.closed()
                copy = await w.connect(identity)
                hello = asyncio.ensure_future(copy.start(boot_id="boot-2"))
                await asyncio.sleep(0.05)
                session = w.gateway.session(identity.vm_uuid)
                assert session is not None and session.transport == "serial"
                await beat(parent)
                with pytest.raises(AssertionError, match="closed instead of answering hello"):
                    await hello
                assert w.events.refusals() == ["identity_mismatch"] and len(w.events.of("used_twice")) == 1
                await beat(parent)

    play(scenario)


def test_a_certificate_that_the_ledger_does_not_know_is_refused_and_what_it_says_is_told(
    play: Play, world: Any, tmp_path: Path
) -> None:
    """T21: signed by the real CA, and yet refused. Learning the generation is all that comes of it."""

    async def scenario() -> None:
        async with world() as w:
            unlogged = w.pki.identity()
            refused = await w.connect(unlogged)
            assert await refused.read() is None
            assert w.events.refusals() == ["unknown_serial"] and w.events.of("link_up") == []
            [(vm_uuid, generation, _)] = w.events.of("claimed")
            assert (vm_uuid, generation) == (unlogged.vm_uuid, 1)
            other = w.enrol()
            async with port_of(w, other.vm_uuid, tmp_path) as port:
                agent = await SerialAgent.over(port, w.pki.client(unlogged), SERVICE_NAME)
                assert await agent.read() is None
                assert w.events.refusals() == ["unknown_serial", "identity_mismatch"]
                [(port_vm, certificate_vm, serial, peer)] = w.events.of("foreign")
                assert (port_vm, certificate_vm) == (other.vm_uuid, unlogged.vm_uuid)
                assert (serial, peer) == (unlogged.serial, "serial port 1")

    play(scenario)


def test_a_hundred_copies_get_no_operation_and_cost_no_more_than_three_connections(play: Play, world: Any) -> None:
    """F16: whoever of them comes and goes; a new identity ends it for all of them."""

    async def scenario() -> None:
        async with world(heartbeat_seconds=5) as w:
            identity = w.enrol()
            first = await w.agent(identity)
            machines = [Machine(w, identity, f"boot of copy {number}") for number in range(100)]
            for number, machine in enumerate(machines):
                await machine.come(None)
                first.send({"jsonrpc": "2.0", "id": 1000 + number, "method": "heartbeat", "params": {}})
                if number == 50:
                    await w.until(lambda: w.events.of("used_twice"))
                if number % 10 == 9:
                    with contextlib.suppress(OpenNGTError):
                        await w.gateway.call(identity.vm_uuid, "guest.reboot", {}, timeout=0.05)
            assert len(w.gateway._by_vm[identity.vm_uuid]) <= 3
            assert sum(machine.asked for machine in machines) == 0
            agent = await w.agent(w.enrol(identity.vm_uuid, generation=2, state="next"))
            session = w.gateway.session(identity.vm_uuid)
            assert session is not None and session.session == agent.welcome["session"]
            await w.until(lambda: all(machine.reader is not None and machine.reader.done() for machine in machines))

    play(scenario)


class Machine:
    """A parent or its copy: connects and leaves at random, beats, and counts what it is asked."""

    def __init__(self, w: World, identity: Any, boot_id: str) -> None:
        self.w, self.identity, self.boot_id = w, identity, boot_id
        self.client: AgentClient | None = None
        self.reader: asyncio.Task[None] | None = None
        self.asked = 0
        self.number = 100

    async def come(self, port: GuestPort | None) -> None:
        context = self.w.pki.client(self.identity)
        if port is None:
            self.client = await AgentClient.connect(self.w.gateway.port, context, SERVICE_NAME)
        else:
            self.client = await SerialAgent.over(port, context, SERVICE_NAME)
        self.reader = asyncio.create_task(self._read(self.client))

    async def _read(self, client: AgentClient) -> None:
        while (message := await client.read()) is not None:
            if message.get("method") == "welcome":
                hello = {"protocol": 1, "agent_version": "0.1.0", "boot_id": self.boot_id, "status": {}}
                client.send({"jsonrpc": "2.0", "id": 1, "method": "hello", "params": hello})
            elif "method" in message and "id" in message:
                self.asked += 1
                client.send({"jsonrpc": "2.0", "id": message["id"], "result": {}})

    def beat(self) -> None:
        if self.client is not None and self.reader is not None and not self.reader.done():
            self.number += 1
            beat = {"jsonrpc": "2.0", "id": self.number, "method": "heartbeat", "params": {}}
            with contextlib.suppress(ConnectionError, RuntimeError):
                self.client.send(beat)

    async def leave(self) -> None:
        if self.reader is not None:
            self.reader.cancel()
            await asyncio.wait([self.reader])
        if isinstance(self.client, SerialAgent):
            await self.client.killed()
        elif self.client is not None:
            self.client.close()
        self.client = self.reader = None


def both_are_known(w: World, vm_uuid: str, way: str) -> bool:
    """The parent has said hello over its port; or both have, and nobody knows who is who."""
    session = w.gateway.session(vm_uuid)
    if way == "serial":
        return session is not None and session.transport == "serial"
    return session is None and len(w.gateway._by_vm.get(vm_uuid, ())) == 2 and w.gateway._contests.hides(vm_uuid, None)


ORDERS = ("parent first", "copy first", "both at once")


async def interleaving(w: World, folder: Path, chance: random.Random, way: str) -> tuple[int, int]:
    """One life of a parent and its copy; how often the parent was asked, and how often the copy was while both ran."""
    identity = w.enrol()
    parent, copy = Machine(w, identity, "boot-of-parent"), Machine(w, identity, "boot-of-copy")
    place: Any = port_of(w, identity.vm_uuid, folder) if way == "serial" else contextlib.nullcontext(None)
    async with place as port:
        comers = [(parent, port), (copy, None)]
        order = chance.choice(ORDERS)
        if order == "copy first":
            comers.reverse()
        if order == "both at once":
            await asyncio.gather(*(machine.come(where) for machine, where in comers))
        else:
            for machine, where in comers:
                await machine.come(where)
                await asyncio.sleep(chance.choice((0, 0.001, 0.004)))
        await w.until(lambda: both_are_known(w, identity.vm_uuid, way))
        before = copy.asked
        for _ in range(chance.randint(3, 8)):
            step = chance.choice(("ask", "ask", "parent beats", "copy beats", "copy again"))
            if step == "ask":
                with contextlib.suppress(OpenNGTError):
                    await w.gateway.call(identity.vm_uuid, "guest.reboot", {}, timeout=0.5)
            elif step == "copy again":
                await copy.leave()
                await copy.come(None)
                await asyncio.sleep(0.005)
            else:
                (parent if step == "parent beats" else copy).beat()
            await asyncio.sleep(chance.choice((0, 0.001)))
        misrouted = copy.asked - before
        await asyncio.gather(parent.leave(), copy.leave())
    w.gateway.cut(identity.vm_uuid, "the test is over")
    return parent.asked, misrouted


@pytest.mark.parametrize("many", [120, pytest.param(500, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("way", ["serial", "tls"])
def test_in_hundreds_of_interleavings_no_operation_reaches_the_copy(
    world: Any, tmp_path: Path, way: str, many: int
) -> None:
    """T1, M18: parent first, copy first, both at once; over the parent's port and over the network alone.

    The copies here are those that no agent of ours is: they hide that their firmware names another VM.
    """
    chance = random.Random(f"clones {way}")

    async def scenario() -> None:
        async with world(heartbeat_seconds=30, accepts_per_second=1e6, accepts_burst=1_000_000) as w:
            asked = 0
            for number in range(many):
                folder = tmp_path / str(number)
                folder.mkdir()
                routed, misrouted = await interleaving(w, folder, chance, way)
                assert misrouted == 0, f"interleaving {number} over {way}"
                asked += routed
            assert w.events.of("used_twice"), "copies were noticed"
            if way == "serial":
                assert asked > many * 3 / 5, "the VM itself went on doing its work"

    asyncio.run(scenario())
