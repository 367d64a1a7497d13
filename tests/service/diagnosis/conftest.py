# SPDX-License-Identifier: GPL-3.0-or-later
"""The real service before a hypervisor in a file, and real agents on its real gateway."""

import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.guest import FolderGuest
from tests.fakes.service import ServiceProcess

from openngt.client import Client
from openngt.diagnosis.decide import decide

__all__ = ["Case", "eventually"]

Json = dict[str, Any]


def eventually(what: Callable[[], bool], why: Callable[[], object] = lambda: "") -> None:
    """Waits as long as a slow machine may need; what never comes true fails."""
    pause = threading.Event()
    for _ in range(600):
        if what():
            return
        pause.wait(0.1)
    raise AssertionError(f"it never came true: {why()}")


@dataclass
class Case:
    """One VM of the service, and its guest."""

    service: ServiceProcess
    client: Client
    guest: FolderGuest
    name: str

    @property
    def vm_uuid(self) -> str:
        return self.guest.vm_uuid

    def enable(self) -> None:
        self.client.enable(self.vm_uuid)

    def issue(self) -> str:
        """key and certificate of a new `link` certificate."""
        [made] = self.client.issue_batch([{"vm_uuid": self.vm_uuid}])
        return str(made["private_key_pem"]) + str(made["certificate_pem"])

    def give(self, client_pem: str, **how: Any) -> None:
        where = {"host": "127.0.0.1", "port": self.service.gateway_port, **how}
        self.guest.give(client_pem, self.client.ca(), **where)

    def link(self) -> None:
        """Enabled, with an agent that is connected."""
        self.enable()
        self.give(self.issue())
        self.guest.start()
        eventually(lambda: bool(self.client.vm(self.vm_uuid)["communication_link_active"]), lambda: self.guest.status)

    def ended(self) -> None:
        eventually(lambda: not self.client.vm(self.vm_uuid)["communication_link_active"])

    def agent_says(self, code: str) -> None:
        eventually(lambda: (self.guest.link["last_error"] or {}).get("code") == code, lambda: self.guest.status)

    def by_service(self) -> Json:
        """What the service says alone."""
        return self.client.diagnosis(self.vm_uuid)

    def by_both(self, **guest: Any) -> Json:
        """As a play joins the halves."""
        saw = self.by_service()["service_saw"]
        return decide(saw, self.guest.saw(saw["gateway"], **guest))


def new_service(folder: Path, **settings: str) -> ServiceProcess:
    service = ServiceProcess(folder, settings)
    service.start()
    return service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = new_service(tmp_path_factory.mktemp("service"))
    yield running
    assert running.stop() == 0, running.stderr


def case_of(service: ServiceProcess, folder: Path) -> Case:
    vm_uuid, name = str(uuid.uuid4()), re.sub(r"\W", "-", folder.name)
    service.hypervisor.add(vm_uuid, name, {"cd0": None})
    return Case(service, service.client(), FolderGuest(folder / "guest", vm_uuid), name)


@pytest.fixture
def case(service: ServiceProcess, tmp_path: Path) -> Iterator[Case]:
    made = case_of(service, tmp_path)
    yield made
    made.guest.stop()
    made.client.close()


@pytest.fixture
def case_on(tmp_path: Path) -> Iterator[Callable[..., Case]]:
    """`case_on(**settings)`: a case on a service of its own."""
    made: list[Case] = []

    def make(**settings: str) -> Case:
        folder = tmp_path / "own"
        folder.mkdir()
        made.append(case_of(new_service(folder, **settings), tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.guest.stop()
        each.client.close()
        each.service.stop()
