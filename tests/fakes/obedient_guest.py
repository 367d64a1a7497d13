# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest with a connected agent, in a thread of its own, for tests that run the service as a process."""

import asyncio
import itertools
import threading
from pathlib import Path
from typing import Any

from .agent_client import AgentClient, client_context
from .service import ServiceProcess
from .waiting import PATIENCE_SECONDS

__all__ = ["ObedientGuest"]


class ObedientGuest:
    """Obeys `guest.*` and takes what it is told; with `blocked` it says no, as the guest's administrator does."""

    def __init__(self, service: ServiceProcess, vm_uuid: str, folder: Path, **hello: Any) -> None:
        """`hello`: what it says of itself beyond the usual (`agent_version`, `status`)."""
        self.boots = 1
        self.blocked = False
        self.linked = threading.Event()
        self.asked: list[tuple[str, Any]] = []
        """Method and parameters of each request, in order."""
        self._service, self._vm_uuid, self._hello = service, vm_uuid, hello
        with service.client() as client:
            [issued] = client.issue_batch([{"vm_uuid": vm_uuid}])
            self._service_name = client.ca()["service_name"]
        pem = folder / f"{vm_uuid}.pem"
        pem.write_text(issued["private_key_pem"] + issued["certificate_pem"])
        self._context = client_context(Path(service.ca_file), pem)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self.linked.wait(PATIENCE_SECONDS)

    async def _run(self) -> None:
        while await self._session():
            self.boots += 1

    async def _session(self) -> bool:
        """True when it has been told to reboot."""
        port = self._service.gateway_port
        agent = await AgentClient.connect(port, self._context, self._service_name)
        await agent.start(boot_id=f"boot-{self.boots}", **self._hello)
        self.linked.set()
        beating = asyncio.create_task(self._beat(agent))
        try:
            while (message := await agent.read()) is not None:
                if "method" not in message or "id" not in message:
                    continue
                self.asked.append((message["method"], message["params"]))
                answer: dict[str, Any] = {"result": {}}
                if self.blocked:
                    answer = {"error": {"code": -32000, "message": "blocked", "data": {"code": "METHOD_BLOCKED"}}}
                agent.send({"jsonrpc": "2.0", "id": message["id"], **answer})
                await agent.writer.drain()
                if message["method"].startswith("guest.") and not self.blocked:
                    if message["method"] == "guest.shutdown":
                        self._service.hypervisor.set_power(self._vm_uuid, "off")
                    return bool(message["method"] == "guest.reboot")
            return False
        finally:
            beating.cancel()
            agent.close()

    async def _beat(self, agent: AgentClient) -> None:
        for number in itertools.count(1000):
            agent.send({"jsonrpc": "2.0", "id": number, "method": "heartbeat", "params": {"disc_mounted": False}})
            await asyncio.sleep(1)
