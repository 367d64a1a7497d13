# SPDX-License-Identifier: GPL-3.0-or-later
"""A service with VMs for which something cannot be done, for the tests of what people are told then."""

import asyncio
import uuid
from pathlib import Path

from openngt.client import Client

from .agent_client import AgentClient, client_context
from .service import ServiceProcess

__all__ = ["NOBODY", "UNKNOWN_UUID", "odd_fleet", "token_of"]

NOBODY = "nobody"
UNKNOWN_UUID = "00000000-0000-4000-8000-000000000000"


def odd_fleet(folder: Path) -> ServiceProcess:
    """Started. `twin` are two VMs; all are enrolled but `plain`.

    `off` is powered off, `full` has no empty drive, `paused` is paused, `silent` is as it should be. The agents of all
    that are enrolled have been linked once, and are no more.
    """
    service = ServiceProcess(folder, {"log_level": "warning"})
    vms: list[tuple[str, dict[str, str | None], str]] = [
        ("twin", {"cd0": None}, "on"),
        ("twin", {"cd0": None}, "on"),
        ("off", {"cd0": None}, "on"),
        ("full", {"cd0": "/isos/debian.iso"}, "on"),
        ("paused", {"cd0": None}, "on"),
        ("silent", {"cd0": None}, "on"),
        ("plain", {"cd0": None}, "on"),
    ]
    uuids = [str(uuid.uuid4()) for _ in vms]
    for vm_uuid, (name, drives, state) in zip(uuids, vms, strict=True):
        service.hypervisor.add(vm_uuid, name, drives, state)
    service.start()
    with service.client() as client:
        for vm_uuid, (name, _, _) in zip(uuids, vms, strict=True):
            if name != "plain":
                client.enable(vm_uuid)
        for issued in client.issue_batch([{"vm_uuid": vm_uuid} for vm_uuid in uuids[:-1]]):
            pem = folder / f"{issued['vm_uuid']}.pem"
            pem.write_text(issued["private_key_pem"] + issued["certificate_pem"])
            asyncio.run(_link_once(service, pem, client.ca()["service_name"]))
    for vm_uuid, (name, _, _) in zip(uuids, vms, strict=True):
        if name in ("off", "paused"):
            service.hypervisor.set_power(vm_uuid, name)
    return service


async def _link_once(service: ServiceProcess, pem: Path, service_name: str) -> None:
    agent = await AgentClient.connect(service.gateway_port, client_context(Path(service.ca_file), pem), service_name)
    await agent.start()
    agent.send({"jsonrpc": "2.0", "method": "goodbye", "params": {"reason": "stopping"}})
    await agent.closed()


def token_of(client: Client, role: str) -> str:
    """A new token of that role."""
    return str(client.create_token(f"{role}-{uuid.uuid4().hex[:8]}", role)["token"])
