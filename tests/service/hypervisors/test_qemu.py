# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter against real QEMU processes."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt_service.hypervisors import open_hypervisor
from openngt_service.hypervisors.base import Drive
from openngt_service.hypervisors.qemu import QemuHypervisor, node_of

from .conftest import Machine, describe

Start = Callable[..., Machine]


@pytest.fixture
def adapter(directory: Path) -> QemuHypervisor:
    return QemuHypervisor(directory, answer_seconds=10, release_seconds=2)


def failure(action: Coroutine[Any, Any, Any]) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        asyncio.run(action)
    return caught.value


def test_settings_choose_the_adapter(directory: Path) -> None:
    chosen = open_hypervisor(SimpleNamespace(hypervisor="qemu", qemu_directory=directory))
    assert chosen.name == "qemu"
    assert asyncio.run(chosen.list_vms()) == []


def test_an_unknown_adapter_is_refused_by_name(directory: Path) -> None:
    with pytest.raises(OpenNGTError, match=r"'bochs' is unknown; known: qemu") as caught:
        open_hypervisor(SimpleNamespace(hypervisor="bochs", qemu_directory=directory))
    assert caught.value.code == "CONFIG_INVALID"


def test_lists_vms_by_name_with_power_and_drives(adapter: QemuHypervisor, start: Start, directory: Path) -> None:
    second, first = start("web2"), start("web1")
    describe(directory, "gone", vm_name="old", vm_uuid="11111111-2222-3333-4444-555555555555", qmp="no.socket")
    vms = asyncio.run(adapter.list_vms())
    assert [(vm.vm_name, vm.vm_uuid, vm.power_state) for vm in vms] == [
        ("old", "11111111-2222-3333-4444-555555555555", "off"),
        ("web1", first.vm_uuid, "paused"),
        ("web2", second.vm_uuid, "paused"),
    ]
    assert vms[1].drives == (Drive("cd0", "empty"), Drive("cd1", "empty"))


def test_a_running_vm_is_on(adapter: QemuHypervisor, start: Start) -> None:
    machine = start("web1")
    asyncio.run(machine.ask("cont"))
    assert [vm.power_state for vm in asyncio.run(adapter.list_vms())] == ["on"]


def test_finds_by_uuid_in_any_case_by_name_and_all_that_share_a_name(adapter: QemuHypervisor, start: Start) -> None:
    one, other = start("twin"), start("twin")
    found = asyncio.run(adapter.find("twin"))
    assert {vm.vm_uuid for vm in found} == {one.vm_uuid, other.vm_uuid}
    assert [vm.vm_uuid for vm in asyncio.run(adapter.find(one.vm_uuid.upper()))] == [one.vm_uuid]
    assert asyncio.run(adapter.find("twi")) == []


def test_a_hard_disk_and_a_floppy_are_no_cdrom_drives(adapter: QemuHypervisor, start: Start, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    start("web1", "-drive", f"file={disk},format=raw,if=virtio", "-device", "isa-fdc", "-device", "floppy")
    assert [drive.name for drive in asyncio.run(adapter.list_vms())[0].drives] == ["cd0", "cd1"]


def test_a_drive_without_an_id_is_usable_by_its_path(
    adapter: QemuHypervisor, start: Start, tmp_path: Path, iso: Path
) -> None:
    machine = start("web1", "-device", "scsi-cd")
    [name] = [drive.name for drive in asyncio.run(adapter.list_vms())[0].drives if drive.name.startswith("/machine/")]
    asyncio.run(adapter.insert(machine.vm_uuid, name, iso))
    assert asyncio.run(adapter.eject(machine.vm_uuid, name, iso)) is True


def test_insert_and_eject_again_and_again(adapter: QemuHypervisor, start: Start, iso: Path) -> None:
    machine = start("web1")
    for _ in range(3):
        asyncio.run(adapter.insert(machine.vm_uuid, "cd1", iso))
        assert asyncio.run(machine.media()) == {"cd0": None, "cd1": str(iso)}
        assert asyncio.run(adapter.find("web1"))[0].drives[1] == Drive("cd1", "loaded", str(iso))
        assert asyncio.run(adapter.eject(machine.vm_uuid, "cd1", iso)) is True
        assert asyncio.run(machine.media()) == {"cd0": None, "cd1": None}
        assert asyncio.run(adapter.find("web1"))[0].drives[1] == Drive("cd1", "empty")


def files_in(opened: Path) -> list[Path]:
    """What a process has open, by its folder in /proc; it opens and closes others while we read."""
    found = []
    for link in opened.iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(link.readlink())
    return found


def test_the_file_is_free_after_an_eject(adapter: QemuHypervisor, start: Start, iso: Path) -> None:
    machine = start("web1")
    asyncio.run(adapter.insert(machine.vm_uuid, "cd0", iso))
    opened = Path(f"/proc/{machine.process.pid}/fd")
    assert iso in files_in(opened)
    asyncio.run(adapter.eject(machine.vm_uuid, "cd0", iso))
    assert iso not in files_in(opened)


def test_the_medium_is_read_only(adapter: QemuHypervisor, start: Start, iso: Path) -> None:
    machine = start("web1")
    asyncio.run(adapter.insert(machine.vm_uuid, "cd0", iso))
    blocks = asyncio.run(machine.ask("query-block"))
    assert [block["inserted"]["ro"] for block in blocks if "inserted" in block] == [True]


def test_a_users_disc_is_neither_replaced_nor_ejected(
    adapter: QemuHypervisor, start: Start, tmp_path: Path, iso: Path
) -> None:
    users = tmp_path / "users.iso"
    users.write_bytes(bytes(2048))
    machine = start("web1")
    asyncio.run(machine.ask("blockdev-change-medium", id="cd0", filename=str(users), format="raw"))
    error = failure(adapter.insert(machine.vm_uuid, "cd0", iso))
    assert error.code == "DRIVE_BUSY"
    assert error.details["drives"] == [{"name": "cd0", "state": "loaded", "holds": str(users)}]
    assert asyncio.run(adapter.eject(machine.vm_uuid, "cd0", iso, force=True)) is False
    assert asyncio.run(machine.media())["cd0"] == str(users)


def test_an_open_tray_with_a_disc_in_it_counts_as_loaded(
    adapter: QemuHypervisor, start: Start, tmp_path: Path, iso: Path
) -> None:
    machine = start("web1")
    asyncio.run(adapter.insert(machine.vm_uuid, "cd0", iso))
    asyncio.run(machine.ask("blockdev-open-tray", id="cd0"))
    assert asyncio.run(adapter.list_vms())[0].drives[0] == Drive("cd0", "tray_open", str(iso))
    other = tmp_path / "other.iso"
    other.write_bytes(bytes(2048))
    assert failure(adapter.insert(machine.vm_uuid, "cd0", other)).code == "DRIVE_BUSY"
    assert asyncio.run(adapter.eject(machine.vm_uuid, "cd0", iso)) is True
    assert asyncio.run(adapter.list_vms())[0].drives[0] == Drive("cd0", "empty")


def test_an_empty_drive_with_an_open_tray_takes_a_disc(adapter: QemuHypervisor, start: Start, iso: Path) -> None:
    machine = start("web1")
    asyncio.run(machine.ask("blockdev-open-tray", id="cd0"))
    assert asyncio.run(adapter.list_vms())[0].drives[0].state == "empty"
    asyncio.run(adapter.insert(machine.vm_uuid, "cd0", iso))
    assert asyncio.run(adapter.list_vms())[0].drives[0] == Drive("cd0", "loaded", str(iso))


def test_what_a_killed_insert_left_behind_is_cleaned_up_by_the_next(
    adapter: QemuHypervisor, start: Start, tmp_path: Path, iso: Path
) -> None:
    machine = start("web1")
    left = tmp_path / "left.iso"
    left.write_bytes(bytes(2048))
    file = {"driver": "file", "filename": str(left)}
    asyncio.run(machine.ask("blockdev-add", driver="raw", node_name=node_of("cd0"), read_only=True, file=file))
    asyncio.run(adapter.insert(machine.vm_uuid, "cd0", iso))
    assert asyncio.run(machine.media())["cd0"] == str(iso)


def test_what_a_killed_eject_left_behind_is_cleaned_up_by_the_next(
    adapter: QemuHypervisor, start: Start, iso: Path
) -> None:
    machine = start("web1")
    asyncio.run(adapter.insert(machine.vm_uuid, "cd0", iso))
    asyncio.run(machine.ask("blockdev-open-tray", id="cd0"))
    asyncio.run(machine.ask("blockdev-remove-medium", id="cd0"))
    opened = Path(f"/proc/{machine.process.pid}/fd")
    assert iso in files_in(opened)
    assert asyncio.run(adapter.eject(machine.vm_uuid, "cd0", iso)) is False
    assert iso not in files_in(opened)


def test_two_inserts_at_once_put_one_disc_in_and_refuse_the_other(
    adapter: QemuHypervisor, start: Start, tmp_path: Path, iso: Path
) -> None:
    machine = start("web1")
    other = tmp_path / "other.iso"
    other.write_bytes(bytes(2048))

    async def both() -> list[object]:
        inserts = (adapter.insert(machine.vm_uuid, "cd0", path) for path in (iso, other))
        return await asyncio.gather(*inserts, return_exceptions=True)

    results = asyncio.run(both())
    assert [result.code for result in results if isinstance(result, OpenNGTError)] == ["DRIVE_BUSY"]
    assert results.count(None) == 1


def test_a_missing_file_is_refused_and_the_drive_stays_usable(
    adapter: QemuHypervisor, start: Start, tmp_path: Path, iso: Path
) -> None:
    machine = start("web1")
    error = failure(adapter.insert(machine.vm_uuid, "cd0", tmp_path / "missing.iso"))
    assert error.code == "HYPERVISOR_FAILED"
    assert "missing.iso" in error.message
    asyncio.run(adapter.insert(machine.vm_uuid, "cd0", iso))


def test_an_unknown_drive_names_those_there_are(adapter: QemuHypervisor, start: Start, iso: Path) -> None:
    machine = start("web1")
    error = failure(adapter.insert(machine.vm_uuid, "cd9", iso))
    assert (error.code, "cd0, cd1" in error.message) == ("HYPERVISOR_FAILED", True)


def test_a_vm_that_is_off_takes_no_disc_and_holds_none(adapter: QemuHypervisor, start: Start, iso: Path) -> None:
    machine = start("web1")
    asyncio.run(adapter.insert(machine.vm_uuid, "cd0", iso))
    machine.stop()
    assert asyncio.run(adapter.list_vms())[0].power_state == "off"
    assert failure(adapter.insert(machine.vm_uuid, "cd0", iso)).code == "VM_POWERED_OFF"
    assert asyncio.run(adapter.eject(machine.vm_uuid, "cd0", iso)) is False


def test_an_unknown_vm_is_not_found(adapter: QemuHypervisor, iso: Path) -> None:
    assert failure(adapter.insert("11111111-2222-3333-4444-555555555555", "cd0", iso)).code == "VM_NOT_FOUND"


def test_one_uuid_on_two_vms_is_refused(adapter: QemuHypervisor, directory: Path, iso: Path) -> None:
    vm_uuid = "11111111-2222-3333-4444-555555555555"
    for name in ("one", "two"):
        describe(directory, name, vm_name=name, vm_uuid=vm_uuid, qmp="none")
    error = failure(adapter.eject(vm_uuid, "cd0", iso))
    assert (error.code, "one, two" in error.message) == ("HYPERVISOR_FAILED", True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        (json.dumps({"vm_name": "x", "vm_uuid": "nonsense", "qmp": "q"}), "vm_uuid"),
        (json.dumps({"vm_name": "x", "vm_uuid": "11111111-2222-3333-4444-555555555555"}), "qmp"),
        (json.dumps({"vm_name": 7, "vm_uuid": "11111111-2222-3333-4444-555555555555", "qmp": "q"}), "vm_name"),
    ],
)
def test_a_broken_description_hides_no_other_vm_and_is_logged(
    adapter: QemuHypervisor,
    start: Start,
    directory: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    reason: str,
) -> None:
    start("web1")
    (directory / "broken").mkdir()
    (directory / "broken/vm.json").write_text(content, encoding="utf-8")
    assert [vm.vm_name for vm in asyncio.run(adapter.list_vms())] == ["web1"]
    logged = capsys.readouterr().out
    assert "vm_file_ignored" in logged
    assert reason in logged


class SilentServer:
    """Accepts as QEMU's socket does while another client holds it, sends what it was given, then nothing."""

    def __init__(self, path: Path, greeting: bytes = b"") -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._greeting = greeting
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            connection.sendall(self._greeting)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for item in (self._listener, *self._connections):
            item.close()


GREETING = json.dumps({"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}).encode() + b"\r\n"


@pytest.fixture(params=[b"", GREETING, b"220 this is not QEMU\r\n"], ids=["silent", "greets only", "another protocol"])
def stuck(request: pytest.FixtureRequest, directory: Path, sockets: Path) -> Iterator[str]:
    server = SilentServer(sockets / "stuck", request.param)
    vm_uuid = "11111111-2222-3333-4444-555555555555"
    describe(directory, "stuck", vm_name="stuck", vm_uuid=vm_uuid, qmp=str(sockets / "stuck"))
    yield vm_uuid
    server.close()


def test_a_vm_that_does_not_answer_is_unknown_in_a_list_and_fails_an_operation(
    directory: Path, stuck: str, start: Start, iso: Path
) -> None:
    adapter = QemuHypervisor(directory, answer_seconds=3)
    healthy = start("web1")
    assert [(vm.vm_name, vm.power_state) for vm in asyncio.run(adapter.list_vms())] == [
        ("stuck", "unknown"),
        ("web1", "paused"),
    ]
    error = failure(adapter.insert(stuck, "cd0", iso))
    assert (error.code, "stuck" in error.message) == ("HYPERVISOR_FAILED", True)
    asyncio.run(adapter.insert(healthy.vm_uuid, "cd0", iso))


def test_a_socket_path_too_long_is_a_failure_and_not_off(adapter: QemuHypervisor, directory: Path) -> None:
    describe(directory, "long", vm_name="long", vm_uuid="11111111-2222-3333-4444-555555555555", qmp="/" + "x" * 120)
    assert [vm.power_state for vm in asyncio.run(adapter.list_vms())] == ["unknown"]
