# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies and snapshots by real QEMU processes and qemu-img: what is in the disks is compared byte by byte."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt_service.hypervisors.base import Described
from openngt_service.hypervisors.qemu import QemuHypervisor
from openngt_service.hypervisors.qemu_clone import card_address, rewritten
from openngt_service.hypervisors.vm_files import VmFile, read_vm_file

from .conftest import QEMU

CARD = "52:54:00:12:34:56"


def img(*arguments: str) -> str:
    return subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, text=True).stdout


def write(disk: Path, pattern: str) -> None:
    """A pattern in the first 64 KiB, by QEMU's own tool."""
    subprocess.run(["qemu-io", "-c", f"write -P {pattern} 0 64k", str(disk)], check=True, capture_output=True)


def holds(disk: Path, pattern: str) -> bool:
    done = subprocess.run(
        ["qemu-io", "-r", "-c", f"read -P {pattern} 0 64k", str(disk)], capture_output=True, text=True
    )
    return done.returncode == 0 and "Pattern verification failed" not in done.stdout


class Parent:
    """`web1`: a disk that is an overlay of an image, a network card, a forwarded port, a key beside its description."""

    def __init__(self, directory: Path, sockets: Path) -> None:
        self.directory, self.folder = directory, directory / "web1"
        self.folder.mkdir()
        self.vm_uuid = str(uuid.uuid4())
        self.image, self.disk, self.qmp = directory.parent / "image.raw", self.folder / "disk.qcow2", sockets / "a.qmp"
        img("create", "-q", "-f", "raw", str(self.image), "1M")
        img("create", "-q", "-f", "qcow2", "-b", str(self.image), "-F", "raw", str(self.disk))
        write(self.disk, "1")
        (self.folder / "key").write_text("the VM's", encoding="ascii")
        start = [QEMU, "-name", "web1", "-uuid", self.vm_uuid, "-S", "-accel", "tcg", "-m", "32"]
        start += ["-nodefaults", "-no-user-config", "-display", "none", "-daemonize", "-pidfile", "qemu.pid"]
        start += ["-drive", f"if=virtio,format=qcow2,file={self.disk}"]
        start += ["-device", "virtio-scsi-pci", "-device", "scsi-cd,id=cd0"]
        start += ["-netdev", "user,id=n,hostfwd=tcp:127.0.0.1:0-:22", "-device", f"virtio-net-pci,netdev=n,mac={CARD}"]
        start += ["-fw_cfg", f"name=opt/key,file={self.folder / 'key'}"]
        start += [
            "-qmp",
            f"unix:{self.qmp},server=on,wait=off",
            "-serial",
            f"unix:{sockets / 'a.serial'},server=on,wait=off",
        ]
        self.description = {
            "vm_name": "web1",
            "vm_uuid": self.vm_uuid,
            "qmp": str(self.qmp),
            "serial": str(sockets / "a.serial"),
            "disk": str(self.disk),
            "start": start,
        }
        self.describe()

    def describe(self, **changes: Any) -> None:
        fields = {name: value for name, value in {**self.description, **changes}.items() if value is not None}
        (self.folder / "vm.json").write_text(json.dumps(fields), encoding="utf-8")


@pytest.fixture
def adapter(sockets: Path) -> Iterator[QemuHypervisor]:
    """In a short folder: a clone's sockets lie in its own. Whatever was started there is ended."""
    if shutil.which("qemu-img") is None:
        pytest.fail("qemu-img is not installed: make system-packages")
    directory = sockets / "vms"
    directory.mkdir()
    yield QemuHypervisor(directory, answer_seconds=10, process_seconds=20)
    for path in directory.glob("*/qemu.pid"):
        os.kill(int(path.read_text(encoding="ascii")), signal.SIGKILL)


@pytest.fixture
def parent(adapter: QemuHypervisor, sockets: Path) -> Parent:
    return Parent(sockets / "vms", sockets)


def do(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def refused(work: Coroutine[Any, Any, Any]) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        asyncio.run(work)
    return caught.value


@pytest.mark.parametrize("state", ["off", "on"])
def test_a_clone_is_another_vm_with_the_same_disk(adapter: QemuHypervisor, parent: Parent, state: str) -> None:
    if state == "on":
        do(adapter.power(parent.vm_uuid, "on"))
    vm_uuid = do(adapter.clone(parent.vm_uuid, "web1-copy"))
    copy = read_vm_file(parent.directory / "web1-copy/vm.json")
    assert (copy.vm_uuid, copy.vm_name, copy.cloned_from) == (vm_uuid, "web1-copy", parent.vm_uuid)
    assert vm_uuid != parent.vm_uuid and copy.disk is not None and holds(copy.disk, "1")
    assert json.loads(img("info", "--output=json", str(copy.disk)))["full-backing-filename"] == str(parent.image)
    words = " ".join(copy.start)
    for parents in (parent.vm_uuid, str(parent.folder) + "/", str(parent.qmp), CARD):
        assert parents not in words
    assert vm_uuid in words and card_address(vm_uuid, 0) in words and "-name web1-copy" in words
    assert (parent.directory / "web1-copy/key").read_text(encoding="ascii") == "the VM's"

    do(adapter.power(vm_uuid, "on"))
    [seen] = do(adapter.find("web1-copy"))
    assert (seen.power_state, seen.cloned_from) == ("paused", parent.vm_uuid), "-S: it runs"
    assert [(drive.name, drive.state) for drive in seen.drives] == [("cd0", "empty")]
    assert do(adapter.described()) == [
        Described(parent.vm_uuid, "web1"),
        Described(vm_uuid, "web1-copy", parent.vm_uuid),
    ]
    if state == "off":
        write(parent.disk, "2")
        assert do(adapter.find("web1"))[0].power_state == "off", "neither is the other"
    else:
        assert do(adapter.find("web1"))[0].power_state == "paused"


def test_what_the_service_has_put_into_the_parents_drive_is_not_in_the_clones(
    adapter: QemuHypervisor, parent: Parent, iso: Path
) -> None:
    do(adapter.power(parent.vm_uuid, "on"))
    do(adapter.insert(parent.vm_uuid, "cd0", iso))
    vm_uuid = do(adapter.clone(parent.vm_uuid, "web1-copy"))
    do(adapter.power(vm_uuid, "on"))
    assert do(adapter.find(vm_uuid))[0].drives[0].state == "empty"
    assert do(adapter.find(parent.vm_uuid))[0].drives[0].holds == str(iso)


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"disk": None}, "DISK_UNSUPPORTED", "no field disk"),
        ({"start": None}, "DISK_UNSUPPORTED", "no field start"),
        ({"start": [QEMU, "-uuid", "another"]}, "DISK_UNSUPPORTED", "does not name its UUID"),
    ],
)
def test_what_cannot_be_cloned_is_said_before_anything_is_made(
    adapter: QemuHypervisor, parent: Parent, changes: dict[str, Any], code: str, named: str
) -> None:
    parent.describe(**changes)
    error = refused(adapter.clone(parent.vm_uuid, "web1-copy"))
    assert error.code == code and named in error.message and error.details["adapter"] == "qemu"
    assert not (parent.directory / "web1-copy").exists()


@pytest.mark.parametrize("name", ["web1", "../web2", "", "web 1"])
def test_a_name_that_is_taken_or_none_is_refused(adapter: QemuHypervisor, parent: Parent, name: str) -> None:
    assert refused(adapter.clone(parent.vm_uuid, name)).code == "INVALID_INPUT"
    assert [path.name for path in parent.directory.iterdir()] == ["web1"]


def test_a_copy_that_fails_leaves_nothing(adapter: QemuHypervisor, parent: Parent) -> None:
    parent.disk.write_bytes(b"no disk at all, but a description that says so" * 100)
    parent.image.unlink()
    parent.disk.unlink()
    assert refused(adapter.clone(parent.vm_uuid, "web1-copy")).code == "HYPERVISOR_FAILED"
    assert [path.name for path in parent.directory.iterdir()] == ["web1"]


@pytest.mark.parametrize("state", ["off", "on"])
def test_a_disk_is_put_back_to_its_snapshot_when_the_vm_is_off(
    adapter: QemuHypervisor, parent: Parent, state: str
) -> None:
    if state == "on":
        do(adapter.power(parent.vm_uuid, "on"))
    do(adapter.snapshot(parent.vm_uuid, "before"))
    assert refused(adapter.snapshot(parent.vm_uuid, "before")).code == "INVALID_INPUT"
    if state == "on":
        assert refused(adapter.revert(parent.vm_uuid, "before")).code == "VM_POWERED_ON"
        do(adapter.power(parent.vm_uuid, "off"))
    write(parent.disk, "2")
    error = refused(adapter.revert(parent.vm_uuid, "after"))
    assert (error.code, error.details["snapshots"]) == ("NOT_FOUND", ["before"])
    assert holds(parent.disk, "2")
    do(adapter.revert(parent.vm_uuid, "before"))
    assert holds(parent.disk, "1")
    vm_uuid = do(adapter.clone(parent.vm_uuid, "web1-copy"))
    assert refused(adapter.revert(vm_uuid, "before")).code == "NOT_FOUND", "snapshots are the parent's"


@pytest.mark.parametrize("state", ["off", "on"])
def test_a_raw_disk_is_cloned_as_such_and_has_no_snapshots(adapter: QemuHypervisor, parent: Parent, state: str) -> None:
    raw = parent.folder / "disk.raw"
    img("convert", "-O", "raw", str(parent.disk), str(raw))
    drive = f"if=virtio,format=raw,file={raw}"
    start = [drive if word.startswith("if=virtio") else word for word in parent.description["start"]]
    parent.describe(disk=str(raw), start=start)
    if state == "on":
        do(adapter.power(parent.vm_uuid, "on"))
    error = refused(adapter.snapshot(parent.vm_uuid, "before"))
    assert error.code == "DISK_UNSUPPORTED" and "only qcow2" in error.message
    vm_uuid = do(adapter.clone(parent.vm_uuid, "web1-copy"))
    copy = parent.directory / "web1-copy/disk.raw"
    assert copy.read_bytes()[:65536] == bytes([1]) * 65536, "raw, as its start command says"
    do(adapter.power(vm_uuid, "on"))


def test_a_card_without_an_address_is_given_one_and_ports_of_the_host_are_others(tmp_path: Path) -> None:
    folder = tmp_path / "web1"
    start = ("q", "-uuid", "U", "-drive", f"file={folder}/d", "-nic", "none", "-device", "e1000,netdev=n")
    start += ("-netdev", "user,id=n,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp::53-:53")
    parent = VmFile("web1", "U", folder / "qmp", start, disk=folder / "d", path=folder / "vm.json")
    new = tmp_path / "copy"
    copy = VmFile("copy", "0" * 30 + "abcdef", new / "qmp", disk=new / "d")
    words = rewritten(parent, copy, [4000, 4001])
    assert f"e1000,netdev=n,mac={card_address(copy.vm_uuid, 0)}" in words and "none" in words
    assert "user,id=n,hostfwd=tcp:127.0.0.1:4000-:22,hostfwd=udp::4001-:53" in words
    assert f"file={new}/d" in words
