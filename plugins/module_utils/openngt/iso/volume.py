# SPDX-License-Identifier: GPL-3.0-or-later
"""Author an ISO 9660 volume whose bytes follow from its files and label alone."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from ..errors import OpenNGTError
from ._iso9660 import Descriptor, Image, Record
from ._pycdlib import Entry, master
from .layout import LABEL, check_label, check_paths

__all__ = ["FILE_MODE", "FOLDER_MODE", "author"]

FILE_MODE = stat.S_IFREG | 0o400
FOLDER_MODE = stat.S_IFDIR | 0o500

# One date for all: 2026-01-01 00:00:00 UTC, in the two forms of ECMA-119 (9.1.5 and 8.4.26.1).
RECORD_DATE = bytes([126, 1, 1, 0, 0, 0, 0])
VOLUME_DATE = b"2026010100000000\x00"
NO_VOLUME_DATE = b"0000000000000000\x00"
# creation, modification, expiration, effective
VOLUME_DATES = VOLUME_DATE + VOLUME_DATE + NO_VOLUME_DATE + NO_VOLUME_DATE

LARGEST_FILE = 2**32 - 2048

DATASOURCE_LABELS = frozenset({"cidata", "config-2"})
"""By which cloud-init and Cloudbase-Init find their disc. Small letters and a hyphen are not ISO 9660's, but read."""


def author(stream: BinaryIO, files: Mapping[str, bytes | Path], *, label: str = LABEL) -> None:
    """Write a volume of `files` (path -> content, or the regular file that holds it) to an empty file opened `w+b`.

    ISO 9660 level 3, Joliet, Rock Ridge; files 0400, folders 0500, root included. INVALID_INPUT names a path that does
    not suit all three, a Path that is no regular file, or the label; ISO_TOO_LARGE a file of 4 GiB or more.
    """
    if label not in DATASOURCE_LABELS:
        check_label(label)
    check_paths(files, "INVALID_INPUT", "files")
    iso_paths = _iso_paths(files)
    with contextlib.ExitStack() as stack:
        entries = [Entry(iso_paths[path], "/" + path, FOLDER_MODE) for path in iso_paths if path not in files]
        for path in sorted(files):
            content, size = _open(path, files[path], stack)
            entries.append(Entry(iso_paths[path] + ";1", "/" + path, FILE_MODE, content, size))
        master(stream, entries, label=label)
    stream.flush()
    _fix_dates_and_modes(stream.fileno())


def _open(path: str, source: bytes | Path, stack: contextlib.ExitStack) -> tuple[BinaryIO, int]:
    if isinstance(source, bytes):
        return io.BytesIO(source), len(source)
    # O_NOFOLLOW and O_NONBLOCK: a link or a pipe that took the file's place is refused, not followed or waited for.
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    content = stack.enter_context(os.fdopen(descriptor, "rb"))
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise OpenNGTError("INVALID_INPUT", f"files: {source} is not a regular file", {"field": "files"})
    if status.st_size > LARGEST_FILE:
        raise OpenNGTError(
            "ISO_TOO_LARGE", f"{path} has 4 GiB or more, which one file of an ISO cannot", {"path": path}
        )
    return content, status.st_size


def _iso_paths(files: Mapping[str, object]) -> dict[str, str]:
    """Short upper-case path of each file and each of its folders, a folder before what it holds."""
    result: dict[str, str] = {"": ""}
    taken: set[str] = set()
    for path in sorted(files):
        names = path.split("/")
        for depth in range(1, len(names) + 1):
            parent, own = "/".join(names[: depth - 1]), "/".join(names[:depth])
            if own not in result:
                result[own] = _free_name(result[parent], names[depth - 1], depth == len(names), taken)
                taken.add(result[own])
    del result[""]
    return result


def _free_name(parent: str, name: str, is_file: bool, taken: set[str]) -> str:
    stem, _dot, extension = name.rpartition(".") if is_file and "." in name[1:] else (name, "", "")
    stem, extension = (re.sub(r"[^A-Z0-9_]", "_", part.upper()) for part in (stem, extension))
    suffix = f".{extension[:3]}" if is_file else ""
    number = 0
    while True:
        tail = str(number) if number else ""
        candidate = f"{parent}/{stem[: 8 - len(tail)]}{tail}{suffix}"
        if candidate not in taken:
            return candidate
        number += 1


def _fix_dates_and_modes(descriptor: int) -> None:
    """Overwrite what pycdlib takes from the clock and the time zone, and the mode of folders that it chooses itself."""
    image = Image(descriptor)
    for view in (image.primary, image.joliet):
        if view is None:
            raise AssertionError("volumes are authored with Joliet")
        os.pwrite(descriptor, VOLUME_DATES, view.position + 813)
        os.pwrite(descriptor, RECORD_DATE, view.root.position + 18)
        for folder in _folders(image, view):
            for record in image.records(folder):
                _fix_record(image, record, descriptor)


def _folders(image: Image, view: Descriptor) -> list[Record]:
    return [view.root, *(node.record for node in image.tree(view).folders.values())]


def _fix_record(image: Image, record: Record, descriptor: int) -> None:
    os.pwrite(descriptor, RECORD_DATE, record.position + 18)
    for position, entry in image.system_use(record):
        if entry[:2] == b"TF":
            os.pwrite(descriptor, RECORD_DATE * ((len(entry) - 5) // len(RECORD_DATE)), position + 5)
        elif entry[:2] == b"PX" and record.special:
            os.pwrite(descriptor, FOLDER_MODE.to_bytes(4, "little") + FOLDER_MODE.to_bytes(4, "big"), position + 4)
