# SPDX-License-Identifier: GPL-3.0-or-later
"""Switching real QEMU processes on and off. Their CPUs may never start: what counts is the process and its events."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt.errors import OpenNGTError
from openngt_service.hypervisors.base import HypervisorVm
from openngt_service.hypervisors.qemu import QemuHypervisor
from openngt_service.hypervisors.qmp import open_qmp

from .conftest import QEMU, Machine, describe

Start = Callable[..., Machine]


@pytest.fixture
def adapter(directory: Path) -> QemuHypervisor:
    return QemuHypervisor(directory, answer_seconds=10, process_seconds=20)


class Described:
    """A VM that the adapter itself can start: a daemon, known by the pid file beside its description."""

    def __init__(self, directory: Path, sockets: Path, *options: str, command: list[str] | None = None) -> None:
        self.vm_uuid = str(uuid.uuid4())
        self.folder = directory / "web1"
        self.qmp = sockets / "web1.qmp"
        start = [QEMU, "-accel", "tcg", "-m", "32", "-nodefaults", "-no-user-config", "-display", "none", *options]
        start += ["-uuid", self.vm_uuid, "-qmp", f"unix:{self.qmp},server=on,wait=off"]
        start += ["-daemonize", "-pidfile", "qemu.pid"]
        self.folder.mkdir()
        self.write({"start": start if command is None else command})

    def write(self, fields: dict[str, Any]) -> None:
        known = {"vm_name": "web1", "vm_uuid": self.vm_uuid, "qmp": str(self.qmp)}
        (self.folder / "vm.json").write_text(json.dumps({**known, **fields}), encoding="utf-8")

    @property
    def pid(self) -> int | None:
        try:
            return int((self.folder / "qemu.pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None


@pytest.fixture
def describe_vm(directory: Path, sockets: Path) -> Iterator[Callable[..., Described]]:
    if shutil.which(QEMU) is None:
        pytest.fail(f"{QEMU} is not installed: make system-packages")
    made: list[Described] = []

    def make(*options: str, command: list[str] | None = None) -> Described:
        made.append(Described(directory, sockets, *options, command=command))
        return made[-1]

    yield make
    for vm in made:
        if vm.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(vm.pid, signal.SIGKILL)


def do(action: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(action)


def failure(action: Coroutine[Any, Any, Any]) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        asyncio.run(action)
    return caught.value


def seen(adapter: QemuHypervisor) -> HypervisorVm:
    [vm] = do(adapter.list_vms())
    assert isinstance(vm, HypervisorVm)
    return vm


async def adapter_asks(vm: Described, command: str, **arguments: str) -> None:
    """On the adapter's own monitor, between its conversations."""
    async with open_qmp(vm.qmp, "web1", 10) as qmp:
        assert qmp is not None
        await qmp.execute(command, **arguments)


def runs(pid: int) -> bool:
    """A container's init may leave a process unreaped; that has ended all the same."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def until_state(adapter: QemuHypervisor, state: str) -> None:
    deadline = time.monotonic() + 20
    while seen(adapter).power_state != state:
        assert time.monotonic() < deadline, seen(adapter)
        time.sleep(0.05)


def test_on_starts_the_process_and_off_returns_when_it_is_gone(
    adapter: QemuHypervisor, describe_vm: Callable[..., Described]
) -> None:
    vm = describe_vm()
    for _ in range(3):  # again at once: the old process holds neither pid file nor socket
        do(adapter.power(vm.vm_uuid, "on"))
        pid = vm.pid
        assert pid is not None and seen(adapter).power_state == "on"
        do(adapter.power(vm.vm_uuid, "on"))
        assert vm.pid == pid, "on a VM that is on, nothing is started"
        do(adapter.power(vm.vm_uuid, "off"))
        assert not runs(pid)
        assert seen(adapter).power_state == "off"
        do(adapter.power(vm.vm_uuid, "off"))


CD = ("-device", "virtio-scsi-pci", "-device", "scsi-cd,id=cd0")


def test_a_vm_that_is_off_starts_with_a_disc_in_its_drive_and_its_processors_run(
    adapter: QemuHypervisor, describe_vm: Callable[..., Described], tmp_path: Path
) -> None:
    iso = tmp_path / "disc.iso"
    iso.write_bytes(bytes(64 * 2048))
    vm = describe_vm(*CD)
    assert do(adapter.start_with(vm.vm_uuid, iso)) == "cd0"
    first = seen(adapter)
    assert (first.power_state, first.drives[0].holds, first.drives[0].state) == ("on", str(iso), "loaded")
    assert failure(adapter.start_with(vm.vm_uuid, iso)).code == "VM_POWERED_ON"
    do(adapter.power(vm.vm_uuid, "off"))
    assert seen(adapter).drives == ()
    do(adapter.power(vm.vm_uuid, "on"))
    again = seen(adapter)
    assert again.drives[0].state == "empty" and again.run != first.run, "another process, and its drives are empty"


def test_a_vm_that_has_no_drive_for_the_disc_is_off_again(
    adapter: QemuHypervisor, describe_vm: Callable[..., Described], tmp_path: Path
) -> None:
    users, iso = tmp_path / "users.iso", tmp_path / "disc.iso"
    for path in (users, iso):
        path.write_bytes(bytes(64 * 2048))
    vm = describe_vm(*CD[:2], "-drive", f"if=none,id=users,format=raw,readonly=on,file={users}")
    start = json.loads((vm.folder / "vm.json").read_text())["start"]
    vm.write({"start": [*start, "-device", "scsi-cd,id=cd0,drive=users"]})
    refused = failure(adapter.start_with(vm.vm_uuid, iso))
    assert refused.code == "NO_EMPTY_DRIVE" and str(users) in refused.message
    assert seen(adapter).power_state == "off"
    vm.write({"start": start})
    assert "no CD-ROM drive" in failure(adapter.start_with(vm.vm_uuid, iso)).message


def test_reset_returns_when_qemu_has_told_of_it(adapter: QemuHypervisor, describe_vm: Callable[..., Described]) -> None:
    vm = describe_vm()
    do(adapter.power(vm.vm_uuid, "on"))
    pid = vm.pid
    do(adapter.power(vm.vm_uuid, "reset"))
    assert vm.pid == pid and seen(adapter).power_state == "on"


def test_a_reset_that_ends_the_process_is_named(adapter: QemuHypervisor, describe_vm: Callable[..., Described]) -> None:
    vm = describe_vm("-no-reboot")
    do(adapter.power(vm.vm_uuid, "on"))
    failed = failure(adapter.power(vm.vm_uuid, "reset"))
    assert failed.code == "HYPERVISOR_FAILED" and "-no-reboot" in failed.message
    until_state(adapter, "off")


def test_with_no_shutdown_the_machine_goes_off_in_its_process_and_on_again(
    adapter: QemuHypervisor, describe_vm: Callable[..., Described]
) -> None:
    vm = describe_vm("-no-shutdown")
    do(adapter.power(vm.vm_uuid, "on"))
    pid = vm.pid
    # What a guest does that powers itself off: here it is the reset that ends the machine.
    do(adapter_asks(vm, "set-action", reboot="shutdown"))
    assert failure(adapter.power(vm.vm_uuid, "reset")).details["outcome"] == "off"
    until_state(adapter, "off")
    assert failure(adapter.power(vm.vm_uuid, "reset")).code == "VM_POWERED_OFF"
    do(adapter_asks(vm, "set-action", reboot="reset"))
    do(adapter.power(vm.vm_uuid, "on"))
    assert (seen(adapter).power_state, vm.pid) == ("on", pid)


def test_the_button_is_pressed_even_if_nobody_listens(
    adapter: QemuHypervisor, describe_vm: Callable[..., Described]
) -> None:
    vm = describe_vm()
    do(adapter.power(vm.vm_uuid, "on"))
    do(adapter.power(vm.vm_uuid, "shutdown"))
    assert seen(adapter).power_state == "on", "a machine without an operating system ignores it"


@pytest.mark.parametrize("action", ["shutdown", "reset"])
def test_a_vm_that_is_off_has_no_buttons(
    adapter: QemuHypervisor, describe_vm: Callable[..., Described], action: Any
) -> None:
    assert failure(adapter.power(describe_vm().vm_uuid, action)).code == "VM_POWERED_OFF"


def test_a_vm_without_a_start_command_says_so_before_anybody_asks(adapter: QemuHypervisor, start: Start) -> None:
    machine = start("web1")
    assert "has no field start" in seen(adapter).cannot["on"]
    do(adapter.power(machine.vm_uuid, "off"))
    assert machine.process.wait(PATIENCE_SECONDS) == 0
    refused = failure(adapter.power(machine.vm_uuid, "on"))
    assert refused.code == "POWER_UNSUPPORTED" and "has no field start" in refused.details["reason"]


def test_a_description_that_others_may_write_starts_nothing(
    adapter: QemuHypervisor, describe_vm: Callable[..., Described], tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    vm = describe_vm(command=["touch", str(marker)])
    (vm.folder / "vm.json").chmod(0o666)
    refused = failure(adapter.power(vm.vm_uuid, "on"))
    assert refused.code == "POWER_UNSUPPORTED" and "chmod go-w" in refused.message
    assert not marker.exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["sh", "-c", "echo no disk >&2; exit 3"], "status 3: no disk"),
        (["/no/such/program"], "No such file"),
        (["sleep", "60"], "did not return within 0.3 s"),
    ],
)
def test_a_start_command_that_fails_says_why(
    directory: Path, describe_vm: Callable[..., Described], command: list[str], said: str
) -> None:
    vm = describe_vm(command=command)
    failed = failure(QemuHypervisor(directory, process_seconds=0.3).power(vm.vm_uuid, "on"))
    assert failed.code == "HYPERVISOR_FAILED" and said in failed.message
    assert failed.details["program"] == command[0], "its arguments may hold a secret"


def test_the_start_command_gets_the_folder_and_none_of_our_settings(
    adapter: QemuHypervisor, describe_vm: Callable[..., Described], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENNGT_DATABASE_URL", "postgresql://me:secret@db/ngt")
    vm = describe_vm(command=["sh", "-c", "env > environment"])
    do(adapter.power(vm.vm_uuid, "on"))
    assert "OPENNGT_" not in (vm.folder / "environment").read_text(encoding="utf-8")


def test_a_start_that_is_no_list_of_words_is_named_and_the_vm_left_out(
    adapter: QemuHypervisor, directory: Path
) -> None:
    fields: dict[str, Any] = {"vm_name": "bad", "vm_uuid": str(uuid.uuid4()), "qmp": "x", "start": "qemu -m 1"}
    describe(directory, "bad", **fields)
    assert do(adapter.list_vms()) == []
