# SPDX-License-Identifier: GPL-3.0-or-later
"""The real service, in front of a hypervisor in a file, for the plugins' tests to ask."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.fakes.service import ServiceProcess

from openngt.client import Client

__all__ = ["Fleet"]


@dataclass
class Fleet:
    """VMs of one test alone."""

    service: ServiceProcess
    client: Client
    begin: int
    """Where the audit log stood when the test began."""

    @property
    def environment(self) -> dict[str, str]:
        """What a play needs to ask the service."""
        return {
            "OPENNGT_ENDPOINT": self.service.endpoint,
            "OPENNGT_TOKEN": self.service.token,
            "OPENNGT_CA_FILE": self.service.ca_file,
        }

    def add_vm(self, name: str, *, holds: str | None = None, power_state: str = "on", enrolled: bool = False) -> str:
        """A VM with one CD-ROM drive on the hypervisor; its UUID."""
        vm_uuid = str(uuid.uuid4())
        self.service.hypervisor.add(vm_uuid, name, {"cd0": holds}, power_state)
        if enrolled:
            self.client.enable(vm_uuid)
            self.begin = last_row(self.client)
        return vm_uuid

    def mount(self, vm: str, holder: str) -> None:
        """What another run has mounted before the test's own."""
        self.client.wait_task(self.client.mount(vm, holder, 600), 60)
        self.begin = last_row(self.client)

    def changes(self) -> list[str]:
        """What the service did since, by the verbs of its audit log."""
        return [row["verb"] for row in self.client.audit(after=self.begin)]


def last_row(client: Client) -> int:
    return max((row["sequence"] for row in client.audit()), default=0)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path_factory.mktemp("service"))
    service.start()
    yield service
    service.stop()


@pytest.fixture
def fleet(running: ServiceProcess) -> Iterator[Fleet]:
    with running.client() as client:
        yield Fleet(running, client, last_row(client))
        for record in client.vms():
            client.disable(record["vm_uuid"])
        for vm in client.hypervisor_vms():
            running.hypervisor.remove(vm["vm_uuid"])
