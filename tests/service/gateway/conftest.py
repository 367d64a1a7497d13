# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA, a gateway on a loopback port, and clients that reach it over real TLS."""

import asyncio
import dataclasses
import datetime
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from prometheus_client import CollectorRegistry
from tests.fakes.agent_client import AgentClient, client_context
from tests.fakes.events import RecordingEvents
from tests.fakes.ledger import FakeLedger
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt import effects
from openngt.pki.authority import Authority, create_authority
from openngt.pki.issue import VmCertificateRequest, issue_service_certificate, issue_vm_certificate
from openngt_service.gateway.limits import Limits
from openngt_service.gateway.metrics import GatewayMetrics
from openngt_service.gateway.server import Gateway, GatewaySettings
from openngt_service.gateway.tls import server_context

CLUSTER_UUID = "0005f3a1-7c2e-4d18-a6b0-5254009a1b2c"
SERVICE_NAME = f"guest-tools.{CLUSTER_UUID}"
# What a gateway grants its agents where the test is not about that: a busy machine may need it.
PATIENCE = dict.fromkeys(
    ("handshake_seconds", "first_frame_seconds", "frame_seconds", "heartbeat_seconds", "send_seconds"),
    float(PATIENCE_SECONDS),
)


@dataclasses.dataclass(frozen=True)
class Identity:
    vm_uuid: str
    ngt_uuid: str
    serial: int
    client_pem: Path


class Pki:
    """A CA on disk and what it issues."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority: Authority = create_authority(folder / "ca", common_name="Test CA", now=effects.now())
        self.ca_file = folder / "ca/ca.pem"
        self.gateway_pem = self.write("gateway.pem", self.service_certificate())

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        effects.write_private(str(path), content)
        return path

    def service_certificate(self) -> bytes:
        return issue_service_certificate(self.authority, dns_names=[SERVICE_NAME], now=effects.now()).client_pem

    def identity(self, vm_uuid: str | None = None, *, age: datetime.timedelta = datetime.timedelta(0)) -> Identity:
        """A certificate for a VM, signed `age` ago for one day."""
        request = VmCertificateRequest(
            vm_uuid or str(uuid.uuid4()), str(uuid.uuid4()), 1, "link", validity=datetime.timedelta(days=1)
        )
        issued = issue_vm_certificate(self.authority, request, now=effects.now() - age)
        path = self.write(f"{issued.serial}.pem", issued.client_pem)
        return Identity(request.vm_uuid, request.ngt_uuid, int(issued.serial, 16), path)

    def client(self, identity: Identity | None) -> ssl.SSLContext:
        return client_context(self.ca_file, None if identity is None else identity.client_pem)


class World:
    """A running gateway and everything around it that a test looks at."""

    def __init__(self, pki: Pki, limits: Limits) -> None:
        self.pki = pki
        self.ledger = FakeLedger()
        self.events = RecordingEvents()
        self.registry = CollectorRegistry()
        self.gateway = Gateway(
            GatewaySettings(CLUSTER_UUID, "0.1.0", host="127.0.0.1", port=0, limits=limits),
            server_context(pki.gateway_pem, pki.ca_file),
            self.ledger,
            self.events,
            GatewayMetrics(self.registry),
        )

    def enrol(self, vm_uuid: str | None = None, **row: Any) -> Identity:
        identity = self.pki.identity(vm_uuid)
        self.ledger.add(identity.serial, identity.vm_uuid, identity.ngt_uuid, **row)
        return identity

    async def connect(self, identity: Identity | None) -> AgentClient:
        return await AgentClient.connect(self.gateway.port, self.pki.client(identity), SERVICE_NAME)

    async def agent(self, identity: Identity | None = None, **hello: Any) -> AgentClient:
        """An established session."""
        client = await self.connect(identity or self.enrol())
        await client.start(**hello)
        return client

    def metric(self, name: str, **labels: str) -> float:
        value = self.registry.get_sample_value(f"openngt_gateway_{name}", labels)
        assert value is not None, f"no metric {name} {labels}"
        return value

    async def still_serves(self) -> None:
        """The oracle after each attack: a good agent connects, however long it needs, and gets an answer."""
        self.gateway.limits = dataclasses.replace(self.gateway.limits, **PATIENCE)
        agent = await self.agent()
        assert (await agent.ask("heartbeat", {"disc_mounted": False}))["result"] == {}
        agent.close()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                await asyncio.sleep(0.01)


StartWorld = Callable[..., AbstractAsyncContextManager[World]]
Scenario = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def world(pki: Pki) -> StartWorld:
    """`async with world(limit=…) as w`: a gateway that is stopped afterwards, with nothing left open.

    Its time limits are PATIENCE, so that no agent is cut that the machine has kept waiting; a test of a limit gives it.
    """

    @asynccontextmanager
    async def start(**limits: Any) -> AsyncIterator[World]:
        running = World(pki, Limits(**{**PATIENCE, "drain_seconds": 1.0, **limits}))
        await running.gateway.start()
        try:
            yield running
        finally:
            await running.gateway.stop()

    return start


@pytest.fixture(params=["uvloop", "asyncio"])
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Runs a scenario on each of the two loops."""

    def run(scenario: Scenario) -> None:
        async def limited() -> None:
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                await scenario()

        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(limited())

    return run
