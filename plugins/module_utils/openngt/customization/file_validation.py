# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of files that are copied into a guest: absolute, of a real file, and each once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .findings import finding
from .model import Finding, GuestFile

__all__ = ["linux_path_problem", "validate_files"]

CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
NOT_FILES = ("/proc", "/sys", "/dev")
MOST_BYTES = 4095
MOST_BYTES_OF_A_NAME = 255


def validate_files(files: Sequence[GuestFile]) -> list[Finding]:
    """Of a Linux guest. A path is not repeated in what is found."""
    found = []
    seen: dict[str, int] = {}
    for number, file in enumerate(files):
        part = f"files[{number}]"
        problem = linux_path_problem(file.path)
        if problem is not None:
            found.append(finding("BAD_FILE_PATH", part, problem, key="path"))
            continue
        if file.path in seen:
            what = f"has the path of files[{seen[file.path]}]"
            found.append(finding("DUPLICATE_PATH", part, what, key="path"))
        seen.setdefault(file.path, number)
    return found + _folders(files, seen)


def linux_path_problem(path: str) -> str | None:
    if not path.startswith("/"):
        return "is not absolute"
    if CONTROL.search(path) is not None:
        return "has a control character in its path"
    names = path.split("/")[1:]
    if names[-1] == "":
        return "has the path of a folder"
    if any(name in ("", ".", "..") for name in names):
        return "has an empty name, . or .. in its path"
    if any(path.startswith(f"{place}/") for place in NOT_FILES):
        return f"is in one of {', '.join(NOT_FILES)}, where there are no files to write"
    if len(path.encode()) > MOST_BYTES or any(len(name.encode()) > MOST_BYTES_OF_A_NAME for name in names):
        return f"has a path above {MOST_BYTES} bytes, or a name above {MOST_BYTES_OF_A_NAME}"
    return None


def _folders(files: Sequence[GuestFile], seen: dict[str, int]) -> list[Finding]:
    """A file cannot be the folder of another one."""
    found = []
    for number, file in enumerate(files):
        names = file.path.split("/")
        above = next((path for path in ("/".join(names[:end]) for end in range(2, len(names))) if path in seen), None)
        if above is not None:
            what = f"has files[{seen[above]}], a file, as one of its folders"
            found.append(finding("DUPLICATE_PATH", f"files[{number}]", what, key="path"))
    return found
