# SPDX-License-Identifier: GPL-3.0-or-later
"""The real service in front of a hypervisor in a file, real agents, and guests that answer by a script."""

import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agent_process import AgentProcess
from tests.fakes.scripted_guest import WELL_PLAN, ScriptedGuest
from tests.fakes.service import ServiceProcess

from openngt.client import Client
from openngt.errors import OpenNGTError
from openngt.install.fleet.report import Event, Options, Report
from openngt.install.fleet.runner import install
from openngt.install.fleet.target import SshLogin, Target, WinrmLogin

__all__ = ["FleetOfScripts"]


@dataclass
class FleetOfScripts:
    """VMs and guests of one test alone; a guest is found by its login's host, which is the VM's name."""

    service: ServiceProcess
    client: Client
    folder: Path
    guests: dict[str, ScriptedGuest] = field(default_factory=dict)
    agents: list[AgentProcess] = field(default_factory=list)
    refusals: dict[str, OpenNGTError] = field(default_factory=dict)
    """Logins that fail, by host."""
    events: list[Event] = field(default_factory=list)

    def add(self, name: str, *, drive: str | None = None, power_state: str = "on", **script: Any) -> Target:
        """A VM and its guest, in which `go` starts a real agent unless the script says otherwise."""
        vm_uuid = str(uuid.uuid4())
        self.service.hypervisor.add(vm_uuid, name, {"cd0": drive}, power_state)
        script.setdefault("install", lambda _go: self.run_agent(name))
        self.guests[name] = ScriptedGuest(**script)
        return Target(name, name, SshLogin(name))

    def run_agent(self, name: str) -> dict[str, Any]:
        # By name, and with a client of its own: several guests may come to this at once.
        agent = AgentProcess(self.folder / f"agent-{name}-{len(self.agents)}")
        agent.folder.mkdir()
        self.agents.append(agent)
        with self.service.client() as client:
            agent.install(self.service, client, self.uuid_of(name))
        agent.start()
        self.guests[name].plan = dict(WELL_PLAN)
        return {"steps": ["agent", "link"], "agent": {"agent_version": "0.1.0"}, "warnings": []}

    def uuid_of(self, name: str) -> str:
        [seen] = self.client.hypervisor_vms(name)
        vm_uuid: str = seen["vm_uuid"]
        return vm_uuid

    def connect(self, login: SshLogin | WinrmLogin, seconds: float) -> ScriptedGuest:
        assert seconds > 0
        if login.host in self.refusals:
            raise self.refusals[login.host]
        return self.guests[login.host]

    def install(
        self, *targets: Target, refused: Any = (), stop: threading.Event | None = None, **options: Any
    ) -> Report:
        self.events.clear()
        options.setdefault("journal", None if options.get("check") else self.folder / "journal")
        asked = Options(**{"wait_seconds": 300, **options})
        return install(
            targets,
            asked,
            self.service.client,
            self.events.append,
            refused=refused,
            stop=stop,
            connect=self.connect,
        )

    def verbs(self, name: str) -> list[str]:
        """What the service did with the VM, by the audit log."""
        vm_uuid = self.uuid_of(name)
        return [row["verb"] for row in self.client.audit() if row["vm_uuid"] == vm_uuid]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path_factory.mktemp("service"))
    service.start()
    yield service
    service.stop()


@pytest.fixture
def fleet(running: ServiceProcess, tmp_path: Path) -> Iterator[FleetOfScripts]:
    with running.client() as client:
        fleet = FleetOfScripts(running, client, tmp_path)
        yield fleet
        for agent in fleet.agents:
            agent.stop()
        for record in client.vms():
            client.disable(record["vm_uuid"])
        for vm in client.hypervisor_vms():
            running.hypervisor.remove(vm["vm_uuid"])
