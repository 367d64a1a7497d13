# SPDX-License-Identifier: GPL-3.0-or-later
"""Many agents, and among them what is hostile or broken: a flooded port (T8), slow sockets (T10), an agent that
restarts without end (F22). What is counted here is measured in bench/crowd.py.
"""

import asyncio
import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.fakes.agent_client import AgentClient
from tests.fakes.guest_port import DATA, HELLO, GuestPort, SerialAgent, frame_of
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt_service.gateway import serial_listener
from openngt_service.gateway.limits import Limits
from openngt_service.gateway.serial_listener import PortAddress, SerialListener
from openngt_service.gateway.serial_port import BURST_BYTES, BYTES_PER_SECOND

from .conftest import SERVICE_NAME, Identity, World
from .test_hostile import client_hello

PORTS = 100
BEATS = 20
AGENTS = 40
SLOW = 600
RESTARTS = 100


def run(scenario: Callable[[], Coroutine[Any, Any, None]], seconds: float = 90) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(), seconds))


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Short enough for the 107 bytes of a Unix socket's path. None is let go of because a busy machine takes its time
    to attach a hundred of them at once.
    """
    monkeypatch.setattr(serial_listener, "CONNECT_SECONDS", PATIENCE_SECONDS)
    folder = Path(tempfile.mkdtemp(prefix="ngt-"))
    yield folder
    shutil.rmtree(folder)


async def beat(agent: AgentClient, times: int = BEATS) -> None:
    for _ in range(times):
        assert (await agent.ask("heartbeat", {"disc_mounted": False}))["result"] == {}


FLOODS = {
    "noise": os.urandom(64 * 1024),
    "magic": b"\xffNGT" * (16 * 1024),
    "frames of no session": frame_of(DATA, b"nobody's", 0, b"x" * 4096) * 16,
    "calls": frame_of(HELLO, b"call" + bytes(4)) * 2000,
    "torn frames": frame_of(DATA, b"nobody's", 0, b"x" * 4096)[:-1] * 16,
}


@pytest.mark.slow
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_of_a_hundred_ports_one_is_flooded_at_line_rate_and_the_others_notice_nothing(
    world: Any, sockets: Path, flood: bytes
) -> None:
    """T8: what the flood gets read is its own port's share, so it fills its own socket and nothing of ours."""

    async def scenario() -> None:
        async with world() as w, contextlib.AsyncExitStack() as stack:
            hostile, *honest = [w.enrol() for _ in range(PORTS)]
            ports = {i: GuestPort(sockets / f"{number}.port") for number, i in enumerate([hostile, *honest])}
            addresses = [PortAddress(i.vm_uuid, "serial port", port.path) for i, port in ports.items()]
            for port in ports.values():
                await stack.enter_async_context(port)

            async def wanted() -> list[PortAddress]:
                return addresses

            listener = SerialListener(w.gateway, wanted)
            stack.push_async_callback(listener.stop)
            await listener.look()
            agents = await asyncio.gather(*(linked(w, ports[i], i) for i in honest))
            sent = 0

            async def flooding() -> None:
                nonlocal sent
                while True:
                    ports[hostile].write(flood)
                    await ports[hostile].drained()
                    sent += len(flood)

            begin = asyncio.get_running_loop().time()
            flooder = asyncio.create_task(flooding())
            await asyncio.gather(*(beat(agent) for agent in agents))
            passed = asyncio.get_running_loop().time() - begin
            flooder.cancel()
            in_sockets = 2 * 2**20  # what kernel and streams of both ends hold
            assert sent <= BURST_BYTES + BYTES_PER_SECOND * passed + in_sockets
            assert w.events.of("link_down") == []
            assert w.gateway.session(hostile.vm_uuid) is None
            for identity in honest:
                assert w.gateway.session(identity.vm_uuid) is not None

    run(scenario)


async def linked(w: World, port: GuestPort, identity: Identity) -> SerialAgent:
    agent = await SerialAgent.over(port, w.pki.client(identity), SERVICE_NAME)
    await agent.start()
    return agent


Slow = Callable[[World, bytes], Coroutine[Any, Any, asyncio.StreamWriter]]


async def says_nothing(w: World, hello: bytes) -> asyncio.StreamWriter:
    return (await asyncio.open_connection("127.0.0.1", w.gateway.port))[1]


async def begins_tls_and_waits(w: World, hello: bytes) -> asyncio.StreamWriter:
    writer = await says_nothing(w, hello)
    writer.write(hello[:100])
    return writer


async def drips(w: World, hello: bytes) -> asyncio.StreamWriter:
    writer = await says_nothing(w, hello)

    async def drip() -> None:
        for byte in hello:
            if writer.transport.is_closing():
                return
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)

    writer.dripping = asyncio.create_task(drip())  # type: ignore[attr-defined]  # lives as long as its connection
    return writer


@pytest.mark.slow
def test_hundreds_of_slow_sockets_end_by_their_limits_and_no_real_agent_with_them(world: Any) -> None:
    """T10: the oldest handshakes make room for the newest: what is open stays bounded, agents get in and stay."""

    async def scenario() -> None:
        async with world(handshake_seconds=1.5, accepts_per_second=10**6, accepts_burst=10**6) as w:
            most = w.gateway.limits.unauthenticated_per_address
            assert most == Limits().unauthenticated_per_address, "as it is shipped"
            before = [await w.agent() for _ in range(AGENTS)]
            hello = client_hello(w.pki)
            writers = []
            open_at_most = 0
            for number in range(SLOW):
                slow: Slow = (says_nothing, begins_tls_and_waits, drips)[number % 3]
                writers.append(await slow(w, hello))
                open_at_most = max(open_at_most, len(w.gateway._open))
                if number % 50 == 0:
                    await asyncio.gather(*(beat(agent, 1) for agent in before))
            assert open_at_most <= AGENTS + most + 1
            between = await w.agent()
            await w.until(lambda: len(w.events.refusals()) == SLOW)
            assert set(w.events.refusals()) == {"address_limit", "handshake_timeout"}
            await asyncio.gather(*(beat(agent) for agent in [*before, between]))
            assert w.events.of("link_down") == []
            assert len(w.gateway._open) == AGENTS + 1, "nothing of them is left"
            for writer in writers:
                writer.transport.abort()

    run(scenario)


def crashed(agent: AgentClient) -> None:
    agent.close()


def frozen(agent: AgentClient) -> None:
    """Nothing comes any more, and no end either."""
    agent.writer.transport.pause_reading()


@pytest.mark.slow
@pytest.mark.parametrize("ends", [crashed, frozen])
def test_an_agent_that_restarts_a_hundred_times_has_one_session_and_leaves_nothing(
    world: Any, ends: Callable[[AgentClient], None]
) -> None:
    """F22."""

    async def scenario() -> None:
        async with world() as w:
            identity = w.enrol()
            kept = []
            most = 0
            for number in range(RESTARTS):
                agent = await w.agent(identity, boot_id="one boot")
                kept.append(agent)
                most = max(most, len(w.gateway._by_vm[identity.vm_uuid]))
                assert len(w.gateway._live) == 1
                if number < RESTARTS - 1:
                    ends(agent)
            assert most <= w.gateway.limits.sessions_per_vm
            await beat(kept[-1])
            # Each session is told of once, and the last one's end never before its beginning.
            await w.until(lambda: len(w.events.of("link_down")) == RESTARTS - 1)
            ups = [info.session for info, _ in w.events.of("link_up")]
            downs = [info.session for info, _ in w.events.of("link_down")]
            assert len(set(ups)) == RESTARTS and sorted(downs) == sorted(ups[:-1])
            info = w.gateway.session(identity.vm_uuid)
            assert info is not None and info.session == ups[-1]
            assert w.metric("connected") == 1 and w.events.refusals() == []
            assert w.events.of("used_twice") == [], "one boot of one machine"
            await w.until(lambda: len(w.gateway._open) == 1)

    run(scenario)


def test_the_published_limits_bound_what_one_address_can_hold() -> None:
    """T10, F22: by the numbers that a gateway runs with when nobody sets any."""
    limits = dataclasses.asdict(Limits())
    assert limits["handshake_seconds"] <= 5 and limits["first_frame_seconds"] <= 5 and limits["frame_seconds"] <= 10
    assert limits["unauthenticated_per_address"] <= 256 and limits["sessions_per_vm"] <= 3
