# SPDX-License-Identifier: GPL-3.0-or-later
"""A real service and simulated guests, whose agents it has yet to meet."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openngt.install.fleet.report import OnEvent, Options, Report
from openngt.install.fleet.runner import install
from openngt_service.lab.process import free_port

from ..conftest import program
from ..fakes.service import ServiceProcess
from ..fakes.simulated_guests.controller import target_of
from ..fakes.simulated_guests.fleet import MAY_SIMULATE, SimulatedFleet

__all__ = ["World"]


@dataclass
class World:
    service: ServiceProcess
    fleet: SimulatedFleet
    collection: Path
    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """For the admin's commands on the controller."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OPENNGT_", "ANSIBLE_"))},
            "OPENNGT_ENDPOINT": self.service.endpoint,
            "OPENNGT_TOKEN": self.service.token,
            "OPENNGT_CA_FILE": self.service.ca_file,
            "ANSIBLE_COLLECTIONS_PATH": str(self.collection),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
        }

    def playbook(self, name: str, inventory: Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [program("ansible-playbook"), f"openngt.guest_tools.{name}", "-i", str(inventory)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def targets(self) -> list[dict[str, Any]]:
        """Every guest as controller.py takes it, with the guest's password."""
        return self.fleet.targets(self.fleet.write_known_hosts(self.folder / "known_hosts"))

    def install(
        self, targets: Sequence[Mapping[str, Any]], on_event: OnEvent = lambda event: None, **options: Any
    ) -> Report:
        given = Options(journal=self.folder / "journal", **options)
        return install([target_of(each) for each in targets], given, self.service.client, on_event)

    def proven(self) -> set[str]:
        """Names of the VMs with a live link whose certificate is the ledger's current one; no serial counts twice."""
        with self.service.client() as client:
            vms = [vm for vm in client.vms() if vm["communication_link_active"]]
        serials = [vm["certificate"]["serial"] for vm in vms if vm["certificate"]["state"] == "current"]
        assert len(set(serials)) == len(serials) == len(vms)
        return {vm["vm_name"] for vm in vms}


@pytest.fixture
def world(collection: Path, tmp_path: Path) -> Iterator[World]:
    if not MAY_SIMULATE:
        pytest.skip("simulated guests need root")
    # A restart must not move it.
    ports = {"api_port": str(free_port()), "gateway_port": str(free_port())}
    service = ServiceProcess(tmp_path, ports)
    with SimulatedFleet(tmp_path / "guests", service.hypervisor) as fleet:
        service.start()
        try:
            yield World(service, fleet, collection, tmp_path)
        finally:
            service.stop()
