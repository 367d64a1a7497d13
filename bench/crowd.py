# SPDX-License-Identifier: GPL-3.0-or-later
"""What agents feel of a crowd that is not honest: 5,000 slow sockets beside 1,000 of them, a flooded port beside 99.

The service is a process of its own, the slow sockets come from another. The time of a heartbeat is from its first byte
to the last of its answer, and what the measuring end takes is inside it.
"""

import asyncio
import contextlib
import logging
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.fakes.agent_client import AgentClient
from tests.fakes.guest_port import GuestPort, SerialAgent
from tests.fakes.service import ServiceProcess
from tests.fakes.swarm import Swarm

from bench._processes import resident_kib
from bench._rows import Row, row

__all__ = ["rows"]

AGENTS = 1000
SLOW = 5000
ADDRESSES = 25
"""One address may have 256 handshakes open: from fewer the slow sockets would cut one another."""
PORTS = 100
SECONDS = 20.0
BEAT_SECONDS = 3.0
AT_ONCE = 32
PATIENCE_SECONDS = 120.0


def rows() -> list[Row]:
    """Some three minutes."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    found: list[Row] = []
    for measure in (_slow_sockets, _flooded_port):
        with tempfile.TemporaryDirectory(prefix="ngt-") as name:
            service = ServiceProcess(Path(name), {"log_level": "error"})
            service.start()
            try:
                found += measure(service, Path(name))
            finally:
                service.stop()
    return found


def p99(samples: Sequence[float]) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[98] * 1e3


class Beating:
    """Agents that live from when they join, each at its own moment of each interval."""

    def __init__(self) -> None:
        self._taken: list[tuple[float, float]] = []
        self._lives: list[asyncio.Task[None]] = []

    def join(self, agent: AgentClient) -> None:
        self._lives.append(asyncio.create_task(self._live(agent)))

    async def for_a_while(self) -> list[float]:
        """How long each heartbeat took of those that began meanwhile."""
        begin = time.monotonic()
        await asyncio.sleep(SECONDS)
        return [taken for at, taken in self._taken if at >= begin]

    def stop(self) -> int:
        """How many had been disconnected."""
        dead = sum(life.done() for life in self._lives)
        for life in self._lives:
            life.cancel()
        return dead

    async def _live(self, agent: AgentClient) -> None:
        await asyncio.sleep(random.uniform(0.0, BEAT_SECONDS))
        while True:
            begin = time.monotonic()
            assert (await agent.ask("heartbeat", {"disc_mounted": False}))["result"] == {}
            self._taken.append((begin, time.monotonic() - begin))
            await asyncio.sleep(BEAT_SECONDS)


def pid_of(service: ServiceProcess) -> int:
    assert service.process is not None, "it is running"
    return service.process.pid


# Slow sockets.


def _slow_sockets(service: ServiceProcess, folder: Path) -> list[Row]:
    swarm = Swarm(service, folder)
    vms = swarm.enrol(AGENTS)
    return asyncio.run(_beside_slow_sockets(service, swarm, vms))


async def _beside_slow_sockets(service: ServiceProcess, swarm: Swarm, vms: list[str]) -> list[Row]:
    slots, beating = asyncio.Semaphore(AT_ONCE), Beating()

    async def connect(vm: str) -> None:
        async with slots:
            agent = await AgentClient.connect(service.gateway_port, swarm.contexts[vm], swarm._name)
            await agent.start()
            beating.join(agent)

    await asyncio.gather(*map(connect, vms))
    alone, before = await beating.for_a_while(), resident_kib(pid_of(service))
    async with _slow(service.gateway_port) as opened:
        beside = await beating.for_a_while()
        grown = (resident_kib(pid_of(service)) - before) / SLOW
        held = sum(1 for _ in Path(f"/proc/{pid_of(service)}/fd").iterdir())
    lost = beating.stop()
    text = f"{AGENTS:,} agents beside {SLOW:,} slow sockets"
    most = AGENTS + SLOW + 200
    return [
        row(f"{text}: agents that were disconnected", lost, "agents", goal="0", met=lost == 0),
        row(
            f"{text}: heartbeat, p99",
            p99(beside),
            "ms",
            peer="the same agents alone",
            peer_value=p99(alone),
            goal="at most 2 x",
            met=p99(beside) <= 2 * p99(alone),
        ),
        row(f"{text}: memory for a slow socket", grown, "KiB", goal="at most 64 KiB", met=grown <= 64),
        row(
            f"{text}: file descriptors, {opened():,} sockets opened in {SECONDS:.0f} s",
            held,
            "descriptors",
            goal=f"at most {most:,}",
            met=held <= most,
        ),
    ]


@contextlib.asynccontextmanager
async def _slow(port: int) -> AsyncIterator["Opened"]:
    command = [sys.executable, "-m", "bench.crowd", str(port)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        opened = Opened(process)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while opened() < SLOW:
                await asyncio.sleep(0.1)
        yield opened
    finally:
        process.kill()
        await process.wait()


class Opened:
    """How many slow sockets there have been."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._count = 0
        self._reading = asyncio.create_task(self._read(process))

    def __call__(self) -> int:
        return self._count

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._count = int(line)


async def _be_slow(port: int) -> None:
    """So many at any time: who is cut comes again."""
    opened = 0

    async def drip(number: int) -> None:
        nonlocal opened
        await asyncio.sleep(number / 1000)
        while True:
            source = (f"127.0.0.{2 + number % ADDRESSES}", 0)
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
                opened += 1
                dripping = asyncio.create_task(_drip(writer))
                await reader.read()
                dripping.cancel()
                writer.transport.abort()
            await asyncio.sleep(random.uniform(0.0, 1.0))

    tasks = [asyncio.create_task(drip(number)) for number in range(SLOW)]
    while tasks:
        print(opened, flush=True)
        await asyncio.sleep(0.2)


async def _drip(writer: asyncio.StreamWriter) -> None:
    for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500):
        writer.write(bytes([byte]))
        await asyncio.sleep(1.0)


# A flooded port.


def _flooded_port(service: ServiceProcess, folder: Path) -> list[Row]:
    swarm = Swarm(service, folder)
    vms = swarm.enrol(PORTS)
    return asyncio.run(_beside_a_flood(service, swarm, vms))


async def _beside_a_flood(service: ServiceProcess, swarm: Swarm, vms: list[str]) -> list[Row]:
    async with contextlib.AsyncExitStack() as stack:
        folder = service.folder
        ports = [GuestPort(folder / f"{vm}.serial") for vm in vms]
        for port in ports:
            await stack.enter_async_context(port)
        hostile, *honest = ports
        beating = Beating()
        await asyncio.gather(*(_link(beating, port, swarm, vm) for port, vm in zip(honest, vms[1:], strict=True)))
        await hostile.attached.wait()
        alone, before = await beating.for_a_while(), resident_kib(pid_of(service))
        flood = asyncio.create_task(_flood(hostile))
        beside = await beating.for_a_while()
        grown = resident_kib(pid_of(service)) - before
        flood.cancel()
        lost = beating.stop()
    text = f"{PORTS - 1} agents on ports, one other port flooded"
    return [
        row(f"{text}: agents that were disconnected", lost, "agents", goal="0", met=lost == 0),
        row(
            f"{text}: heartbeat, p99",
            p99(beside),
            "ms",
            peer="the same agents without it",
            peer_value=p99(alone),
            goal="at most 1,000 ms",
            met=p99(beside) <= 1000,
        ),
        row(f"{text}: memory", grown / PORTS, "KiB a VM", goal="at most 1,024 KiB", met=grown / PORTS <= 1024),
    ]


async def _link(beating: Beating, port: GuestPort, swarm: Swarm, vm: str) -> None:
    agent = await SerialAgent.over(port, swarm.contexts[vm], swarm._name)
    await agent.start(boot_id=uuid.uuid4().hex)
    beating.join(agent)


async def _flood(port: GuestPort) -> None:
    noise = random.Random(1).randbytes(64 * 1024)
    while True:
        port.write(noise)
        await port.drained()


if __name__ == "__main__":
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # each byte for a socket that was cut is a warning
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(_be_slow(int(sys.argv[1])))
