# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter for QEMU processes on this machine, over QMP.

Facts it is built on, measured with QEMU 7.2 and a Debian guest:

* A guest's udev locks a loaded drive whether the disc is mounted or not. Opening the tray of a locked drive is only a
  wish that the guest fulfils, usually within two seconds, or never when it runs no udev.
* Between the guest opening the tray and QEMU taking the medium out, a program in the guest that opens the device pulls
  the tray back in. So taking out is tried again until the time is up.
* `blockdev-change-medium` throws out what the drive holds; `blockdev-insert-medium` refuses a loaded drive by itself.
  Only the second keeps the promise that a user's disc is never ejected, even against a concurrent insert.
"""

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from openngt.errors import OpenNGTError

from .base import (
    Described,
    Drive,
    DriveState,
    HypervisorVm,
    PowerAction,
    PowerState,
    SerialChannel,
    SerialPortState,
    no_empty_drive,
)
from .qemu_cards import described_cards, present_cards
from .qemu_clone import clone, described_disk
from .qemu_disks import revert_stopped, snapshot_running, snapshot_stopped
from .qemu_power import press, pull_plug, start_process
from .qmp import Qmp, open_qmp
from .vm_files import VmFile, VmFiles, describe_serial_port

__all__ = ["QemuHypervisor"]

POLL_SECONDS = 0.1
# As QEMU names the character device of a socket, with a client or without.
SOCKET_DEVICE = re.compile(r"(?:disconnected:)?unix:(.*?)(?:,server=on)?(?: |$)")

log = structlog.get_logger(__name__)

POWER_STATES: dict[str, PowerState] = {
    "running": "on",
    "paused": "paused",
    "suspended": "paused",
    "prelaunch": "paused",
    "inmigrate": "paused",
    "postmigrate": "paused",
    "finish-migrate": "paused",
    "save-vm": "paused",
    "restore-vm": "paused",
    # Stopped by a fault of the guest, of its disk or of QEMU: no processor runs, and the plug can still be pulled.
    "guest-panicked": "paused",
    "internal-error": "paused",
    "io-error": "paused",
    "watchdog": "paused",
    "shutdown": "off",
}


def drives_of(blocks: list[dict[str, Any]]) -> tuple[Drive, ...]:
    """The CD-ROM drives in a `query-block` answer, by name: what is removable and has a tray (a floppy has none)."""
    drives = [_drive(block) for block in blocks if block["removable"] and "tray_open" in block]
    return tuple(sorted(drives, key=lambda drive: drive.name))


def _drive(block: dict[str, Any]) -> Drive:
    inserted = block.get("inserted")
    if inserted is None:
        return Drive(_name_of(block), "empty")
    state: DriveState = "tray_open" if block["tray_open"] else "loaded"
    return Drive(_name_of(block), state, inserted["file"])


def _name_of(block: dict[str, Any]) -> str:
    """The device's id, or its path in QEMU's object tree where the user gave no id; the commands take either."""
    return str(block.get("qdev") or block["device"])


def node_of(drive: str) -> str:
    """Name of the block node for our medium in this drive: fixed, so that a later call finds what a killed one left."""
    return "openngt-" + hashlib.sha256(drive.encode()).hexdigest()[:16]


def holds_file(drive: Drive, iso: Path) -> bool:
    return drive.holds is not None and Path(drive.holds).resolve() == iso.resolve()


def channels_of(vm: VmFile) -> tuple[SerialChannel, ...]:
    """The virtio port first, as the faster one."""
    virtio = [] if vm.virtio_port is None else [SerialChannel("virtio", vm.virtio_port)]
    serial = [] if vm.serial is None else [SerialChannel("serial", vm.serial)]
    return (*virtio, *serial)


def run_of(vm: VmFile) -> str | None:
    """Each process makes the socket of its monitor anew."""
    with contextlib.suppress(OSError):
        status = vm.qmp.stat()
        return f"{status.st_ino}-{status.st_ctime_ns}"
    return None


def port_state(vm: VmFile, character_devices: list[dict[str, Any]] | None) -> SerialPortState:
    """What a `query-chardev` answer says of the described port; None for a VM that is off."""
    sockets = {str(channel.socket) for channel in channels_of(vm)}
    if not sockets:
        return "none"
    if character_devices is None:
        return "ready"  # its next start brings it
    names = (SOCKET_DEVICE.match(device["filename"]) for device in character_devices)
    return "ready" if sockets & {match[1] for match in names if match} else "needs_full_stop_and_start"


class QemuHypervisor:
    """`directory` holds a folder with a `vm.json` for each VM; it is read anew at each call.

    `answer_seconds` bounds each QMP command, `release_seconds` how long the guest may take to let go of a disc,
    `process_seconds` how long a QEMU process may take to start or to end, `copy_seconds` the copy of a disk.
    """

    name = "qemu"

    def __init__(
        self,
        directory: Path,
        *,
        answer_seconds: float = 5.0,
        release_seconds: float = 15.0,
        process_seconds: float = 60.0,
        copy_seconds: float = 3600.0,
    ) -> None:
        self._directory = directory
        self._files = VmFiles(directory)
        self._answer_seconds = answer_seconds
        self._release_seconds = release_seconds
        self._process_seconds = process_seconds
        self._copy_seconds = copy_seconds
        self._locks: dict[Path, asyncio.Lock] = {}

    async def list_vms(self) -> list[HypervisorVm]:
        return await self._describe(self._files.list())

    async def described(self) -> list[Described]:
        files = await asyncio.to_thread(VmFiles.list, self._files)
        return [Described(vm.vm_uuid, vm.vm_name, vm.cloned_from) for vm in files]

    async def find(self, reference: str) -> list[HypervisorVm]:
        files = self._files.list()
        return await self._describe([vm for vm in files if reference == vm.vm_name or reference.lower() == vm.vm_uuid])

    async def insert(self, vm_uuid: str, drive: str, iso: Path) -> None:
        async with self._conversation(self._one(vm_uuid)) as qmp:
            if qmp is None:
                raise OpenNGTError("VM_POWERED_OFF", f"VM {vm_uuid} is off: its drives cannot be loaded")
            _require_empty(await _drive_named(qmp, drive))
            await self._load(qmp, drive, iso)
            found = await _drive_named(qmp, drive)
            if not holds_file(found, iso):
                raise OpenNGTError(
                    "HYPERVISOR_FAILED", f"drive {drive} holds {found.holds or 'nothing'} after the insert of {iso}"
                )

    async def start_with(self, vm_uuid: str, iso: Path) -> str:
        """The processors are held again as soon as the monitor answers, which is while the firmware begins."""
        vm = self._one(vm_uuid)
        async with self._conversation(vm) as qmp:
            if qmp is not None:
                raise OpenNGTError("VM_POWERED_ON", f"VM {vm.vm_name} is on: its drives can be loaded")
        await start_process(vm, self._process_seconds)
        async with self._conversation(vm) as qmp:
            if qmp is None:
                raise OpenNGTError("HYPERVISOR_FAILED", f"VM {vm.vm_name} went off as soon as it was started")
            await qmp.execute("stop")
            try:
                drives = drives_of(await qmp.execute("query-block"))
                name = next((drive.name for drive in drives if drive.state == "empty"), None)
                if name is None:
                    raise no_empty_drive(drives)
                await self._load(qmp, name, iso)
            except OpenNGTError:
                gone = await pull_plug(qmp, vm, self._process_seconds)
                if gone is not None:
                    await gone
                raise
            await qmp.execute("cont")
            return name

    async def eject(self, vm_uuid: str, drive: str, iso: Path, *, force: bool = False) -> bool:
        async with self._conversation(self._one(vm_uuid)) as qmp:
            if qmp is None:
                return False  # the medium went with the process
            found = await _drive_named(qmp, drive)
            if not holds_file(found, iso):
                if found.state == "empty":
                    await _drop_node(qmp, drive)  # of an eject that was killed half-way: it keeps the file open
                return False
            if not await self._take_out(qmp, drive, iso):
                if not force:
                    raise OpenNGTError(
                        "DRIVE_LOCKED",
                        f"the guest did not let go of drive {drive} within {self._release_seconds:g} s",
                        {"vm_uuid": vm_uuid, "drive": drive, "holds": str(iso)},
                    )
                await qmp.execute("blockdev-open-tray", id=drive, force=True)
                await qmp.execute("blockdev-remove-medium", id=drive)
            await qmp.execute("blockdev-close-tray", id=drive)
            await _drop_node(qmp, drive)
            return True

    async def power(self, vm_uuid: str, action: PowerAction) -> None:
        vm = self._one(vm_uuid)
        async with self._conversation(vm) as qmp:
            then = self._without_process(vm, action) if qmp is None else await self._operate(qmp, vm, action)
        if then is not None:  # takes its time, and whoever lists VMs meanwhile must not wait for it
            await then

    async def serial_channels(self) -> dict[str, tuple[SerialChannel, ...]]:
        files = await asyncio.to_thread(VmFiles.list, self._files)
        return {vm.vm_uuid: channels for vm in files if (channels := channels_of(vm))}

    async def add_serial_channel(self, vm_uuid: str) -> bool:
        """QEMU cannot plug an ISA port into a running VM: the description names it, and who starts the VM adds it."""
        vm = self._one(vm_uuid)
        if channels_of(vm):
            return False
        assert vm.path is not None, "read from a file"
        describe_serial_port(vm.path, vm.qmp.with_suffix(".serial"))
        return True

    async def network_cards(self, vm_uuid: str) -> tuple[str, ...] | None:
        vm = self._one(vm_uuid)
        async with self._conversation(vm) as qmp:
            return described_cards(vm.start) if qmp is None else await present_cards(qmp)

    async def clone(self, vm_uuid: str, vm_name: str) -> str:
        return await clone(self._one(vm_uuid), vm_name, self._conversation, self._copy_seconds)

    async def snapshot(self, vm_uuid: str, name: str) -> None:
        vm = self._one(vm_uuid)
        disk = described_disk(vm, "snapshot")
        async with self._conversation(vm) as qmp:
            if qmp is None:
                await snapshot_stopped(vm.vm_name, disk, name)
            else:
                await snapshot_running(qmp, vm.vm_name, disk, name)

    async def revert(self, vm_uuid: str, name: str) -> None:
        vm = self._one(vm_uuid)
        disk = described_disk(vm, "revert")
        async with self._conversation(vm) as qmp:
            if qmp is not None:
                raise OpenNGTError("VM_POWERED_ON", f"VM {vm.vm_name} is on: its disk cannot be put back under it")
            await revert_stopped(vm.vm_name, disk, name)

    async def close(self) -> None:
        """Nothing is kept open between calls."""

    def _one(self, vm_uuid: str) -> VmFile:
        found = [vm for vm in self._files.list() if vm.vm_uuid == vm_uuid]
        if not found:
            raise OpenNGTError("VM_NOT_FOUND", f"no VM with UUID {vm_uuid} is described under {self._directory}")
        if len(found) > 1:
            names = ", ".join(vm.vm_name for vm in found)
            raise OpenNGTError("HYPERVISOR_FAILED", f"UUID {vm_uuid} belongs to several VMs: {names}")
        return found[0]

    @asynccontextmanager
    async def _conversation(self, vm: VmFile) -> AsyncIterator[Qmp | None]:
        """One at a time for each socket: a second connection would wait for its greeting in vain."""
        lock = self._locks.setdefault(vm.qmp, asyncio.Lock())
        async with lock, open_qmp(vm.qmp, vm.vm_name, self._answer_seconds) as qmp:
            yield qmp

    async def _describe(self, files: list[VmFile]) -> list[HypervisorVm]:
        return list(await asyncio.gather(*(self._describe_one(vm) for vm in files)))

    async def _describe_one(self, vm: VmFile) -> HypervisorVm:
        """A VM that does not answer is `unknown` in a list; an operation on it fails with the reason."""
        cannot: dict[PowerAction, str] = {} if vm.cannot_start is None else {"on": vm.cannot_start}
        try:
            async with self._conversation(vm) as qmp:
                if qmp is None:
                    return HypervisorVm(vm.vm_uuid, vm.vm_name, "off", (), cannot, port_state(vm, None), vm.cloned_from)
                status = (await qmp.execute("query-status"))["status"]
                drives = drives_of(await qmp.execute("query-block"))
                port = port_state(vm, await qmp.execute("query-chardev"))
                state = POWER_STATES.get(status, "unknown")
                run = run_of(vm)
                return HypervisorVm(vm.vm_uuid, vm.vm_name, state, drives, cannot, port, vm.cloned_from, run)
        except OpenNGTError as exc:
            log.warning("vm_does_not_answer", vm_name=vm.vm_name, reason=exc.message)
            return HypervisorVm(vm.vm_uuid, vm.vm_name, "unknown", serial_port="unknown", cloned_from=vm.cloned_from)

    def _without_process(self, vm: VmFile, action: PowerAction) -> Awaitable[None] | None:
        if action == "on":
            return start_process(vm, self._process_seconds)
        if action != "off":
            raise OpenNGTError("VM_POWERED_OFF", f"VM {vm.vm_name} is off")
        return None

    async def _operate(self, qmp: Qmp, vm: VmFile, action: PowerAction) -> Awaitable[None] | None:
        """A VM whose process runs; with `-no-shutdown` it runs on after the machine went off."""
        if action == "off":
            return await pull_plug(qmp, vm, self._process_seconds)
        is_off = (await qmp.execute("query-status"))["status"] == "shutdown"
        if action == "on" and is_off:
            await qmp.execute("system_reset")
            await qmp.execute("cont")
        elif action != "on":
            if is_off:
                raise OpenNGTError("VM_POWERED_OFF", f"VM {vm.vm_name} is off")
            await press(qmp, vm, action)
        return None

    async def _load(self, qmp: Qmp, drive: str, iso: Path) -> None:
        node = node_of(drive)
        await _drop_node(qmp, drive)
        file = {"driver": "file", "filename": str(iso.absolute()), "read-only": True}
        await qmp.execute("blockdev-add", driver="raw", node_name=node, read_only=True, file=file)
        try:
            await self._open_empty_tray(qmp, drive)
            await qmp.execute("blockdev-insert-medium", id=drive, node_name=node)
        except OpenNGTError:
            await _drop_node(qmp, drive)
            _require_empty(await _drive_named(qmp, drive))  # somebody else was first: that is DRIVE_BUSY
            raise
        finally:
            await qmp.execute("blockdev-close-tray", id=drive)

    async def _open_empty_tray(self, qmp: Qmp, drive: str) -> None:
        if not await _open_tray(qmp, drive, self._release_seconds):
            # A lock on a drive without a disc protects nothing.
            await qmp.execute("blockdev-open-tray", id=drive, force=True)

    async def _take_out(self, qmp: Qmp, drive: str, iso: Path) -> bool:
        """Ask, wait, take; again when the guest closed the tray in between. False when the time is up."""
        deadline = asyncio.get_running_loop().time() + self._release_seconds
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            if not await _open_tray(qmp, drive, left):
                return False
            try:
                await qmp.execute("blockdev-remove-medium", id=drive)
                return True
            except OpenNGTError as exc:
                if not exc.details.get("refused") or not holds_file(await _drive_named(qmp, drive), iso):
                    raise
            await asyncio.sleep(POLL_SECONDS)
        return False


async def _drive_named(qmp: Qmp, name: str) -> Drive:
    drives = drives_of(await qmp.execute("query-block"))
    for drive in drives:
        if drive.name == name:
            return drive
    known = ", ".join(drive.name for drive in drives) or "none"
    raise OpenNGTError("HYPERVISOR_FAILED", f"the VM has no CD-ROM drive {name} (it has: {known})")


def _require_empty(drive: Drive) -> None:
    if drive.state != "empty":
        raise OpenNGTError(
            "DRIVE_BUSY",
            f"drive {drive.name} is not empty: it holds {drive.holds}",
            {"drives": [{"name": drive.name, "state": drive.state, "holds": drive.holds}]},
        )


async def _open_tray(qmp: Qmp, drive: str, seconds: float) -> bool:
    """Ask for an open tray and wait for it; False when the guest keeps it closed for so many seconds."""
    deadline = asyncio.get_running_loop().time() + seconds
    try:
        await qmp.execute("blockdev-open-tray", id=drive)
        return True
    except OpenNGTError as exc:
        if not exc.details.get("refused"):
            raise
    while asyncio.get_running_loop().time() < deadline:
        if await _tray_is_open(qmp, drive):
            return True
        await asyncio.sleep(POLL_SECONDS)
    return False


async def _tray_is_open(qmp: Qmp, name: str) -> bool:
    blocks: list[dict[str, Any]] = await qmp.execute("query-block")
    return any(block.get("tray_open", False) for block in blocks if _name_of(block) == name)


async def _drop_node(qmp: Qmp, drive: str) -> None:
    """Free the block node that we made for this drive, if it is there and no drive uses it."""
    nodes = {node["node-name"] for node in await qmp.execute("query-named-block-nodes", flat=True)}
    if node_of(drive) in nodes:
        await qmp.execute("blockdev-del", node_name=node_of(drive))
