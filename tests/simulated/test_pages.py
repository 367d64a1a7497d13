# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages whose examples ask of a guest no more than a simulated one has, each from its first example to its last."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from openngt_service.lab.process import free_port

from ..conftest import program
from ..docs.layouts import (
    BEFORE,
    BEFORE_ON_GUESTS,
    IDS,
    ON_SIMULATED_GUESTS,
    VARIABLES,
    environment,
    program_before_fake,
)
from ..docs.session import UUIDS, Session, page_name, run_page, take_a_guest
from ..docs.shell import Shell
from ..fakes.hypervisor import FakeHypervisor
from ..fakes.simulated_guests.fleet import MAY_SIMULATE, SimulatedFleet
from ..fakes.simulated_guests.spec import ADMIN

LIMIT_SECONDS = 300.0
HERE = [page for page in take_a_guest() if page_name(page) in ON_SIMULATED_GUESTS]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SimulatedFleet]:
    if not MAY_SIMULATE:
        pytest.skip("simulated guests need root; tests/e2e runs these pages then")
    with SimulatedFleet(tmp_path / "guests", FakeHypervisor(tmp_path / "hypervisor.json")) as fleet:
        for name, vm_uuid in UUIDS.items():
            fleet.add(name, vm_uuid=vm_uuid, drives=("cd0", "cd1"))
        fleet.start()
        yield fleet


@pytest.fixture
def shell(fleet: SimulatedFleet, collection: Path, tmp_path: Path) -> Iterator[Shell]:
    """A terminal on the network of the guests, so with ports of its own."""
    (tmp_path / "page").mkdir()
    path = [program_before_fake(tmp_path), str(Path(program("openngt")).parent)]
    ports = {"OPENNGT_API_PORT": str(free_port()), "OPENNGT_GATEWAY_PORT": str(free_port())}
    shell = Shell(
        tmp_path / "page", {**environment(tmp_path, collection, path), **ports}, private=False, limit=LIMIT_SECONDS
    )
    yield shell
    shell.close()


@pytest.mark.slow
@pytest.mark.parametrize("page", HERE, ids=page_name)
def test_the_examples_of_a_page_run_in_its_order(
    page: Path, shell: Shell, fleet: SimulatedFleet, tmp_path: Path
) -> None:
    known_hosts = fleet.write_known_hosts(tmp_path / "known_hosts")
    hosts = json.loads(fleet.write_inventory(tmp_path / "hosts.json", known_hosts, user=ADMIN).read_text())
    hosts["all"]["hosts"] = {"web1": hosts["all"]["hosts"]["web1"]}
    here = {
        "192.0.2.10": "127.0.0.1",
        ":2073": f":{shell.run('printf $OPENNGT_API_PORT').output}",
    }
    session = Session(shell, page, here, VARIABLES, ids=IDS)
    name = page_name(page)
    session.lay_out(hosts | {"web": {"hosts": {"web1": {}}}}, BEFORE_ON_GUESTS.get(name, BEFORE.get(name, ())))
    run_page(session, lambda _: True)


def test_every_page_of_the_list_takes_a_guest() -> None:
    assert {page_name(page) for page in HERE} == ON_SIMULATED_GUESTS
