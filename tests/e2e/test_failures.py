# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong in the field, on real guests: each failure has its code and its remedy, and nothing was done."""

import datetime
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openngt import effects
from openngt.client import Client
from openngt.iso.ensure_iso import IsoOrder, ensure_iso
from openngt.pki.ensure_ca import WantedCa, ensure_ca
from openngt_service.hypervisors.vm_files import VmFile, write_vm_file
from openngt_service.lab.service_process import HOST_SEEN_FROM_GUESTS
from openngt_service.lab.vm import LabVm

from .conftest import Guests
from .hands import insert, monitor, said, until
from .plays import Ansible

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("restored")]


def on_service(module: str, vm: str, **arguments: Any) -> Mapping[str, Any]:
    """A task for the service, as our playbooks run it."""
    return {
        f"openngt.guest_tools.{module}": {"vm": vm, **arguments},
        "delegate_to": "localhost",
        "become": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
    }


def plays(host: str, *tasks: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [{"hosts": host, "gather_facts": False, "tasks": list(tasks)}]


def order(guests: Guests, folder: Path) -> IsoOrder:
    """An ISO for `web` of a CA of its own."""
    return IsoOrder(
        path=folder / "disc.iso",
        ca_folder=folder / "ca",
        vm_uuid=guests.web.vm_uuid,
        cluster_uuid=str(uuid.uuid4()),
        cluster_ip=HOST_SEEN_FROM_GUESTS,
    )


def unpacked(iso: Path, folder: Path) -> Path:
    subprocess.run(
        ["xorriso", "-osirrox", "on", "-indev", str(iso), "-extract", "/", str(folder)], check=True, capture_output=True
    )
    folder.chmod(0o700)
    return folder


def issued(client: Client, vm: LabVm, after: int) -> int:
    """Certificates made for a VM since that row of the audit log."""
    return sum((row["verb"], row["vm_uuid"]) == ("certificate.issue", vm.vm_uuid) for row in client.audit(after))


@pytest.fixture
def bad_discs(guests: Guests, tmp_path: Path) -> Iterator[None]:
    """`web` sees them as folders of one disc at /mnt: `other` (another VM's), `altered`, `expired`."""
    now = effects.now()
    ensure_ca(WantedCa(tmp_path / "ca"), check=False, now=now - datetime.timedelta(hours=48))
    wanted = order(guests, tmp_path)
    folder = tmp_path / "discs"
    folder.mkdir()
    made = {
        "other": (replace(wanted, vm_uuid=guests.db.vm_uuid), now),
        "altered": (wanted, now),
        "expired": (wanted, now - datetime.timedelta(hours=30)),
    }
    for name, (wanted, moment) in made.items():
        wanted = replace(wanted, path=tmp_path / f"{name}.iso")
        ensure_iso(wanted, check=False, now=moment)
        unpacked(wanted.path, folder / name)
    agent = folder / "altered/agent/ngt_agent.pyz"
    agent.chmod(0o600)
    agent.write_bytes(agent.read_bytes()[:-1] + b"!")
    disc = tmp_path / "discs.iso"
    author = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "BAD_DISCS", "-R", "-o", str(disc), str(folder)]
    subprocess.run(author, check=True, capture_output=True)
    insert(guests.web, "cd0", disc)
    said(guests.web, "for i in $(seq 60); do d=$(blkid -L BAD_DISCS) && break; sleep 1; done; mount -o ro $d /mnt")
    yield
    said(guests.web, "umount /mnt")
    monitor(guests.web, "eject", id="cd0", force=True)


def test_bad_discs_are_refused_by_their_codes_and_nothing_is_installed(
    guests: Guests, ansible: Ansible, bad_discs: None
) -> None:
    codes = {"other": "DISC_OF_ANOTHER_VM", "altered": "DISC_INVALID", "expired": "DISC_EXPIRED"}
    tasks = [
        {"openngt.guest_tools.agent": {"source": f"/mnt/{name}"}, "become": True, "ignore_errors": True}
        for name in codes
    ]
    play = ansible.play(plays("web", *tasks)).succeeded()
    failures = play.failures("web")
    assert [failure["code"] for failure in failures] == list(codes.values()), play.output
    assert all(failure["remedy"] for failure in failures)
    assert "Traceback" not in play.output
    assert said(guests.web, "ls -d /usr/local/openngt /etc/systemd/system/ngt* || :") == ""


def test_a_vm_with_both_drives_full_says_what_each_holds(guests: Guests, client: Client, ansible: Ansible) -> None:
    mark = client.audit_page()["head"]["sequence"]
    insert(guests.db, "cd0", guests.users_disc)
    try:
        play = ansible.play(plays("db", on_service("vm", guests.db.vm_uuid), on_service("mount", guests.db.vm_uuid)))
    finally:
        monitor(guests.db, "eject", id="cd0", force=True)
    [failure] = play.failures("db")
    assert failure["code"] == "NO_EMPTY_DRIVE"
    for drive in ("cd0", "cd1"):
        assert f"{drive} holds {guests.users_disc}" in failure["msg"]
    assert issued(client, guests.db, mark) == 0, "nothing is issued for a disc that has no place"


def test_a_vm_that_is_off_is_said_to_be_off_before_anything_is_asked_of_it(guests: Guests, ansible: Ansible) -> None:
    folder = guests.lab.directory / "cold"
    folder.mkdir(exist_ok=True)
    write_vm_file(folder, VmFile("cold", str(uuid.uuid4()), folder / "nobody-listens.qmp"))
    try:
        play = ansible.play(plays("web", on_service("vm", "cold"), on_service("mount", "cold")))
    finally:
        shutil.rmtree(folder)
    [failure] = play.failures("web")
    assert (failure["code"], failure["msg"]) == ("VM_POWERED_OFF", "VM cold is off")
    assert failure["remedy"]


def test_of_two_runs_at_once_the_second_is_told_who_holds_the_vm_and_one_serial_is_issued(
    guests: Guests, client: Client, ansible: Ansible, tmp_path: Path
) -> None:
    vm, release, mark = guests.web.vm_uuid, tmp_path / "release", client.audit_page()["head"]["sequence"]
    wait = {
        "ansible.builtin.wait_for": {"path": str(release), "timeout": 300},
        "delegate_to": "localhost",
        "become": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
    }
    mounting = (on_service("vm", vm), on_service("mount", vm))
    first = ansible.start(plays("web", *mounting, wait, on_service("mount", vm, state="ejected")))
    try:
        until(lambda: bool(client.vms([vm]) and client.vms([vm])[0]["tools_iso_mounted"]), "the first run's mount")
        holder = client.vm(vm)["mount"]["holder"]
        second = ansible.play(plays("web", on_service("mount", vm)))
    finally:
        release.touch()
        output, _ = first.communicate()
    [failure] = second.failures("web")
    assert failure["code"] == "VM_BUSY"
    assert f"pid {first.pid} (ansible)" in holder
    assert failure["details"]["holder"] == holder and holder in failure["msg"]
    assert first.returncode == 0, output
    assert issued(client, guests.web, mark) == 1


def test_a_wrong_sudo_password_ends_the_run_with_nothing_done_in_the_guest(guests: Guests, ansible: Ansible) -> None:
    play = ansible.play("install", "--limit", "web", "-e", "ansible_become_password=not-the-one", user="operator")
    assert play.status != 0
    [failure] = play.failures("web")
    assert "sudo" in failure["msg"] or "password" in failure["msg"], failure
    assert "Traceback" not in play.output and "not-the-one" not in play.output
    assert said(guests.web, "ls -d /usr/local/openngt /run/openngt /mnt/nutanix || :") == ""
