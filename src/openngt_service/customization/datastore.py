# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's folder of scripts and files: what a `datastore_path` names."""

import os
import stat
from pathlib import Path

from openngt import effects
from openngt.errors import OpenNGTError

__all__ = ["MOST_BYTES", "read_datastore"]

MOST_BYTES = 32 * 1024 * 1024
LONGEST = 1024


def read_datastore(folder: Path | None, path: str) -> bytes:
    """INVALID_INPUT for a path that leads out of the folder, NOT_FOUND for one that leads nowhere. Blocking.

    The folder is walked name by name, and no symlink on the way is followed: nobody can swap one in meanwhile.
    """
    if folder is None:
        raise OpenNGTError("INVALID_INPUT", "the service has no datastore", remedy="set datastore, or give content")
    names = path.split("/")
    if not path or len(path) > LONGEST or "\0" in path or any(name in ("", ".", "..") for name in names):
        raise OpenNGTError("INVALID_INPUT", "a datastore_path is relative to the datastore, as scripts/web.yaml")
    with effects.file_errors(path):
        try:
            return _read(folder, names)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise OpenNGTError("NOT_FOUND", f"the datastore has no file {path}") from exc


def _read(folder: Path, names: list[str]) -> bytes:
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names[:-1]:
            there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = there
        with open(_open(names[-1], here), "rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    finally:
        os.close(here)
    if len(content) > MOST_BYTES:
        raise OpenNGTError("INVALID_INPUT", f"the file is longer than {MOST_BYTES} bytes")
    return content


def _open(name: str, folder: int) -> int:
    # O_NONBLOCK: a named pipe would have us wait for its writer.
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OpenNGTError("INVALID_INPUT", "that is no file")
    return descriptor
