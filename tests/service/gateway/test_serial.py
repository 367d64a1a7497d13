# SPDX-License-Identifier: GPL-3.0-or-later
"""Agents over their VMs' serial ports: real TLS, real Unix sockets, and all that a guest may write (T7, T8)."""

import asyncio
import random
import resource
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.guest_port import ACK, DATA, HELLO, NO_SESSION, RESET, GuestPort, SerialAgent, frame_of

from openngt.errors import OpenNGTError
from openngt_service.gateway.serial_listener import PortAddress, SerialListener

from .conftest import SERVICE_NAME, Identity, World

Play = Callable[[Callable[[], Any]], None]


@pytest.fixture
def sockets() -> Iterator[Path]:
    """Short enough for the 107 bytes of a Unix socket's path."""
    folder = Path(tempfile.mkdtemp(prefix="ngt-"))
    yield folder
    shutil.rmtree(folder)


@dataclass
class Ports:
    """The listener of a running gateway, and which ports it is to attach."""

    world: World
    folder: Path
    addresses: list[PortAddress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = SerialListener(self.world.gateway, self.wanted)

    async def wanted(self) -> Iterable[PortAddress]:
        return self.addresses

    def of(self, identity: Identity) -> GuestPort:
        """The port of that VM, known to the service from its next look on."""
        path = self.folder / f"{len(self.addresses)}.port"
        self.addresses.append(PortAddress(identity.vm_uuid, "serial port", path))
        return GuestPort(path)

    async def agent(self, port: GuestPort, identity: Identity | None) -> SerialAgent:
        return await SerialAgent.over(port, self.world.pki.client(identity), SERVICE_NAME)

    async def linked(self, port: GuestPort, identity: Identity) -> SerialAgent:
        agent = await self.agent(port, identity)
        await agent.start()
        return agent


@asynccontextmanager
async def ports_of(world: World, folder: Path) -> AsyncIterator[Ports]:
    ports = Ports(world, folder)
    try:
        yield ports
    finally:
        await ports.listener.stop()


Scenario = Callable[[World, Ports], Any]


@pytest.fixture
def serial(play: Play, world: Any, sockets: Path) -> Callable[[Scenario], None]:
    """Runs `scenario(world, ports)` with a gateway and a listener, on each loop."""

    def run(scenario: Scenario) -> None:
        async def with_ports() -> None:
            async with world() as w, ports_of(w, sockets) as ports:
                await scenario(w, ports)

        play(with_ports)

    return run


def test_an_agent_lives_on_its_port_as_on_the_network(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol(generation=7)
        async with ports.of(identity) as port:
            await ports.listener.look()
            agent = await ports.linked(port, identity)
            assert agent.welcome["generation"] == 7
            assert (await agent.ask("heartbeat", {"disc_mounted": True}))["result"] == {}
            [(info, status)] = w.events.of("link_up")
            assert (info.transport, info.peer, status) == ("serial", "serial port", {"hostname": "web01"})
            call = asyncio.create_task(w.gateway.call(identity.vm_uuid, "identity.rotate", {"generation": 8}))
            request = await agent.read()
            assert request is not None and request["params"] == {"generation": 8}
            agent.send({"jsonrpc": "2.0", "id": request["id"], "result": {"generation": 8}})
            assert await call == {"generation": 8}
            assert w.gateway.session(identity.vm_uuid) == info
            w.gateway.cut(identity.vm_uuid, "revoked")
            assert await agent.closed()

    serial(scenario)


def test_running_out_of_file_descriptors_does_not_end_the_listener(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        async with ports.of(identity) as port:
            ports.addresses, later = [], ports.addresses
            await ports.listener.look()  # whatever it needs beside the port's socket is there now
            ports.addresses = later
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
                await ports.listener.look()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert w.gateway.session(identity.vm_uuid) is None
            port.path.touch()  # as if the VM were started anew: it is tried at once
            await ports.listener.look()
            await ports.linked(port, identity)

    serial(scenario)


def test_a_next_serial_is_promoted_over_a_port_too(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol(state="next")
        async with ports.of(identity) as port:
            await ports.listener.look()
            await ports.linked(port, identity)
            assert w.ledger.promoted == [identity.serial]

    serial(scenario)


def test_the_certificate_of_another_vm_is_refused_at_the_port_it_came_over(
    serial: Callable[[Scenario], None],
) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        owner, other = w.enrol(), w.enrol()
        async with ports.of(owner) as port:
            await ports.listener.look()
            agent = await ports.agent(port, other)
            assert await agent.read() is None
            assert w.events.of("refused") == [("identity_mismatch", "serial port", owner.vm_uuid, other.serial)]
            assert w.metric("refused_total", reason="identity_mismatch") == 1
            await ports.linked(port, owner)  # the port itself is none the worse
            assert w.gateway.session(other.vm_uuid) is None

    serial(scenario)


@pytest.mark.parametrize("state", ["retired", "revoked"])
def test_a_refusal_is_noted_at_the_vm_whose_port_it_is(serial: Callable[[Scenario], None], state: Any) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol(state=state)
        async with ports.of(identity) as port:
            await ports.listener.look()
            assert await (await ports.agent(port, identity)).read() is None
            assert w.events.of("refused") == [(state, "serial port", identity.vm_uuid, identity.serial)]

    serial(scenario)


def test_without_a_certificate_a_port_opens_nothing(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        async with ports.of(identity) as port:
            await ports.listener.look()
            assert await (await ports.agent(port, None)).read() is None
            await w.until(lambda: w.events.refusals() == ["no_certificate"])
            assert w.events.of("refused")[0][2] == identity.vm_uuid

    serial(scenario)


def test_the_port_wins_over_the_network_and_the_network_over_a_dead_port(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        over_network = await w.agent(identity)
        async with ports.of(identity) as port:
            await ports.listener.look()
            await ports.linked(port, identity)
            goodbye = await over_network.read()
            assert goodbye is not None and goodbye["params"] == {"reason": "superseded"}
            info = w.gateway.session(identity.vm_uuid)
            assert info is not None and info.transport == "serial"
        await w.until(lambda: w.gateway.session(identity.vm_uuid) is None)
        await w.agent(identity)
        info = w.gateway.session(identity.vm_uuid)
        assert info is not None and info.transport == "tls"

    serial(scenario)


def test_whoever_attaches_says_so(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        async with ports.of(w.enrol()) as port:
            await ports.listener.look()
            assert await port.frame() == (RESET, NO_SESSION, 0, b"")

    serial(scenario)


def test_a_second_hello_is_acknowledged_again_until_data_came_and_passed_over_then(
    serial: Callable[[Scenario], None],
) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        async with ports.of(identity) as port:
            await ports.listener.look()
            assert await port.call(b"same") == await port.call(b"same")
            agent = await ports.linked(port, identity)
            port.write(frame_of(HELLO, agent.session[:4] + bytes(4)))
            assert (await agent.ask("heartbeat", {"disc_mounted": True}))["result"] == {}

    serial(scenario)


def test_asking_whether_the_service_is_there_costs_it_no_handshake(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        async with ports.of(w.enrol()) as port:
            await ports.listener.look()
            for half in (b"one.", b"two."):
                await port.call(half)
            assert w.events.told == [] and w.metric("handshake_seconds_count") == 0

    serial(scenario)


def test_an_agent_that_was_killed_begins_anew_in_the_middle_of_a_frame(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        async with ports.of(identity) as port:
            await ports.listener.look()
            first = await ports.linked(port, identity)
            port.write(frame_of(DATA, first.session, 99, b"x" * 4000)[:1000])
            await first.killed()
            second = await ports.linked(port, identity)
            assert (await second.ask("heartbeat", {"disc_mounted": True}))["result"] == {}
            await w.until(lambda: [reason for _, reason in w.events.of("link_down")] == ["connection_lost"])

    serial(scenario)


def test_garbage_and_stale_frames_between_frames_change_nothing(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        async with ports.of(identity) as port:
            await ports.listener.look()
            agent = await ports.linked(port, identity)
            port.write(random.Random(5).randbytes(3000))
            port.write(frame_of(ACK, agent.session) + frame_of(RESET, b"earlier."))
            port.write(frame_of(DATA, b"earlier.", 3, b"of an earlier session"))
            assert (await agent.ask("heartbeat", {"disc_mounted": True}))["result"] == {}
            assert w.metric("serial_skipped_bytes_total") == 3000

    serial(scenario)


def test_data_of_an_unknown_session_is_answered_with_its_end(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        async with ports.of(w.enrol()) as port:
            await ports.listener.look()
            await port.frame()
            port.write(frame_of(DATA, b"forgotten"[:8], 3, b"?"))
            assert await port.frame() == (RESET, b"forgotte", 0, b"")

    serial(scenario)


def test_a_missing_frame_ends_the_session(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        async with ports.of(identity) as port:
            await ports.listener.look()
            agent = await ports.linked(port, identity)
            port.write(frame_of(DATA, agent.session, 77, b"too far"))
            assert await agent.closed()
            await ports.linked(port, identity)

    serial(scenario)


def test_a_message_too_large_for_a_port_goes_neither_way(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        async with ports.of(identity) as port:
            await ports.listener.look()
            agent = await ports.linked(port, identity)
            with pytest.raises(OpenNGTError) as caught:
                await w.gateway.call(identity.vm_uuid, "capabilities.set", {"x": "y" * 66_000})
            assert caught.value.code == "INVALID_INPUT"
            assert (await agent.ask("heartbeat", {"disc_mounted": True}))["result"] == {}
            agent.send({"jsonrpc": "2.0", "method": "status", "params": {"status": {"x": "y" * 66_000}}})
            assert await agent.closed()
            assert w.events.refusals() == ["bad_frame"]

    serial(scenario)


def test_a_flood_is_read_no_faster_than_its_share_and_others_are_served(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        hostile, honest = w.enrol(), w.enrol()
        async with ports.of(hostile) as flooded, ports.of(honest) as port:
            await ports.listener.look()
            agent = await ports.linked(port, honest)
            await flooded.attached.wait()
            flooded.write((b"\xffNGT" * 4096) * 256)  # 4 MiB, each four bytes of which look like a frame
            for _ in range(10):
                assert (await agent.ask("heartbeat", {"disc_mounted": True}))["result"] == {}
            assert 0 < w.metric("serial_skipped_bytes_total") < 1024 * 1024

    serial(scenario)


def test_a_guest_that_calls_without_end_and_reads_nothing_fills_no_memory(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        async with ports.of(identity) as port:
            await ports.listener.look()
            await port.attached.wait()
            for number in range(500):
                port.write(frame_of(HELLO, number.to_bytes(4, "big") + bytes(4)))
            kind, *_ = await port.frame()
            answers = int(kind == ACK)
            while True:
                try:
                    async with asyncio.timeout(0.3):
                        kind, *_ = await port.frame()
                except TimeoutError:
                    break
                answers += kind == ACK
            assert 1 <= answers <= 15
            await w.still_serves()

    serial(scenario)


def test_a_vm_that_is_off_is_attached_when_it_comes_on(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        first = ports.of(identity)
        await ports.listener.look()  # off: no file
        async with first as port:
            await ports.listener.look()
            await ports.linked(port, identity)
        await w.until(lambda: w.metric("serial_ports") == 0)
        await ports.listener.look()  # off: a file, and nobody there
        assert w.metric("serial_ports") == 0
        first.path.unlink()
        async with GuestPort(first.path) as port:
            await ports.listener.look()
            await ports.linked(port, identity)

    serial(scenario)


def test_a_vm_that_is_not_enrolled_any_more_loses_its_port(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        async with ports.of(identity) as port:
            await ports.listener.look()
            agent = await ports.linked(port, identity)
            ports.addresses.clear()
            await ports.listener.look()
            assert await agent.closed()
            assert w.metric("serial_ports") == 0

    serial(scenario)


def test_when_the_service_stops_agents_on_ports_are_told(serial: Callable[[Scenario], None]) -> None:
    async def scenario(w: World, ports: Ports) -> None:
        identity = w.enrol()
        async with ports.of(identity) as port:
            await ports.listener.look()
            agent = await ports.linked(port, identity)
            await w.gateway.stop()
            goodbye = await agent.read()
            assert goodbye is not None and goodbye["params"] == {"reason": "stopping"}
            assert await agent.closed()
            port.write(frame_of(HELLO, b"next" + bytes(4)))
            await asyncio.sleep(0.1)
            assert w.events.refusals() == [] and w.gateway.session(identity.vm_uuid) is None

    serial(scenario)


def test_a_silent_agent_is_dead_after_two_heartbeats(play: Play, world: Any, sockets: Path) -> None:
    async def scenario() -> None:
        async with world(heartbeat_seconds=0.2) as w, ports_of(w, sockets) as ports:
            identity = w.enrol()
            async with ports.of(identity) as port:
                await ports.listener.look()
                agent = await ports.linked(port, identity)
                assert await agent.closed()
                assert w.metric("heartbeat_timeouts_total") == 1

    play(scenario)
