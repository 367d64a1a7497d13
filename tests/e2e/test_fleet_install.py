# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook fleet_install on three real guests: foretold, installed by one task over SSH, then left alone."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openngt.client import Client
from openngt_service.lab.demo_views import compare, guest_view, service_view
from openngt_service.lab.image import ensure_image
from openngt_service.lab.service_process import ServiceProcess

from .conftest import Guests, WarmVm
from .hands import drives, isos
from .plays import Ansible, Play, prepare

pytestmark = pytest.mark.guest

TRACES = "ls -A /tmp | grep openngt; ls -d /mnt/nutanix; findmnt -rno TARGET -t iso9660; true"


@pytest.fixture
def app(guests: Guests, service: ServiceProcess) -> Iterator[WarmVm]:
    """A third guest, for these tests alone."""
    try:
        vm = guests.lab.start("app", ensure_image(tell), guests.web.accelerator)
        guests.lab.wait(vm)
        warm = WarmVm(**vars(vm))
        yield warm
        warm.hang_up()
    finally:
        with service.client() as client:
            for one in client.vms(["app"]):
                client.disable(one["vm_uuid"])
        guests.lab.down([vm.name for vm in guests.lab.vms() if vm.name == "app"])


def tell(line: str) -> None:
    sys.stderr.write(line + "\n")


@pytest.fixture
def play(
    guests: Guests, service: ServiceProcess, collection: Path, app: WarmVm, restored: None, tmp_path: Path
) -> "PlayFleet":
    """With an inventory of its own, which has the third guest."""
    folder = tmp_path / "ansible"
    folder.mkdir()
    return PlayFleet(prepare(folder, guests.lab, service, collection), tmp_path / "state")


class PlayFleet:
    def __init__(self, ansible: Ansible, state: Path) -> None:
        self._ansible = ansible
        self._environment = {"XDG_STATE_HOME": str(state)}

    def __call__(self, *arguments: str) -> Play:
        return self._ansible.play("fleet_install", *arguments, environment=self._environment)


def test_three_guests_from_nothing_to_a_proven_link_by_one_task(
    guests: Guests, service: ServiceProcess, client: Client, app: WarmVm, play: PlayFleet, tmp_path: Path
) -> None:
    fleet = (*guests.both, app)
    foretold = play("--check").succeeded()
    assert changes(foretold) == {"app": 1, "web": 1, "db": 1}
    assert client.vms() == []
    for vm in fleet:
        assert vm.ssh("ls -d /usr/local/openngt; " + TRACES).stdout == ""

    # One of them is given a login that is not its own; the others must not suffer.
    key = "{{ '' if inventory_hostname == 'web' else '" + str(guests.lab.key) + "' }}"
    logins = {"ansible_ssh_private_key_file": key, "ansible_password": "not-the-right-one"}
    half = play("-e", json.dumps(logins))
    assert half.status != 0
    assert changes(half) == {"app": 1, "web": 0, "db": 1} and half.recap["web"]["failed"] == 1, half.output
    assert "[GUEST_LOGIN_FAILED] remedy: " in half.output and "not-the-right-one" not in half.output
    assert linked(client) == {"app", "db"}
    [limit] = tmp_path.rglob("limit")
    assert limit.read_text() == "web\n"

    rest = play("--limit", f"@{limit}").succeeded()
    assert changes(rest) == {"web": 1}
    for vm in fleet:
        record = client.vm(vm.vm_uuid)
        assert [row for row in compare(vm.name, service_view(record), guest_view(vm)) if not row.agrees] == []
        assert record["certificate"]["kind"] == "link" and record["mount"] is None
        assert vm.ssh(TRACES).stdout == ""
    assert isos(service.state) == []
    assert drives(client, guests.db) == {"cd0": None, "cd1": str(guests.users_disc)}

    before = {vm["vm_uuid"]: (vm["generation"], vm["certificate"]) for vm in client.vms()}
    again = play().succeeded()
    assert changes(again) == {"app": 0, "web": 0, "db": 0}
    assert {vm["vm_uuid"]: (vm["generation"], vm["certificate"]) for vm in client.vms()} == before
    assert not limit.exists(), "nothing needs another run"


def changes(play: Play) -> dict[str, int]:
    return {host: counts["changed"] for host, counts in play.recap.items()}


def linked(client: Client) -> set[str]:
    return {vm["vm_name"] for vm in client.vms() if vm["communication_link_active"]}
