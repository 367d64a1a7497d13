# SPDX-License-Identifier: GPL-3.0-or-later
"""The install playbook on two real guests, from nothing to a proven link, and what it leaves behind."""

import hashlib
from collections.abc import Iterator

import pytest

from openngt import effects
from openngt.client import Client
from openngt_service.lab.demo_views import compare, guest_view, service_view
from openngt_service.lab.service_process import ServiceProcess

from .conftest import Guests, restore
from .plays import Ansible, Play

pytestmark = pytest.mark.guest

MOST_TASKS_OF_A_SECOND_RUN = 6
OF_THE_PLAY = 3
"""The check of the variables and the numbers, before and after: shown with one host."""


def digest_of_users_disc(guests: Guests) -> str:
    return hashlib.sha256(guests.users_disc.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def began() -> str:
    return effects.now().isoformat()


@pytest.fixture(scope="module")
def installed(guests: Guests, service: ServiceProcess, ansible: Ansible, began: str) -> Iterator[Play]:
    """Both guests, installed by one run from nothing; the tests of this module only look and run it again."""
    yield ansible.play("install", environment={"ANSIBLE_PIPELINING": "false"})
    restore(guests, service)


def test_both_sides_agree_that_every_link_is_active_with_a_long_lived_identity(
    guests: Guests, client: Client, installed: Play
) -> None:
    installed.succeeded()
    for vm in guests.both:
        record = client.vm(vm.vm_uuid)
        differences = [row for row in compare(vm.name, service_view(record), guest_view(vm)) if not row.agrees]
        assert differences == []
        assert record["communication_link_active"] and record["certificate"]["kind"] == "link", record
        assert record["vm_info"]["guest_os_id"] == "debian"
        assert record["vm_info"]["hostname"] == vm.name


def test_the_checks_find_nothing_wrong_with_fresh_guests(
    guests: Guests, client: Client, began: str, installed: Play
) -> None:
    installed.succeeded()
    for vm in guests.both:
        offset = client.vm(vm.vm_uuid)["link"]["clock_offset_seconds"]
        assert offset is not None and abs(offset) < 30, "the agent has told its time, which is the host's"
    report = client.health_report(client.wait_task(client.run_health(), 60)["task_id"])
    ours = {vm.vm_uuid for vm in guests.both}
    found = [item for check in report["checks"] for item in check["items"] if item.get("vm_uuid") in ours]
    # A copy that an earlier test let loose is told for a day, whatever has become of it.
    assert [item["message"] for item in found if item.get("last_seen", began) >= began] == []


def test_neither_file_nor_mount_nor_disc_of_ours_is_left(
    guests: Guests, service: ServiceProcess, client: Client, installed: Play
) -> None:
    installed.succeeded()
    assert list((service.state / "iso").glob("*.iso")) == []
    for vm in guests.both:
        assert vm.ssh("findmnt -rno TARGET -t iso9660; blkid -L NUTANIX_TOOLS").stdout == ""
        assert client.vm(vm.vm_uuid)["mount"] is None


def test_the_users_own_disc_stays_in_its_drive(guests: Guests, client: Client, installed: Play) -> None:
    installed.succeeded()
    [seen] = client.hypervisor_vms(guests.db.vm_uuid)
    held = {drive["name"]: drive["holds"] for drive in seen["cdrom_drives"]}
    assert held == {"cd0": None, "cd1": str(guests.users_disc)}
    assert digest_of_users_disc(guests) == hashlib.sha256(bytes(64 * 2048)).hexdigest()


def test_a_second_run_changes_nothing_in_six_tasks(client: Client, installed: Play, ansible: Ansible) -> None:
    installed.succeeded()
    before = client.vms()
    again = ansible.play("install").succeeded()
    for host in ("web", "db"):
        assert again.recap[host]["changed"] == 0, again.output
    shown = sorted(again.tasks(host) for host in ("web", "db"))
    assert shown[0] <= MOST_TASKS_OF_A_SECOND_RUN, again.output
    assert shown[1] <= MOST_TASKS_OF_A_SECOND_RUN + OF_THE_PLAY, again.output
    kept = ("ngt_uuid", "generation", "certificate")
    assert [{name: vm[name] for name in kept} for vm in client.vms()] == [
        {name: vm[name] for name in kept} for vm in before
    ]
