# SPDX-License-Identifier: GPL-3.0-or-later
"""One service with four simulated guests, and the AWX that has jobs for them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from openngt_service.lab.process import free_port

from ..fakes.service import ServiceProcess
from ..fakes.simulated_guests.fleet import MAY_SIMULATE, SimulatedFleet
from ..fakes.simulated_guests.spec import ADMIN, PORT
from .awx import Controller

__all__ = ["World"]

AWX = Path(__file__).resolve().parents[2] / "roles/awx_setup/vars/controller.yml"


class Loader(yaml.SafeLoader):
    """Also takes what Ansible shall not template."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def credential_types() -> list[dict[str, Any]]:
    """As the role awx_setup gives them to an AWX, under their names without the prefix."""
    found = yaml.load(AWX.read_text(encoding="utf-8"), Loader)["controller_credential_types"]
    return [{**each, "name": each["name"].replace("{{ awx_setup_prefix }}", "openngt")} for each in found]


@dataclass(frozen=True)
class World:
    service: ServiceProcess
    fleet: SimulatedFleet
    controller: Controller

    @property
    def secrets(self) -> dict[str, str]:
        return {"token": self.service.token, **{guest.name: guest.password for guest in self.fleet.guests}}


@pytest.fixture(scope="package")
def world(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """`web2` is no VM of the hypervisor; nothing is installed in any guest yet."""
    if not MAY_SIMULATE:
        pytest.skip("simulated guests need root")
    folder = tmp_path_factory.mktemp("awx")
    service = ServiceProcess(folder, {"api_port": str(free_port()), "gateway_port": str(free_port())})
    with SimulatedFleet(folder / "guests", service.hypervisor) as fleet:
        fleet.add("db1", "db2", "web1")
        fleet.add("web2", on_hypervisor=False)
        service.start()
        try:
            fleet.start()
            yield World(service, fleet, controller(service, fleet, collection, folder))
        finally:
            service.stop()


def controller(service: ServiceProcess, fleet: SimulatedFleet, collection: Path, folder: Path) -> Controller:
    known = fleet.write_known_hosts(folder / "known_hosts")
    inventory = json.loads(fleet.write_inventory(folder / "inventory.json", known, user=ADMIN).read_text())
    listed = [
        {
            "vmname": guest.name,
            "uuid": guest.vm_uuid,
            "host": guest.address,
            "port": PORT,
            "credentials": {"username": ADMIN, "password": guest.password},
        }
        for guest in fleet.guests
    ]
    fields = {
        "openngt service": {
            "endpoint": service.endpoint,
            "token": service.token,
            "ca_pem": Path(service.ca_file).read_text(),
        },
        "openngt guest credentials": {"credentials": json.dumps(listed)},
    }
    return Controller(folder, collection, inventory, fields, credential_types())
