# SPDX-License-Identifier: GPL-3.0-or-later
"""Agents that hold CAs: each session begins with a real handshake, each disc is judged by the real agent's rules."""

import ssl
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import Any

from openngt import effects
from openngt.agent import identity, verify
from openngt.agent.errors import AgentError
from openngt.agent.tls import TlsClient, certificates_in, client_context, fingerprint
from openngt.pki.rollover import Succession
from openngt_service.gateway.tls import TlsChannel, server_context
from openngt_service.ports import Refused, SessionInfo
from openngt_service.service_certificates import renew_certificates
from openngt_service.tasks.ca_rollover import CaRollover

from .agents import FakeAgents
from .workshop import Workshop

__all__ = ["Doorway", "HoldingAgents", "holders"]


@dataclass
class Doorway:
    """The gateway's TLS, without its port."""

    workshop: Workshop

    def __post_init__(self) -> None:
        self.serve_with(self.workshop.store.ledger.succession)

    def serve_with(self, succession: Succession) -> None:
        settings, name = self.workshop.settings, self.workshop.store.identity.service_name
        renew_certificates(settings, succession, name, effects.now())
        self.context = server_context(settings.gateway_pem, settings.ca_directory / "ca.pem")

    def shake(self, client_pem: str, ca_pem: str) -> None:
        """ssl.SSLError when either end does not trust the other."""
        client = TlsClient(client_context(client_pem, ca_pem), self.workshop.store.identity.service_name)
        channel = TlsChannel(self.context)
        client.start()
        for _turn in range(8):
            done = channel.handshake(client.take())
            client.feed(channel.output())
            if done and client.established:
                return
        raise AssertionError("the handshake does not come to an end")


@dataclass
class HoldingAgents(FakeAgents):
    cas: dict[str, str] = field(default_factory=dict)
    """What each agent trusts."""
    lost: list[tuple[str, str]] = field(default_factory=list)
    """Sessions that TLS refused, with its reason."""
    discs_refused: list[str] = field(default_factory=list)
    doorway: Doorway = field(init=False)

    def __post_init__(self) -> None:
        self.doorway = Doorway(self.workshop)

    def held(self, vm_uuid: str) -> list[str]:
        return [fingerprint(pem) for pem in certificates_in(self.cas[vm_uuid])]

    async def connect(self, vm_uuid: str) -> SessionInfo | Refused:
        self.cas.setdefault(vm_uuid, self.workshop.store.ledger.authority.certificate_pem.decode())
        try:
            self.doorway.shake(self.identity(vm_uuid).read_text(), self.cas[vm_uuid])
        except ssl.SSLError as exc:
            self.lost.append((vm_uuid, exc.reason or str(exc)))
            return Refused("untrusted_certificate")
        return await super().connect(vm_uuid)

    async def answer(self, vm_uuid: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "identity.rotate":
            self.cas[vm_uuid] = params["ca_pem"]
        return await super().answer(vm_uuid, method, params)

    async def _take(self, vm_uuid: str, client_pem: bytes) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            folder = f"{temporary}/disc"
            command = ["xorriso", "-osirrox", "on", "-indev", str(self.workshop.parts.media.path(vm_uuid))]
            command += ["-extract", "/", folder, "-chmod_r", "u+rwX", "--"]
            subprocess.run(command, capture_output=True, check=False)  # it finds fault with the modes, and copies
            try:
                found = verify.verify(verify.read_disc(folder), verify.Trust(vm_uuid, self._stored(vm_uuid), None))
            except AgentError as exc:
                self.discs_refused.append(exc.code)
                return
        self.cas[vm_uuid] = found.identity.ca_pem
        await super()._take(vm_uuid, found.identity.client_pem.encode())

    def _stored(self, vm_uuid: str) -> identity.Identity:
        """It may have run out: then it still says whom this guest trusts."""
        cluster, ca_pem = self.workshop.store.identity.cluster_uuid, self.cas[vm_uuid]
        client_pem = self.identity(vm_uuid).read_text()
        return identity.make("link", cluster, client_pem, ca_pem, self.held(vm_uuid)[0], check_time=False)


def holders(workshop: Workshop) -> tuple[HoldingAgents, CaRollover]:
    """The agents, and the rollover of the service that they speak to."""
    agents = HoldingAgents(workshop)
    return agents, CaRollover(workshop.parts, agents.doorway.serve_with)
