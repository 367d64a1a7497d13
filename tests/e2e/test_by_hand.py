# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person does without Ansible, beyond the pages' examples: the disc's end is what these look at."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from openngt.client import Client
from openngt_service.lab.service_process import ServiceProcess, clean_environment
from openngt_service.lab.vm import LabVm

from .conftest import Guests
from .hands import PRESS_EJECT, drives, isos, mount, said, until

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("restored")]

OpenNGT = Callable[..., str]


@pytest.fixture
def openngt(service: ServiceProcess) -> OpenNGT:
    """`openngt(argument, …)` on the host of the service -> what it prints."""

    def run(*arguments: str) -> str:
        command = [str(service.program), "--state-dir", str(service.state), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean_environment())
        assert done.returncode == 0, done
        return done.stdout

    return run


def gone(service: ServiceProcess, client: Client, vm: LabVm, held: dict[str, Any]) -> bool:
    """Nothing of ours is left, and the drives hold what they held before."""
    record = client.vm(vm.vm_uuid)
    clear = record["mount"] is None and not record["tools_iso_mounted"]
    return clear and isos(service.state) == [] and drives(client, vm) == held


def test_the_installer_needs_no_arguments_and_the_disc_goes_by_itself(
    guests: Guests, service: ServiceProcess, client: Client, openngt: OpenNGT
) -> None:
    vm: LabVm = guests.db
    held = drives(client, vm)
    openngt("vm", "enable", "db")
    openngt("vm", "mount", "db")
    until(lambda: vm.ssh("blkid -L NUTANIX_TOOLS").stdout.strip() == "/dev/sr0", "the disc's label")
    said(vm, "sudo mount -o ro /dev/sr0 /mnt", user="admin")
    told = said(vm, "sudo python3 /mnt/installer/linux/install_ngt.py", user="admin")
    assert "Platform type is: x86_64" in told
    assert "Unmounted /mnt; the disc can be ejected." in told
    until(lambda: gone(service, client, vm, held), "the disc's end")
    record = client.vm(vm.vm_uuid)
    assert record["communication_link_active"] and record["certificate"]["kind"] == "link", record
    assert "db" in openngt("vm", "list")


def test_a_person_who_ejects_the_disc_in_the_guest_is_noticed(
    guests: Guests, service: ServiceProcess, client: Client
) -> None:
    held = drives(client, guests.web)
    mount(client, guests.web)
    assert isos(service.state) == [f"{guests.web.vm_uuid}.iso"]
    said(guests.web, "umount /mnt; udevadm settle")

    def pressed_and_noticed() -> bool:
        """Whatever opens the device at that moment, udev among others, pulls the tray in again: people press twice."""
        if drives(client, guests.web) != held:
            said(guests.web, PRESS_EJECT)
        return gone(service, client, guests.web, held)

    until(pressed_and_noticed, "the end of the mount")
