# SPDX-License-Identifier: GPL-3.0-or-later
"""Running agents without guests: each keeps its identity in a file, takes discs, asks for certificates, comes back.

What they may do is what the real agent does (tests/agent); their requests are real ones, signed with real keys.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from openngt.errors import OpenNGTError
from openngt_service.ports import Refused, SessionInfo

from .workshop import Workshop

__all__ = ["FakeAgents", "agents_of", "client_pem_on", "request_of"]

PEM = serialization.Encoding.PEM
PKCS8, CLEAR = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()


def client_pem_on(iso: Path) -> bytes:
    """`client.pem` as a guest reads it from its disc."""
    content = iso.read_bytes()
    begin, end = content.index(b"-----BEGIN PRIVATE KEY-----"), b"-----END CERTIFICATE-----\n"
    return content[begin : content.index(end, begin) + len(end)]


def request_of(key: ec.EllipticCurvePrivateKey, common_name: str = "nobody reads this") -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256()).public_bytes(PEM)


def failed(code: str, **details: Any) -> OpenNGTError:
    """As the gateway hands an agent's error answer on."""
    return OpenNGTError(code, f"the agent refused: {details or code}", details)


@dataclass
class FakeAgents:
    """`run` while the guests are on. The sets hold VMs by UUID."""

    workshop: Workshop
    too_old: set[str] = field(default_factory=set)
    """Do not know identity.request."""
    no_openssl: set[str] = field(default_factory=set)
    blocking: set[str] = field(default_factory=set)
    """Their guests' administrators have blocked identity.rotate."""
    deaf: set[str] = field(default_factory=set)
    """Do not look at discs."""
    silent: set[str] = field(default_factory=set)
    """Store what they are given, but the answer gets lost."""
    gone: set[str] = field(default_factory=set)
    """Never come back once they left."""
    busy_most: int = 0
    """How many were at work at the same time, at most."""
    requests: dict[str, object] = field(default_factory=dict)
    """What a hostile guest's agent says instead of its request."""
    pending: dict[str, bytes] = field(default_factory=dict)
    at_work: set[str] = field(default_factory=set)
    refused: list[Refused] = field(default_factory=list)
    coming: set["asyncio.Task[None]"] = field(default_factory=set)

    def identity(self, vm_uuid: str) -> Path:
        return self.workshop.settings.state_dir / f"agent-{vm_uuid}.pem"

    async def install(self, vm_uuid: str, name: str, drives: dict[str, str | None] | None = None) -> SessionInfo:
        """Enrol a VM and connect its agent with a long-lived identity."""
        if not self.workshop.hypervisor.path.exists() or vm_uuid not in self.workshop.hypervisor.path.read_text():
            self.workshop.hypervisor.add(vm_uuid, name, drives or {"cd0": None})
        await self.workshop.operations.enable(vm_uuid, {}, actor="test")
        [issued] = await self.workshop.operations.issue_batch([{"vm_uuid": vm_uuid}], actor="test")
        self.identity(vm_uuid).write_text(issued["private_key_pem"] + issued["certificate_pem"])
        session = await self.connect(vm_uuid)
        assert isinstance(session, SessionInfo)
        return session

    async def connect(self, vm_uuid: str) -> SessionInfo | Refused:
        answer = await self.workshop.gateway.connect(self.identity(vm_uuid).read_bytes())
        if isinstance(answer, Refused):
            self.refused.append(answer)
        return answer

    async def disconnect(self, vm_uuid: str) -> None:
        session = self.workshop.gateway.sessions.pop(vm_uuid)
        await self.workshop.links.link_down(session, "test")

    async def run(self) -> None:
        """Take discs as they come."""
        taken: dict[str, bytes] = {}
        while True:
            for medium in self.workshop.hypervisor.media():
                iso = Path(medium)
                if iso.parent != self.workshop.settings.iso_directory or iso.stem in self.deaf:
                    continue
                with contextlib.suppress(FileNotFoundError):  # ejected and deleted in this moment
                    client_pem = client_pem_on(iso)
                    if taken.get(iso.stem) != client_pem:
                        taken[iso.stem] = client_pem
                        await self._take(iso.stem, client_pem)
            await asyncio.sleep(0.005)

    async def _take(self, vm_uuid: str, client_pem: bytes) -> None:
        self.identity(vm_uuid).write_bytes(client_pem)
        await self.connect(vm_uuid)

    async def answer(self, vm_uuid: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "capabilities.set":
            return {}
        self.at_work.add(vm_uuid)
        self.busy_most = max(self.busy_most, len(self.at_work))
        await asyncio.sleep(0.01)
        if vm_uuid in self.blocking:
            raise failed("AGENT_FAILED", agent_code=-32000, agent_reason="METHOD_BLOCKED")
        if method == "identity.request":
            return self._request(vm_uuid)
        assert method == "identity.rotate", method
        key = self.pending.pop(vm_uuid, b"") if "certificate_pem" in params else b""
        self.identity(vm_uuid).write_bytes(key + params.get("certificate_pem", params.get("client_pem")).encode())
        self.coming.add(asyncio.ensure_future(self._come_back(vm_uuid)))
        if vm_uuid in self.silent:
            raise OpenNGTError("LINK_NOT_ACTIVE", "the link ended before the agent answered", {"outcome": "unknown"})
        return {"generation": params["generation"]}

    def _request(self, vm_uuid: str) -> dict[str, Any]:
        if vm_uuid in self.too_old:
            raise failed("AGENT_FAILED", agent_code=-32601)
        if vm_uuid in self.no_openssl:
            raise failed("AGENT_FAILED", agent_code=-32001, agent_reason="COMMAND_NOT_FOUND")
        if vm_uuid in self.requests:
            return {"csr_pem": self.requests[vm_uuid]}
        key = ec.generate_private_key(ec.SECP256R1())
        self.pending[vm_uuid] = key.private_bytes(PEM, PKCS8, CLEAR)
        return {"csr_pem": request_of(key).decode()}

    async def _come_back(self, vm_uuid: str) -> None:
        await asyncio.sleep(0.01)
        self.at_work.discard(vm_uuid)
        if vm_uuid not in self.gone:
            await self.connect(vm_uuid)


@contextlib.asynccontextmanager
async def agents_of(workshop: Workshop, agents: FakeAgents | None = None) -> AsyncIterator[FakeAgents]:
    agents = agents or FakeAgents(workshop)
    workshop.gateway.answers = agents.answer
    running = asyncio.ensure_future(agents.run())
    try:
        yield agents
    finally:
        for task in (running, *agents.coming):
            task.cancel()
        await asyncio.wait({running, *agents.coming})
        if not running.cancelled():
            running.result()
