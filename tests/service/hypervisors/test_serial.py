# SPDX-License-Identifier: GPL-3.0-or-later
"""Serial ports of real QEMU processes: described, missing, added, and there after a full stop and start."""

import asyncio
import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt_service.hypervisors.base import SerialChannel
from openngt_service.hypervisors.qemu import QemuHypervisor
from openngt_service.hypervisors.vm_files import VmFiles

from .conftest import Machine

Start = Callable[..., Machine]


@pytest.fixture
def adapter(directory: Path) -> QemuHypervisor:
    return QemuHypervisor(directory, answer_seconds=10, release_seconds=2)


def description(directory: Path) -> Path:
    [path] = directory.glob("*/vm.json")
    return path


def change(directory: Path, **fields: str) -> None:
    path = description(directory)
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}), encoding="utf-8")


def port_of(adapter: QemuHypervisor, machine: Machine) -> str:
    [vm] = asyncio.run(adapter.find(machine.vm_uuid))
    return vm.serial_port


def test_a_vm_has_the_ports_that_its_description_names_and_its_process_has(
    adapter: QemuHypervisor, start: Start, directory: Path, sockets: Path
) -> None:
    serial, virtio = sockets / "one.serial", sockets / "one.virtio"
    arguments = ["-serial", "null", "-serial", f"unix:{serial},server=on,wait=off"]
    machine = start("web1", *arguments)
    assert port_of(adapter, machine) == "none"
    change(directory, serial=str(serial))
    assert port_of(adapter, machine) == "ready"
    change(directory, virtio_port=str(virtio))
    channels = asyncio.run(adapter.serial_channels())
    assert channels == {machine.vm_uuid: (SerialChannel("virtio", virtio), SerialChannel("serial", serial))}


def test_a_port_is_added_to_the_description_and_there_after_a_full_stop_and_start(
    adapter: QemuHypervisor, start: Start, directory: Path
) -> None:
    machine = start("web1")
    change(directory, of_the_user="stays")
    assert asyncio.run(adapter.add_serial_channel(machine.vm_uuid))
    assert not asyncio.run(adapter.add_serial_channel(machine.vm_uuid)), "it has one now"
    assert port_of(adapter, machine) == "needs_full_stop_and_start"
    written = json.loads(description(directory).read_text())
    assert written["of_the_user"] == "stays"
    machine.stop()
    assert port_of(adapter, machine) == "ready", "its next start brings it"


def test_a_path_that_no_socket_can_have_is_refused(adapter: QemuHypervisor, start: Start, directory: Path) -> None:
    machine = start("web1")
    change(directory, qmp="/tmp/" + "x" * 110 + "/a.qmp")
    with pytest.raises(OpenNGTError) as caught:
        asyncio.run(adapter.add_serial_channel(machine.vm_uuid))
    assert caught.value.code == "HYPERVISOR_FAILED"


def test_descriptions_are_read_again_only_when_they_changed(
    directory: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("web1")
    files = VmFiles(directory)
    before = files.list()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("read again"))
    assert files.list() == before
    monkeypatch.undo()
    change(directory, vm_name="another")
    assert [vm.vm_name for vm in files.list()] == ["another"]


def test_a_description_that_cannot_be_read_now_is_neither_forgotten_nor_given_up(
    directory: Path, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    start("web1")
    files = VmFiles(directory)
    before = files.list()
    path = description(directory)
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    assert files.list() == before == files.list()
    assert capsys.readouterr().out.count("vm_file_unreadable") == 1
    path.rmdir()
    path.write_bytes(content)
    change(directory, vm_name="another")
    assert [vm.vm_name for vm in files.list()] == ["another"]


def test_without_a_file_descriptor_left_the_hypervisor_fails_for_that_moment(directory: Path, start: Start) -> None:
    start("web1")
    files = VmFiles(directory)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        with pytest.raises(OpenNGTError) as caught:
            files.list()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.code == "HYPERVISOR_FAILED"
    assert [vm.vm_name for vm in files.list()] == ["web1"]
