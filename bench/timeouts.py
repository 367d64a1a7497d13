# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a dead link is believed in by either end, and what a port's silence and its return cost a guest.

Real agents, in a process of their own; each has a terminal for its COM2, joined to a Unix socket as by QEMU. The
gateway is in this process. What dies does so at a random moment between two heartbeats, for all within a few seconds;
once alone, and once while hundreds of other agents beat and others connect without a pause.
"""

import asyncio
import contextlib
import os
import pty
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import tty
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import uvloop
from prometheus_client import CollectorRegistry
from tests.fakes.agent_client import AgentClient, client_context
from tests.fakes.events import RecordingEvents
from tests.fakes.ledger import FakeLedger
from tests.fakes.relay import Relay

from bench._agents import CLUSTER_UUID, SERVICE_NAME, install
from bench._rows import Row, row
from openngt import effects
from openngt.pki.authority import Authority, create_authority
from openngt.pki.issue import VmCertificateRequest, issue_service_certificate, issue_vm_certificate
from openngt_service.gateway.limits import Limits
from openngt_service.gateway.metrics import GatewayMetrics
from openngt_service.gateway.serial_listener import PortAddress, SerialListener
from openngt_service.gateway.server import Gateway, GatewaySettings
from openngt_service.gateway.tls import server_context
from openngt_service.ports import SessionInfo

__all__ = ["rows"]

AGENTS = 120
BYSTANDERS = 300
CONNECTING = 2
PATIENCE_SECONDS = 120
WITHIN_SECONDS = 6.0
"""All links die, and all ports come back, at random within two heartbeats."""
GOALS = {
    "serial, agent": ("a silent port until the agent holds its link for dead", 10.0),
    "serial, service": ("a silent port until the service holds its link for dead", 10.0),
    "fall back": ("a silent port until the network carries the link", 10.0),
    "return": ("a port that answers again until it carries the link", 60.0),
    "tls, agent": ("packets vanish until the agent holds its link for dead", 10.0),
    "tls, service": ("packets vanish until the service holds its link for dead", 10.0),
}
Samples = dict[str, list[float]]


def rows() -> list[Row]:
    """p50 and p99 of each, alone and under load. Some four minutes."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    found = []
    for loaded in (False, True):
        with (
            tempfile.TemporaryDirectory(prefix="ngt-") as name,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            samples = runner.run(_measure(Path(name), loaded))
        found += [_row(what, percent, loaded, values) for what, values in samples.items() for percent in (50, 99)]
    return found


def _row(what: str, percent: int, loaded: bool, samples: list[float]) -> Row:
    text, most = GOALS[what]
    load = f", {BYSTANDERS} agents beating, {CONNECTING} loops connecting" if loaded else ""
    value = statistics.quantiles(samples, n=100, method="inclusive")[percent - 1]
    name = f"{text}, p{percent} of {len(samples)}{load}"
    return row(name, value, "s", goal=f"at most {most:g} s", met=value <= most)


class TimedEvents(RecordingEvents):
    """Also remembers when each link of a VM came up over which transport, and when it went."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: dict[str, list[tuple[str, str, float]]] = {}

    async def link_up(self, session: SessionInfo, status: dict[str, Any]) -> dict[str, Any]:
        self._note(session, "up")
        return self.capabilities

    async def link_down(self, session: SessionInfo, reason: str) -> None:
        self._note(session, "down")

    def heartbeat(self, session: SessionInfo, disc_mounted: bool | None) -> None: ...

    def _note(self, session: SessionInfo, what: str) -> None:
        self.moments.setdefault(session.vm_uuid, []).append((what, session.transport, time.monotonic()))

    def first(self, vm_uuid: str, what: str, transport: str, since: float) -> float | None:
        moments = self.moments.get(vm_uuid, ())
        return next((at for w, t, at in moments if (w, t) == (what, transport) and at >= since), None)


class Port:
    """A guest's COM2 as QEMU has it: a terminal for the guest, a Unix socket for the host, and bytes between them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.silent = False
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.device = os.ttyname(self._slave)
        self._writer: asyncio.StreamWriter | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._attached, self.path)
        asyncio.get_running_loop().add_reader(self._master, self._from_guest)

    def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        self._server.close()
        for each in (self._master, self._slave):
            os.close(each)

    def _from_guest(self) -> None:
        data = os.read(self._master, 65536)
        if self._writer is not None and not self.silent:
            self._writer.write(data)

    async def _attached(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        while data := await reader.read(4096):
            while data and not self.silent:
                try:
                    data = data[os.write(self._master, data) :]
                except BlockingIOError:
                    await asyncio.sleep(0.005)


@dataclass
class Fleet:
    """The gateway, its ledger, and all guests of one run."""

    folder: Path
    authority: Authority
    ledger: FakeLedger = field(default_factory=FakeLedger)
    events: TimedEvents = field(default_factory=TimedEvents)

    def __post_init__(self) -> None:
        now = effects.now()
        identity = self.folder / "gateway.pem"
        made = issue_service_certificate(self.authority, dns_names=[SERVICE_NAME], now=now)
        effects.write_private(str(identity), made.client_pem)
        self.gateway = Gateway(
            GatewaySettings(CLUSTER_UUID, "bench", host="127.0.0.1", port=0, limits=Limits(accepts_burst=10_000)),
            server_context(identity, self.folder / "ca/ca.pem"),
            self.ledger,
            self.events,
            GatewayMetrics(CollectorRegistry()),
        )

    def guest(self, port: int, device: str | None = None) -> tuple[str, Path]:
        folder = self.folder / f"guest-{uuid.uuid4().hex[:12]}"
        serial, vm_uuid, ngt_uuid = install(folder, self.authority, port, device=device)
        self.ledger.add(serial, vm_uuid, ngt_uuid)
        return vm_uuid, folder

    def simulated(self) -> Path:
        """The identity of an agent of the load."""
        request = VmCertificateRequest(str(uuid.uuid4()), str(uuid.uuid4()), 1, "link")
        issued = issue_vm_certificate(self.authority, request, now=effects.now())
        self.ledger.add(int(issued.serial, 16), request.vm_uuid, request.ngt_uuid)
        path = self.folder / f"load-{issued.serial}.pem"
        path.write_bytes(issued.client_pem)
        return path


class Agents:
    """The agents' process, and when each said what of its link."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.moments: dict[int, list[tuple[str, float]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            number, what, _, at = line.decode().split()
            self.moments.setdefault(int(number), []).append((what, float(at)))

    def first_down(self, number: int, since: float) -> float | None:
        return next((at for what, at in self.moments.get(number, ()) if what == "down" and at >= since), None)


@contextlib.asynccontextmanager
async def _agents(folders: list[Path]) -> AsyncIterator[Agents]:
    command = [sys.executable, "-m", "bench._agents", *map(str, folders)]
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    try:
        yield Agents(process)
    finally:
        process.kill()
        await process.wait()


async def _measure(folder: Path, loaded: bool) -> Samples:
    authority = create_authority(folder / "ca", common_name="Bench CA", now=effects.now())
    fleet = Fleet(folder, authority)
    await fleet.gateway.start()
    try:
        async with _load(fleet, loaded):
            return {**await _over_ports(fleet), **await _over_network(fleet)}
    finally:
        await fleet.gateway.stop()


async def _until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise RuntimeError(f"not within {PATIENCE_SECONDS} s: {what}") from None


async def _each(numbers: range, deed: Callable[[int], None]) -> list[float]:
    """Do it to each at a random moment; when that was."""
    moments = [0.0] * len(numbers)

    async def one(number: int) -> None:
        await asyncio.sleep(random.uniform(0.0, WITHIN_SECONDS))
        moments[number] = time.monotonic()
        deed(number)

    await asyncio.gather(*map(one, numbers))
    return moments


async def _over_ports(fleet: Fleet) -> Samples:
    ports = [Port(fleet.folder / f"{number}.sock") for number in range(AGENTS)]
    guests = [fleet.guest(fleet.gateway.port, port.device) for port in ports]
    addresses = [PortAddress(vm, "serial port 1", port.path) for (vm, _), port in zip(guests, ports, strict=True)]
    for port in ports:
        await port.start()

    async def wanted() -> list[PortAddress]:
        return addresses

    listener = SerialListener(fleet.gateway, wanted)
    await listener.look()
    events, vms, numbers = fleet.events, [vm for vm, _ in guests], range(AGENTS)
    async with _agents([folder for _, folder in guests]) as agents:
        await _until(lambda: all(events.first(vm, "up", "serial", 0.0) for vm in vms), "the links over ports")
        silenced = await _each(numbers, lambda number: setattr(ports[number], "silent", True))
        await _until(
            lambda: all(events.first(vms[n], "up", "tls", silenced[n]) for n in numbers), "the links over the network"
        )
        await _until(
            lambda: all(events.first(vms[n], "down", "serial", silenced[n]) for n in numbers), "the ends of links"
        )
        restored = await _each(numbers, lambda number: setattr(ports[number], "silent", False))
        await _until(lambda: all(events.first(vms[n], "up", "serial", restored[n]) for n in numbers), "the return")
        samples = {
            "serial, agent": [_passed(agents.first_down(n, silenced[n]), silenced[n]) for n in numbers],
            "serial, service": _since(events, vms, "down", "serial", silenced),
            "fall back": _since(events, vms, "up", "tls", silenced),
            "return": _since(events, vms, "up", "serial", restored),
        }
    await listener.stop()
    for port in ports:
        port.stop()
    return samples


async def _over_network(fleet: Fleet) -> Samples:
    relays = [Relay(fleet.gateway.port) for _ in range(AGENTS)]
    guests = [fleet.guest(relay.port) for relay in relays]
    events, vms, numbers = fleet.events, [vm for vm, _ in guests], range(AGENTS)
    with contextlib.ExitStack() as stack:
        for relay in relays:
            stack.enter_context(relay)
        async with _agents([folder for _, folder in guests]) as agents:
            await _until(lambda: all(events.first(vm, "up", "tls", 0.0) for vm in vms), "the links")
            lost = await _each(numbers, lambda number: relays[number].lose())
            await _until(lambda: all(events.first(vms[n], "up", "tls", lost[n]) for n in numbers), "the links again")
            return {
                "tls, agent": [_passed(agents.first_down(n, lost[n]), lost[n]) for n in numbers],
                "tls, service": _since(events, vms, "down", "tls", lost),
            }


def _passed(at: float | None, since: float) -> float:
    if at is None:
        raise RuntimeError("a link was never given up")
    return at - since


def _since(events: TimedEvents, vms: list[str], what: str, transport: str, since: list[float]) -> list[float]:
    return [_passed(events.first(vm, what, transport, at), at) for vm, at in zip(vms, since, strict=True)]


# The load, in a process of its own.


@contextlib.asynccontextmanager
async def _load(fleet: Fleet, wanted: bool) -> AsyncIterator[None]:
    if not wanted:
        yield
        return
    for _ in range(BYSTANDERS):
        fleet.simulated()
    arguments = ["load", str(fleet.folder), str(fleet.gateway.port)]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.timeouts", *arguments)
    try:
        await _until(lambda: len(fleet.events.moments) >= BYSTANDERS, "the load")
        yield
        if process.returncode is not None:
            raise RuntimeError("the load has died")
    finally:
        process.kill()
        await process.wait()


async def _be_load(folder: Path, port: int) -> None:
    contexts = [client_context(folder / "ca/ca.pem", path) for path in sorted(folder.glob("load-*.pem"))]
    agents = []
    for context in contexts:
        agent = await AgentClient.connect(port, context, SERVICE_NAME)
        await agent.start()
        agents.append(agent)

    async def connect() -> None:
        while True:
            for context in contexts:
                agent = await AgentClient.connect(port, context, SERVICE_NAME)
                await agent.read()
                agent.close()

    connecting = [asyncio.create_task(connect()) for _ in range(CONNECTING)]
    while not any(task.done() for task in connecting):
        for agent in agents:
            agent.send({"jsonrpc": "2.0", "id": 9, "method": "heartbeat", "params": {"disc_mounted": False}})
        await asyncio.sleep(1.0)
    raise RuntimeError("a loop that connects has ended")


def main() -> None:
    _, folder, port = sys.argv[1:]
    asyncio.run(_be_load(Path(folder), int(port)))


if __name__ == "__main__":
    main()
