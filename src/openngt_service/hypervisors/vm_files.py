# SPDX-License-Identifier: GPL-3.0-or-later
"""`<qemu_directory>/<folder>/vm.json`: how a QEMU process is made known to the service (reference: `docs/lab.md`)."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from openngt.effects import replace_file
from openngt.errors import OpenNGTError

__all__ = [
    "MOST_SOCKET_PATH",
    "VM_FILE",
    "VmFile",
    "VmFiles",
    "describe_serial_port",
    "list_vm_files",
    "read_vm_file",
    "write_vm_file",
]

VM_FILE = "vm.json"
MOST_SOCKET_PATH = 107
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class VmFile:
    vm_name: str
    vm_uuid: str
    """As given to `qemu-system-… -uuid`, so that the guest reads the same from DMI."""
    qmp: Path
    """Socket of a monitor that is the adapter's alone."""
    start: tuple[str, ...] = ()
    """The command that starts the VM and returns, run in the description's folder; empty where it does not say."""
    serial: Path | None = None
    """Socket of the VM's second serial port."""
    virtio_port: Path | None = None
    """Socket of the VM's virtio port."""
    disk: Path | None = None
    """The VM's one disk, which clones and snapshots are made of; None where the description does not name it."""
    cloned_from: str | None = None
    """UUID of the VM that it is a copy of."""
    path: Path | None = field(default=None, compare=False)
    """The description's own."""
    cannot_start: str | None = field(default=None, compare=False)
    """Why `start` cannot be used; None where it can."""


def read_vm_file(path: Path) -> VmFile:
    """CONFIG_INVALID names the file and the field. A relative socket path starts at the file's folder."""
    try:
        with path.open(encoding="utf-8") as stream:
            document, found = json.load(stream), os.fstat(stream.fileno())
    except (OSError, ValueError) as exc:
        raise OpenNGTError("CONFIG_INVALID", f"{path} cannot be read as JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise OpenNGTError("CONFIG_INVALID", f"{path} must hold a JSON object")
    name, uuid, qmp = (_text(path, document, field) for field in ("vm_name", "vm_uuid", "qmp"))
    if not UUID.fullmatch(uuid.lower()):
        raise OpenNGTError("CONFIG_INVALID", f"{path}: vm_uuid must be a UUID with hyphens")
    start = _command(path, document)
    serial, virtio_port, disk = (
        path.parent / _text(path, document, field) if field in document else None
        for field in ("serial", "virtio_port", "disk")
    )
    cloned_from = _text(path, document, "cloned_from").lower() if "cloned_from" in document else None
    if cloned_from is not None and not UUID.fullmatch(cloned_from):
        raise OpenNGTError("CONFIG_INVALID", f"{path}: cloned_from must be a UUID with hyphens")
    return VmFile(
        vm_name=name,
        vm_uuid=uuid.lower(),
        qmp=path.parent / qmp,
        start=start,
        serial=serial,
        virtio_port=virtio_port,
        disk=disk,
        cloned_from=cloned_from,
        path=path,
        cannot_start=_distrust(path, found) if start else f"{path} has no field start",
    )


def _command(path: Path, document: dict[str, Any]) -> tuple[str, ...]:
    value = document.get("start", [])
    if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
        raise OpenNGTError("CONFIG_INVALID", f"{path}: start must be a list of words: the program and its arguments")
    return tuple(value)


def _distrust(path: Path, found: os.stat_result) -> str | None:
    """Whoever can write the file could have the service run anything."""
    if found.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user than root and the service's"
    return f"{path} may be written by others than its owner (chmod go-w)" if found.st_mode & 0o022 else None


def _text(path: Path, document: dict[str, Any], field: str) -> str:
    value = document.get(field)
    if not isinstance(value, str) or not value:
        raise OpenNGTError("CONFIG_INVALID", f"{path}: {field} must be a non-empty text")
    return value


def list_vm_files(directory: Path) -> list[VmFile]:
    """All readable descriptions, by name. One that is broken is logged and left out: the other VMs must not suffer."""
    return VmFiles(directory).list()


class VmFiles:
    """The descriptions below a directory; a file is read again only when it has changed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, tuple[tuple[int, int, int], VmFile | None]] = {}
        self._unreadable: dict[str, str] = {}

    def list(self) -> list[VmFile]:
        """As list_vm_files. HYPERVISOR_FAILED when the directory itself cannot be read."""
        try:
            known = {path: self._read(path) for path in self._paths()}
        except OSError as exc:
            raise OpenNGTError("HYPERVISOR_FAILED", f"{self._directory} cannot be read: {exc.strerror}") from exc
        self._known = {path: entry for path, entry in known.items() if entry is not None}
        found = [vm for _, vm in self._known.values() if vm is not None]
        return sorted(found, key=lambda vm: (vm.vm_name, vm.vm_uuid))

    def _paths(self) -> Iterator[str]:
        # Asked every few seconds, for thousands of VMs perhaps: glob takes three times as long.
        if self._directory.is_dir():
            with os.scandir(self._directory) as entries:
                yield from (f"{entry.path}/{VM_FILE}" for entry in entries if entry.is_dir())

    def _read(self, path: str) -> tuple[tuple[int, int, int], VmFile | None] | None:
        try:
            status = os.stat(path)  # noqa: PTH116 - see above
        except OSError:
            return None  # no VM's folder, or gone meanwhile
        fingerprint = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._known.get(path)
        if known is not None and known[0] == fingerprint:
            return known
        try:
            vm = read_vm_file(Path(path))
        except OpenNGTError as exc:
            if isinstance(exc.__cause__, OSError):  # too many open files, no permission: the file may be a good one
                self._tell(path, exc.message)
                return known
            log.warning("vm_file_ignored", path=path, reason=exc.message)
            return fingerprint, None
        self._unreadable.pop(path, None)
        return fingerprint, vm

    def _tell(self, path: str, reason: str) -> None:
        """Once, although it is tried again at every call."""
        if self._unreadable.get(path) != reason:
            self._unreadable[path] = reason
            log.warning("vm_file_unreadable", path=path, reason=reason)


def write_vm_file(folder: Path, vm: VmFile) -> None:
    fields: dict[str, object] = {"vm_name": vm.vm_name, "vm_uuid": vm.vm_uuid, "qmp": vm.qmp}
    fields |= {"serial": vm.serial, "virtio_port": vm.virtio_port, "disk": vm.disk, "cloned_from": vm.cloned_from}
    document: dict[str, Any] = {key: str(value) for key, value in fields.items() if value is not None}
    _write(folder / VM_FILE, {**document, "start": list(vm.start)})


def describe_serial_port(path: Path, socket: Path) -> None:
    """Note the socket of the VM's second serial port in its description; what else stands there stays.

    HYPERVISOR_FAILED when the file cannot be written, or the socket's path is longer than the kernel takes (107 bytes).
    """
    if len(os.fsencode(socket)) > MOST_SOCKET_PATH:
        raise OpenNGTError("HYPERVISOR_FAILED", f"{socket} is too long for a Unix socket; give the VM a port by hand")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        _write(path, {**document, "serial": str(socket)})
    except (OSError, ValueError) as exc:
        raise OpenNGTError("HYPERVISOR_FAILED", f"{path} cannot be changed: {exc}") from exc


def _write(path: Path, document: dict[str, Any]) -> None:
    replace_file(str(path), json.dumps(document, indent=2, sort_keys=True).encode() + b"\n")
