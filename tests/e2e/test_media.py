# SPDX-License-Identifier: GPL-3.0-or-later
"""What a real guest sees of a media change, and what it can do to stop one."""

import asyncio
import subprocess
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt_service.hypervisors.base import Drive
from openngt_service.hypervisors.qemu import QemuHypervisor
from openngt_service.lab.vm import LabVm

from .conftest import Guests
from .hands import PRESS_EJECT, said, until

pytestmark = pytest.mark.guest


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """Authored by an independent tool, so that only the media change is under test."""
    (tmp_path / "hello.txt").write_text("from the host", encoding="ascii")
    path = tmp_path / "tools.iso"
    author = ["xorriso", "-as", "mkisofs", "-quiet", "-V", "NUTANIX_TOOLS", "-J", "-R", "-o", str(path)]
    subprocess.run([*author, "-graft-points", f"hello.txt={tmp_path / 'hello.txt'}"], check=True, capture_output=True)
    return path


def do(action: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(action)


def label_device(vm: LabVm) -> str:
    return vm.ssh("blkid -L NUTANIX_TOOLS").stdout.strip()


@pytest.fixture
def inserted(guests: Guests, adapter: QemuHypervisor, disc: Path) -> Any:
    """The disc is in `web`'s first drive and the guest has seen it; in the end it is out, whatever the test did."""
    do(adapter.insert(guests.web.vm_uuid, "cd0", disc))
    until(lambda: label_device(guests.web) == "/dev/sr0")
    yield disc
    guests.web.ssh("umount /mnt 2>/dev/null; systemctl start systemd-udevd.service")
    do(adapter.eject(guests.web.vm_uuid, "cd0", disc, force=True))


def test_the_guest_reads_an_inserted_disc_and_loses_it_after_unmount_and_eject(
    guests: Guests, adapter: QemuHypervisor, inserted: Path
) -> None:
    assert said(guests.web, "mount -o ro /dev/sr0 /mnt && cat /mnt/hello.txt && umount /mnt") == "from the host"
    assert do(adapter.eject(guests.web.vm_uuid, "cd0", inserted)) is True
    until(lambda: label_device(guests.web) == "")
    assert do(adapter.find("web"))[0].drives == (Drive("cd0", "empty"), Drive("cd1", "empty"))


def test_a_loaded_drive_is_locked_by_the_guest_and_yet_ejected_without_force(
    guests: Guests, adapter: QemuHypervisor, inserted: Path
) -> None:
    assert said(guests.web, "cat /proc/sys/dev/cdrom/lock") == "1"
    assert do(adapter.eject(guests.web.vm_uuid, "cd0", inserted)) is True


def test_a_guest_that_does_not_let_go_is_named_and_force_takes_the_disc(guests: Guests, inserted: Path) -> None:
    hasty = QemuHypervisor(guests.lab.directory, answer_seconds=20, release_seconds=3)
    said(guests.web, "systemctl stop systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket")
    said(guests.web, "mount -o ro /dev/sr0 /mnt")
    with pytest.raises(OpenNGTError) as caught:
        do(hasty.eject(guests.web.vm_uuid, "cd0", inserted))
    assert caught.value.code == "DRIVE_LOCKED"
    assert do(hasty.find("web"))[0].drives[0].holds == str(inserted)
    assert do(hasty.eject(guests.web.vm_uuid, "cd0", inserted, force=True)) is True
    assert do(hasty.find("web"))[0].drives[0] == Drive("cd0", "empty")


def test_a_person_who_ejects_in_the_guest_leaves_a_drive_that_can_be_emptied(
    guests: Guests, adapter: QemuHypervisor, inserted: Path
) -> None:
    said(guests.web, PRESS_EJECT)
    assert do(adapter.find("web"))[0].drives[0] == Drive("cd0", "tray_open", str(inserted))
    assert do(adapter.eject(guests.web.vm_uuid, "cd0", inserted)) is True
    assert do(adapter.find("web"))[0].drives[0] == Drive("cd0", "empty")


def test_the_users_disc_beside_ours_is_left_alone(guests: Guests, adapter: QemuHypervisor, disc: Path) -> None:
    users = Drive("cd1", "loaded", str(guests.users_disc))
    assert do(adapter.find("db"))[0].drives == (Drive("cd0", "empty"), users)
    do(adapter.insert(guests.db.vm_uuid, "cd0", disc))
    until(lambda: label_device(guests.db) == "/dev/sr0")
    assert do(adapter.eject(guests.db.vm_uuid, "cd0", disc)) is True
    assert do(adapter.eject(guests.db.vm_uuid, "cd1", disc, force=True)) is False
    assert do(adapter.find("db"))[0].drives[1] == users


def test_the_guest_knows_the_uuid_that_the_adapter_tells(guests: Guests, adapter: QemuHypervisor) -> None:
    for vm in (guests.web, guests.db):
        assert said(vm, "cat /sys/class/dmi/id/product_uuid").lower() == do(adapter.find(vm.name))[0].vm_uuid
        assert said(vm, "hostname") == vm.name


def test_the_guests_people_are_as_described(guests: Guests) -> None:
    assert guests.web.ssh("sudo -n id -u", user="admin").stdout.strip() == "0"
    assert guests.web.ssh("sudo -n id -u", user="operator").returncode != 0
    password = guests.lab.operator_password.read_text(encoding="ascii")
    done = subprocess.run(
        guests.web.target.command("operator", "sudo -S id -u"),
        input=password + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "0", done.stderr
