# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of an ISO that is the same for every VM: agent, installer, and what the administrator adds."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..agent_bundle import build_zipapp, installer_source
from ..effects import file_errors
from ..errors import OpenNGTError
from ..install.windows.installer_script import install_ngt_ps1, setup_cmd
from .layout import AGENT, EXTRAS, INSTALLER, INSTALLER_WINDOWS, MOST_FILES, SETUP_WINDOWS, SLOTS, check_paths
from .manifest import FileEntry
from .windows_python import WindowsPython

__all__ = ["PayloadFile", "config_payload", "tools_payload"]


@dataclass(frozen=True)
class PayloadFile:
    entry: FileEntry
    content: bytes | Path = field(repr=False)
    """Or the file that holds it; authoring finds out when that changes in between."""


def tools_payload(extras: Path | None = None, windows_python: WindowsPython | None = None) -> tuple[PayloadFile, ...]:
    """Agent and installers, and under `extras/` the files below the folder `extras` and a Python for Windows guests;
    sorted by path.

    The folder may hold folders and regular files only, whose names suit Linux and Windows: INVALID_INPUT names what is
    a link, a device or the like, or a name that does not do. Every file is read once, for its digest.
    """
    files = [
        PayloadFile(FileEntry.of(path, content), content)
        for path, content in (
            (AGENT, build_zipapp()),
            (INSTALLER, installer_source()),
            (INSTALLER_WINDOWS, install_ngt_ps1()),
            (SETUP_WINDOWS, setup_cmd()),
        )
    ]
    own = [] if windows_python is None else [PayloadFile(windows_python.entry, windows_python.path)]
    if extras is not None:
        with file_errors(str(extras)):
            found = {EXTRAS + path.relative_to(extras).as_posix(): path for path in _regular_files(extras)}
            check_paths([*found, *(file.entry.path for file in own)], "INVALID_INPUT", "extras")
            files += [PayloadFile(_measure(name, path), path) for name, path in found.items()]
    files += own
    return tuple(sorted(files, key=lambda file: file.entry.path))


def config_payload() -> tuple[PayloadFile, ...]:
    """A config-only ISO has slots alone."""
    return ()


def _regular_files(extras: Path) -> Iterator[Path]:
    waiting = [extras]
    count = 0
    while waiting:
        for entry in os.scandir(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                count += 1
                yield Path(entry.path)
            else:
                raise OpenNGTError(
                    "INVALID_INPUT", f"extras: {entry.path} is neither a folder nor a regular file", {"field": "extras"}
                )
            if count > MOST_FILES - len(SLOTS):
                raise OpenNGTError(
                    "ISO_TOO_LARGE",
                    f"extras: {extras} holds more files than an ISO's {MOST_FILES}",
                    {"field": "extras"},
                )


def _measure(name: str, path: Path) -> FileEntry:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OpenNGTError("INVALID_INPUT", f"extras: {path} is not a regular file", {"field": "extras"})
        digest = hashlib.file_digest(stream, "sha256")
        return FileEntry(name, stream.tell(), digest.hexdigest())
