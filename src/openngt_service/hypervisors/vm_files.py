# SPDX-License-Identifier: GPL-3.0-or-later
"""`<qemu_directory>/<folder>/vm.json`: how a QEMU process is made known to the service (reference: `docs/lab.md`)."""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from openngt.effects import replace_file
from openngt.errors import OpenNGTError

__all__ = ["VM_FILE", "VmFile", "list_vm_files", "read_vm_file", "write_vm_file"]

VM_FILE = "vm.json"
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
    """The command that starts the VM and returns, run in the file's folder; empty where the file does not say."""
    folder: Path = field(default=Path("/"), compare=False)
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
    return VmFile(
        vm_name=name,
        vm_uuid=uuid.lower(),
        qmp=path.parent / qmp,
        start=start,
        folder=path.parent,
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
    found = []
    for path in sorted(directory.glob(f"*/{VM_FILE}")):
        try:
            found.append(read_vm_file(path))
        except OpenNGTError as exc:
            log.warning("vm_file_ignored", path=str(path), reason=exc.message)
    return sorted(found, key=lambda vm: (vm.vm_name, vm.vm_uuid))


def write_vm_file(folder: Path, vm: VmFile) -> None:
    document = {"vm_name": vm.vm_name, "vm_uuid": vm.vm_uuid, "qmp": str(vm.qmp), "start": list(vm.start)}
    replace_file(str(folder / VM_FILE), json.dumps(document, indent=2, sort_keys=True).encode() + b"\n")
