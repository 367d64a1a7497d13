# SPDX-License-Identifier: GPL-3.0-or-later
"""Running agents that can be upgraded. What they take and refuse is judged by the real agent's own code."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openngt.agent import identity
from openngt.agent.errors import AgentError
from openngt.agent.upgrade_offer import Receiver, verify_offer
from openngt_service.ports import Refused, SessionInfo

from .agents import FakeAgents, failed
from .workshop import Workshop

__all__ = ["UpgradableAgents", "upgradable_agents_of"]

WISH = re.compile(rb'"ngt_version":"([^"]+)","upgrade":(\{[^}]+\})')


@dataclass
class UpgradableAgents(FakeAgents):
    """`versions`: what each runs. `fates`: how the next one ends (`kept` unless named), with its code and message."""

    versions: dict[str, str] = field(default_factory=dict)
    fates: dict[str, tuple[str, str | None, str | None]] = field(default_factory=dict)
    breaking: set[str] = field(default_factory=set)
    """Their link breaks in the middle of the next transfer."""
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    receivers: dict[str, Receiver] = field(default_factory=dict)
    received: dict[str, list[bytes]] = field(default_factory=dict)
    reboot: bool | None = False

    async def connect(self, vm_uuid: str) -> SessionInfo | Refused:
        status = {"upgrade": self.reports.get(vm_uuid), "reboot_required": self.reboot}
        answer = await self.workshop.gateway.connect(
            self.identity(vm_uuid).read_bytes(), agent_version=self.versions.get(vm_uuid, "0.1.0"), status=status
        )
        if isinstance(answer, Refused):
            self.refused.append(answer)
        return answer

    async def answer(self, vm_uuid: str, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if not method.startswith("agent.upgrade."):
            return await super().answer(vm_uuid, method, params)
        self.at_work.add(vm_uuid)
        self.busy_most = max(self.busy_most, len(self.at_work))
        await asyncio.sleep(0.001)
        if vm_uuid in self.too_old:
            raise failed("AGENT_FAILED", agent_code=-32601)
        if vm_uuid in self.blocking:
            raise failed("AGENT_FAILED", agent_code=-32000, agent_reason="METHOD_BLOCKED")
        try:
            return await self._step(vm_uuid, method.rpartition(".")[2], params)
        except AgentError as exc:
            raise failed("AGENT_FAILED", agent_code=-32001, agent_reason=exc.code) from exc

    async def _step(self, vm_uuid: str, step: str, params: dict[str, Any]) -> dict[str, Any]:
        receiver = self.receivers.setdefault(vm_uuid, Receiver())
        if step == "offer":
            running = self.versions.get(vm_uuid, "0.1.0")
            offer = verify_offer(params["offer"], params["voucher_pem"], self._stored(vm_uuid), running)
            return {"offset": receiver.begin(offer)}
        if step == "chunk":
            offset = receiver.add(params)
            if vm_uuid in self.breaking:
                self.breaking.discard(vm_uuid)
                await self.disconnect(vm_uuid)
                self.coming.add(asyncio.ensure_future(self._come_back(vm_uuid)))
                raise failed("LINK_NOT_ACTIVE", outcome="unknown")
            return {"offset": offset}
        staged = receiver.finish(params)
        self.received.setdefault(vm_uuid, []).append(staged.package)
        self._change_over(vm_uuid, staged.id, staged.version)
        return {}

    def _change_over(self, vm_uuid: str, identifier: str, version: str) -> None:
        state, code, message = self.fates.get(vm_uuid, ("kept", None, None))
        old = self.versions.get(vm_uuid, "0.1.0")
        self.reports[vm_uuid] = {
            "id": identifier,
            "state": state,
            "version": version,
            "old_version": old,
            "code": code,
            "message": message,
            "at": "2026-11-21T07:00:00Z",
        }
        if state == "kept":
            self.versions[vm_uuid] = version
        self.coming.add(asyncio.ensure_future(self._come_back(vm_uuid)))

    async def _take(self, vm_uuid: str, client_pem: bytes) -> None:
        iso = Path(self.workshop.parts.media.path(vm_uuid))
        found = WISH.search(iso.read_bytes())
        await super()._take(vm_uuid, client_pem)
        if found is not None:
            self._change_over(vm_uuid, json.loads(found[2])["id"], found[1].decode())

    def _stored(self, vm_uuid: str) -> identity.Identity:
        ca_pem = self.workshop.parts.media.cluster.ca_pem.decode()
        pem = self.identity(vm_uuid).read_text()
        cluster = self.workshop.parts.media.cluster
        return identity.make("link", cluster.cluster_uuid, pem, ca_pem, cluster.ca_sha256)


@contextlib.asynccontextmanager
async def upgradable_agents_of(workshop: Workshop) -> AsyncIterator[UpgradableAgents]:
    agents = UpgradableAgents(workshop)
    workshop.gateway.answers = agents.answer
    running = asyncio.ensure_future(agents.run())
    try:
        yield agents
    finally:
        for task in (running, *agents.coming):
            task.cancel()
        await asyncio.wait({running, *agents.coming})
