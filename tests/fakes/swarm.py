# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundreds of simulated agents against the service as a process: real TLS, certificates and heartbeats."""

import asyncio
import contextlib
import itertools
import ssl
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .agent_client import AgentClient, client_context
from .service import ServiceProcess

__all__ = ["Swarm"]

BEAT_SECONDS = 1.0
BATCH = 500


@dataclass
class Swarm:
    """`enrol` before the event loop runs; everything else on it."""

    service: ServiceProcess
    folder: Path
    contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)
    """Of each VM, by its UUID."""
    agents: dict[str, AgentClient] = field(default_factory=dict)
    beats: int = 0
    _beating: set["asyncio.Task[None]"] = field(default_factory=set)
    _name: str = ""
    _port: int = 0

    def enrol(self, count: int) -> list[str]:
        """So many VMs more, on the hypervisor and in the service, each with a long-lived identity."""
        vms = [str(uuid.uuid4()) for _ in range(count)]
        with self.service.client() as client:
            self._name, self._port = client.ca()["service_name"], self.service.gateway_port
            for vm in vms:
                self.service.hypervisor.add(vm, f"vm-{vm[:8]}", {"cd0": None})
                client.enable(vm)
            for start in range(0, count, BATCH):
                for issued in client.issue_batch([{"vm_uuid": vm} for vm in vms[start : start + BATCH]]):
                    self.take(issued)
        return vms

    def take(self, issued: dict[str, Any]) -> None:
        """Have the VM use this identity from now on."""
        pem = self.folder / f"{issued['serial']}.pem"
        pem.write_text(issued["private_key_pem"] + issued["certificate_pem"])
        self.contexts[issued["vm_uuid"]] = client_context(Path(self.service.ca_file), pem)

    async def connect(self, vm: str) -> AgentClient:
        """A session that is up and beats from now on."""
        agent = await AgentClient.connect(self._port, self.contexts[vm], self._name)
        await agent.start(boot_id=f"boot of {vm}")
        self.agents[vm] = agent
        task = asyncio.create_task(self._beat(agent))
        self._beating.add(task)
        task.add_done_callback(self._beating.discard)
        return agent

    async def connect_all(self, vms: list[str], at_once: int = 16) -> None:
        slots = asyncio.Semaphore(at_once)

        async def one(vm: str) -> None:
            async with slots:
                await self.connect(vm)

        await asyncio.gather(*(one(vm) for vm in vms))

    async def is_welcome(self, vm: str, context: ssl.SSLContext | None = None) -> bool:
        """One handshake, and whether the service says welcome to it. It goes no further and supersedes nobody."""
        agent = None
        try:
            agent = await AgentClient.connect(self._port, context or self.contexts[vm], self._name)
            return await agent.read() is not None
        except (ConnectionError, ssl.SSLError):
            return False
        finally:
            if agent is not None:
                agent.close()

    async def stop(self) -> None:
        for task in self._beating:
            task.cancel()
        await asyncio.gather(*self._beating, return_exceptions=True)
        for agent in self.agents.values():
            agent.close()

    async def _beat(self, agent: AgentClient) -> None:
        """Until the other end closes; what comes is read by whoever looks after the agent."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            for number in itertools.count(1000):
                agent.send({"jsonrpc": "2.0", "id": number, "method": "heartbeat", "params": {"disc_mounted": False}})
                await agent.writer.drain()
                self.beats += 1
                await asyncio.sleep(BEAT_SECONDS)
