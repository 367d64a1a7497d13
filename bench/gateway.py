# SPDX-License-Identifier: GPL-3.0-or-later
"""What an idle agent costs the gateway, beside what an idle client costs nats-server, in one run on one machine.

Server, nats-server and the load generator are processes of their own, so that each server's CPU and memory are read
from /proc and nothing else is in them. Both servers see the same certificates, TLS versions and beats.
"""

import asyncio
import json
import logging
import resource
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol, cast

import structlog
import uvloop
from prometheus_client import CollectorRegistry
from tests.fakes.ledger import FakeLedger

from bench._processes import cpu_seconds, resident_kib
from bench._rows import Row, row
from openngt import effects
from openngt.agent import strict_json
from openngt.pki.authority import create_authority
from openngt.pki.issue import VmCertificateRequest, issue_service_certificate, issue_vm_certificate
from openngt_service.garbage import settle
from openngt_service.gateway.limits import Limits
from openngt_service.gateway.metrics import GatewayMetrics
from openngt_service.gateway.server import Gateway, GatewaySettings
from openngt_service.gateway.tls import server_context
from openngt_service.ports import Refusal, SessionInfo

__all__ = ["rows"]

AGENTS = 2000
HEARTBEAT_SECONDS = 3
BEAT_ROUNDS = 3
AT_ONCE = 8
NAME = "guest-tools.bench"
PEER = "nats-server, the same mutual TLS"
PEER_RATIO = 1.5
TURNS = 3
GOALS: dict[str, tuple[str, str, float]] = {
    "memory": (f"memory of an idle agent, {AGENTS:,} connected", "KiB", 45.0),
    "connect": (f"CPU to connect an agent, {AGENTS:,} connected", "ms CPU", 1.2),
    "heartbeat": (f"CPU of a heartbeat, all of {AGENTS:,} agents at once", "µs CPU", 60.0),
    "lone heartbeat": (f"CPU of a heartbeat, {AGENTS:,} agents spread over {HEARTBEAT_SECONDS} s", "µs CPU", 60.0),
}
Start = Callable[[Path], AbstractContextManager[tuple[int, int]]]
HELLO = {"protocol": 1, "agent_version": "0.1.0", "boot_id": "bench", "status": {"guest_os_type": "linux"}}


def rows() -> list[Row]:
    """Memory, CPU to connect, and CPU of a heartbeat in two ways. A few minutes.

    A lone heartbeat finds the server asleep and its caches cold, as with 2,000 agents on an idle machine; of many at
    once, as with ten times the agents or after a stall, each costs its work alone.

    Ours and the peer are measured in turns, each time in new processes, and of each value the least counts: what else
    runs on the machine can only add to it.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    kinds = {"gateway": _start_gateway, "nats": _start_nats}
    if shutil.which("nats-server") is None:
        del kinds["nats"]
    with tempfile.TemporaryDirectory(prefix="openngt-bench-") as name:
        folder = Path(name)
        _make_certificates(folder)
        turns = [{kind: _measure(folder, kind, start) for kind, start in kinds.items()} for _ in range(TURNS)]
    least = {kind: {key: min(turn[kind][key] for turn in turns) for key in GOALS} for kind in kinds}
    return [_row(key, least["gateway"][key], least["nats"][key] if "nats" in least else None) for key in GOALS]


def _row(key: str, value: float, peer_value: float | None) -> Row:
    name, unit, most = GOALS[key]
    return row(
        f"gateway: {name}",
        value,
        unit,
        goal=f"at most {most:g} {unit}, {PEER_RATIO} x the peer's",
        met=value <= most and peer_value is not None and value <= PEER_RATIO * peer_value,
        peer=PEER if peer_value is not None else f"{PEER}: not installed",
        peer_value=peer_value,
    )


def _make_certificates(folder: Path) -> None:
    now = effects.now()
    authority = create_authority(folder / "ca", common_name="Bench CA", now=now)
    service = issue_service_certificate(authority, dns_names=[NAME], now=now)
    effects.write_private(str(folder / "gateway.pem"), service.client_pem)
    with (folder / "agents.jsonl").open("w") as agents:
        for number in range(AGENTS):
            request = VmCertificateRequest(str(uuid.uuid4()), str(uuid.uuid4()), 1, "link")
            issued = issue_vm_certificate(authority, request, now=now)
            path = folder / f"{number}.pem"
            path.write_bytes(issued.client_pem)
            agent = {"serial": issued.serial, "vm_uuid": request.vm_uuid, "ngt_uuid": request.ngt_uuid}
            agents.write(json.dumps(agent) + "\n")


def _measure(folder: Path, kind: str, start: Start) -> dict[str, float]:
    with start(folder) as (pid, port), _load(folder, kind, port) as say:
        say("warm up")
        time.sleep(1)
        memory, cpu = resident_kib(pid), cpu_seconds(pid)
        say("connect")
        connecting = cpu_seconds(pid) - cpu
        time.sleep(2)
        grown, cpu = resident_kib(pid) - memory, cpu_seconds(pid)
        say("beat at once")
        at_once, cpu = cpu_seconds(pid) - cpu, cpu_seconds(pid)
        say("beat alone")
        alone = cpu_seconds(pid) - cpu
    beats = AGENTS * BEAT_ROUNDS
    return {
        "memory": grown / AGENTS,
        "connect": connecting / AGENTS * 1e3,
        "heartbeat": at_once / beats * 1e6,
        "lone heartbeat": alone / beats * 1e6,
    }


@contextmanager
def _process(arguments: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(arguments, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def _start_gateway(folder: Path) -> Iterator[tuple[int, int]]:
    with _process([sys.executable, "-m", "bench.gateway", "serve", str(folder)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())


@contextmanager
def _start_nats(folder: Path) -> Iterator[tuple[int, int]]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    identity, authority = folder / "gateway.pem", folder / "ca/ca.pem"
    (folder / "nats.conf").write_text(
        f'listen: "127.0.0.1:{port}"\nping_interval: "10m"\n'
        f'tls {{ cert_file: "{identity}", key_file: "{identity}", ca_file: "{authority}", verify: true, timeout: 5 }}\n'
    )
    with _process(["nats-server", "-c", str(folder / "nats.conf")], stderr=subprocess.DEVNULL) as process:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        yield process.pid, port


class Say(Protocol):
    def __call__(self, command: str) -> None: ...


@contextmanager
def _load(folder: Path, kind: str, port: int) -> Iterator[Say]:
    arguments = [sys.executable, "-m", "bench.gateway", "agents", str(folder), kind, str(port)]
    with _process(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        commands, answers = process.stdin, process.stdout

        def say(command: str) -> None:
            commands.write(command + "\n")
            commands.flush()
            answer = answers.readline().strip()
            if answer != command:
                raise RuntimeError(f"the load generator died at: {command}")

        yield say


# In the gateway's process.


class Deaf:
    """GatewayEvents that keep nothing, so that what is measured is the gateway's own."""

    async def link_up(self, session: SessionInfo, status: dict[str, Any]) -> dict[str, Any]:
        return {"vss_snapshot": True, "self_service_restore": True}

    async def link_down(self, session: SessionInfo, reason: str) -> None: ...

    async def status(self, session: SessionInfo, status: dict[str, Any]) -> None: ...

    def heartbeat(self, session: SessionInfo, disc_mounted: bool | None) -> None: ...

    def clock(self, session: SessionInfo, offset_seconds: float) -> None: ...

    def used_twice(self, older: SessionInfo, newer: SessionInfo) -> None: ...

    def foreign(self, vm_uuid: str, certificate_vm_uuid: str, serial: int, peer: str) -> None: ...

    def claimed(self, vm_uuid: str, generation: int, peer: str) -> None: ...

    def refused(self, reason: Refusal, peer: str, vm_uuid: str | None, serial: int | None) -> None: ...


async def _serve(folder: Path) -> None:
    ledger = FakeLedger()
    for line in (folder / "agents.jsonl").read_text().splitlines():
        agent = json.loads(line)
        ledger.add(int(agent["serial"], 16), agent["vm_uuid"], agent["ngt_uuid"])
    # Agents beat when the load generator says so: between its phases they are idle for longer than is allowed.
    limits = Limits(heartbeat_seconds=60.0, accepts_per_second=1e6, accepts_burst=10**6)
    gateway = Gateway(
        GatewaySettings(str(uuid.uuid4()), "bench", host="127.0.0.1", port=0, limits=limits),
        server_context(folder / "gateway.pem", folder / "ca/ca.pem"),
        ledger,
        Deaf(),
        GatewayMetrics(CollectorRegistry()),
    )
    await gateway.start()
    settle()
    print(gateway.port, flush=True)
    await asyncio.Event().wait()


# In the load generator's process.


class Client:
    """One blocking TLS client; what it says is given by its subclass."""

    def __init__(self, folder: Path, number: int, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(folder / "ca/ca.pem")
        context.load_cert_chain(folder / f"{number}.pem")
        plain = socket.create_connection(("127.0.0.1", port), timeout=30)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.before_tls(plain)
        self.connection = context.wrap_socket(plain, server_hostname=NAME)
        self.after_tls()

    def before_tls(self, plain: socket.socket) -> None: ...

    def after_tls(self) -> None: ...

    def beat(self) -> None:
        self.send_beat()
        self.await_answer()

    def send_beat(self) -> None: ...

    def await_answer(self) -> None: ...


class Agent(Client):
    def after_tls(self) -> None:
        self.file = cast(IO[bytes], self.connection.makefile("rb", buffering=4096))
        self._read()
        self._ask(1, "hello", HELLO)
        self.await_answer()

    def send_beat(self) -> None:
        self._ask(2, "heartbeat", {"disc_mounted": False})

    def await_answer(self) -> None:
        assert b'"result"' in self._read()

    def _ask(self, request_id: int, method: str, params: dict[str, Any]) -> None:
        body = strict_json.dump({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
        self.connection.sendall(struct.pack(">I", len(body)) + body)

    def _read(self) -> bytes:
        (length,) = struct.unpack(">I", self.file.read(4))
        return self.file.read(int(length))


class NatsClient(Client):
    def before_tls(self, plain: socket.socket) -> None:
        while not plain.recv(4096).endswith(b"\r\n"):  # INFO
            pass

    def after_tls(self) -> None:
        self.connection.sendall(b'CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1"}\r\n')
        self.beat()

    def send_beat(self) -> None:
        self.connection.sendall(b"PING\r\n")

    def await_answer(self) -> None:
        """The server has a PING of its own for a young connection, which may come behind its PONG."""
        answer = b""
        while b"PONG\r\n" not in answer:
            answer += self.connection.recv(4096)


def _agents(folder: Path, kind: str, port: int) -> None:
    make = {"gateway": Agent, "nats": NatsClient}[kind]
    clients: list[Client] = []
    for line in sys.stdin:
        command = line.strip()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            if command == "warm up":
                for client in pool.map(lambda number: make(folder, number, port), range(64)):
                    client.connection.close()
            elif command == "connect":
                clients = list(pool.map(lambda number: make(folder, number, port), range(AGENTS)))
        if command == "beat at once":
            _beat_at_once(clients)
        elif command == "beat alone":
            _beat_at_the_real_pace(clients)
        print(command, flush=True)


def _beat_at_once(clients: list[Client]) -> None:
    for _ in range(BEAT_ROUNDS):
        for client in clients:
            client.send_beat()
        for client in clients:
            client.await_answer()


def _beat_at_the_real_pace(clients: list[Client]) -> None:
    """Spread over the interval as those of a fleet are."""
    start, count = time.monotonic(), 0
    for _ in range(BEAT_ROUNDS):
        for client in clients:
            due = start + count * HEARTBEAT_SECONDS / len(clients)
            time.sleep(max(0.0, due - time.monotonic()))
            client.beat()
            count += 1


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    role, folder = sys.argv[1], Path(sys.argv[2])
    if role == "serve":
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(folder))
    else:
        _agents(folder, sys.argv[3], int(sys.argv[4]))


if __name__ == "__main__":
    main()
