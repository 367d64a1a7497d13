# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest whose connected agent can be upgraded, for tests that run the service as a process."""

import asyncio
import itertools
import json
import threading
from pathlib import Path
from typing import Any

from .agent_client import AgentClient, client_context
from .service import ServiceProcess
from .waiting import PATIENCE_SECONDS

__all__ = ["UpgradableGuest"]


class UpgradableGuest:
    """Takes what it is offered and comes back with it; `fails` is what it says instead: a code and a message."""

    def __init__(self, service: ServiceProcess, vm_uuid: str, folder: Path, version: str) -> None:
        self.version = version
        self.fails: tuple[str, str] | None = None
        self.offers = 0
        self._report: dict[str, Any] | None = None
        self._service = service
        self._linked = threading.Event()
        with service.client() as client:
            [issued] = client.issue_batch([{"vm_uuid": vm_uuid}])
            self._service_name = client.ca()["service_name"]
        pem = folder / f"{vm_uuid}.pem"
        pem.write_text(issued["private_key_pem"] + issued["certificate_pem"])
        self._context = client_context(Path(service.ca_file), pem)
        threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True).start()
        assert self._linked.wait(PATIENCE_SECONDS)

    async def _run(self) -> None:
        while await self._session():
            pass

    async def _session(self) -> bool:
        """True when the agent has been changed over."""
        agent = await AgentClient.connect(self._service.gateway_port, self._context, self._service_name)
        await agent.start(agent_version=self.version, status={"upgrade": self._report, "reboot_required": True})
        self._linked.set()
        beating = asyncio.create_task(self._beat(agent))
        try:
            while (message := await agent.read()) is not None:
                if "method" in message and "id" in message:
                    agent.send({"jsonrpc": "2.0", "id": message["id"], "result": self._answer(**message)})
                    await agent.writer.drain()
                    if message["method"] == "agent.upgrade.commit":
                        await asyncio.sleep(0.2)  # the answer leaves first
                        return True
            return False
        finally:
            beating.cancel()
            agent.close()

    def _answer(self, method: str, params: dict[str, Any], **_: Any) -> dict[str, Any]:
        if method == "agent.upgrade.offer":
            self.offers += 1
            self._offer = json.loads(params["offer"])
            return {"offset": 0}
        if method == "agent.upgrade.commit":
            code, message = self.fails or (None, None)
            state = "kept" if code is None else "rolled_back"
            self._report = {"id": params["id"], "state": state, "code": code, "message": message}
            if code is None:
                self.version = self._offer["version"]
            return {}
        return {"offset": params.get("offset", 0)}

    async def _beat(self, agent: AgentClient) -> None:
        for number in itertools.count(1000):
            agent.send({"jsonrpc": "2.0", "id": number, "method": "heartbeat", "params": {"disc_mounted": False}})
            await asyncio.sleep(1)
