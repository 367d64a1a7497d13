# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel does with a disc: `mount -t iso9660`. Here pycdlib reads the image into a tmpfs of the device's name.

So /proc/mounts says `tmpfs`, and the agent's own look for discs, which asks a real drive, finds none.
"""

import contextlib
import itertools
import json
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import pycdlib

from openngt.iso.volume import author

from .linux import MS_RDONLY, MS_REMOUNT, OPTIONS, mount

__all__ = ["mount_disc", "read_once"]


def mount_disc(host: int, hypervisor: str, vm_uuid: str, arguments: list[str]) -> str | None:
    """Do as mount(8) was told; what is wrong, or None. `host` is a descriptor of the host's root folder."""
    device, target = arguments[-2:]
    flags = 0
    for given, following in itertools.pairwise(arguments):
        if given == "-o":
            for option in following.split(","):
                flags |= OPTIONS.get(option, 0)
    if not os.path.isdir(target):  # noqa: PTH112 - as mount(8) takes it
        return f"{target}: mount point does not exist."
    try:
        image = _medium(host, hypervisor, vm_uuid, device)
        if image is None:
            return f"{target}: no medium found on {device}."
        with image:
            mount(device, target, "tmpfs", flags & ~MS_RDONLY, "mode=0500")
            try:
                _extract(image, Path(target))
            finally:
                mount(device, target, None, flags | MS_REMOUNT | MS_RDONLY)
    except (OSError, pycdlib.pycdlibexception.PyCdlibException) as exc:
        return f"{target}: {exc}"
    return None


def read_once() -> None:
    """Have all that reading a disc imports: in a guest the host's Python may be out of sight."""
    with tempfile.TemporaryFile() as image, tempfile.TemporaryDirectory() as folder:
        author(image, {"folder/file": b""})
        _extract(image, Path(folder))


def _medium(host: int, hypervisor: str, vm_uuid: str, device: str) -> BinaryIO | None:
    """What the drive holds, open: /dev/sr0 is the first of the VM's drives."""
    with _on_host(host, hypervisor) as stream:
        drives = json.load(stream)[vm_uuid]["drives"]
    number = device.removeprefix("/dev/sr")
    if not number.isdigit() or int(number) >= len(drives):
        raise OSError(f"special device {device} does not exist.")
    drive = list(drives.values())[int(number)]
    if drive["holds"] is None or drive["tray_open"]:
        return None
    with contextlib.suppress(FileNotFoundError):
        return _on_host(host, drive["holds"])
    return None


def _on_host(host: int, path: str) -> BinaryIO:
    return os.fdopen(os.open(path.lstrip("/"), os.O_RDONLY | os.O_CLOEXEC, dir_fd=host), "rb")


def _extract(image: BinaryIO, target: Path) -> None:
    """With the modes that Rock Ridge gives."""
    iso = pycdlib.PyCdlib()
    iso.open_fp(image)
    try:
        for folder, folders, files in iso.walk(rr_path="/"):
            for name in folders:
                (target / folder.lstrip("/") / name).mkdir()
            for name in files:
                path = f"{folder.rstrip('/')}/{name}"
                place = target / path.lstrip("/")
                with place.open("wb") as stream:
                    iso.get_file_from_iso_fp(stream, rr_path=path)
                place.chmod(0o400)
    finally:
        iso.close()
