# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands where on a tools ISO (ARCHITECTURE.md, section 3), and which names a file on it may have."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

from ..errors import OpenNGTError

__all__ = [
    "AGENT",
    "CA",
    "CLIENT",
    "CONFIG",
    "EXTRAS",
    "INSTALLER",
    "INSTALLER_WINDOWS",
    "LABEL",
    "MANIFEST",
    "MOST_BYTES",
    "MOST_FILES",
    "SECTOR",
    "SETUP_WINDOWS",
    "SLOTS",
    "IsoKind",
    "check_label",
    "check_paths",
    "path_problem",
]

IsoKind = Literal["tools", "config"]

LABEL = "NUTANIX_TOOLS"
SECTOR = 2048

MANIFEST = "manifest.json"
CONFIG = "config/ngt_config.json"
CLIENT = "config/client.pem"
CA = "config/ca.pem"
INSTALLER = "installer/linux/install_ngt.py"
INSTALLER_WINDOWS = "installer/windows/install_ngt.ps1"
SETUP_WINDOWS = "setup.cmd"
AGENT = "agent/ngt_agent.pyz"
EXTRAS = "extras/"

SLOTS = {MANIFEST: 32768, CONFIG: 4096, CLIENT: 8192, CA: 8192}
"""Path -> bytes, whole sectors: content shorter than its slot is padded with newlines, which JSON and PEM ignore."""

MOST_FILES = 512
MOST_BYTES = 64 * 1024 * 1024
"""Of one file outside `extras/`."""

# ISO 9660 allows eight levels, the root being the first; what is deeper would be relocated to another folder.
MOST_LEVELS = 8
# Joliet stores names in UTF-16 and allows 64 units.
LONGEST_NAME = 64
# What Windows and Joliet do not take in a name (the backslash is a separator there), and what UTF-8 cannot write.
UNSUITABLE = re.compile(r'[\x00-\x1f\x7f\ud800-\udfff"*:<>?\\|]')
LABEL_FORM = re.compile(r"[A-Z0-9_]{1,16}")


def path_problem(path: str) -> str | None:
    """Why `path` must not be the name of a file on an ISO; None for a good one.

    Good is relative, normal (no empty part, `.` or `..`), and means the same file to Linux and to Windows.
    """
    if not path or path.startswith("/"):
        return "is empty or absolute"
    if UNSUITABLE.search(path):
        return 'holds a control character, half a surrogate pair, or one of " * : < > ? \\ |'
    names = path.split("/")
    if len(names) > MOST_LEVELS:
        return f"has more than {MOST_LEVELS} levels"
    for name in names:
        if name in ("", ".", ".."):
            return "has an empty part, . or .."
        if name.endswith((".", " ")):
            return "has a part that ends with a dot or a space"
        if len(name.encode("utf-16-le")) > 2 * LONGEST_NAME:
            return f"has a part longer than {LONGEST_NAME} characters"
    return None


def check_paths(paths: Iterable[str], code: str, field: str) -> None:
    """Raise `code`, naming `field` and the path, unless all are good, distinct for every reader, and none is a folder.

    "Every reader" includes those that fold case or normalise Unicode: two names that they see as one are refused.
    """
    seen: dict[str, str] = {}
    for path in paths:
        problem = path_problem(path)
        if problem is None and _folded(path) in seen:
            problem = f"cannot be told from {seen[_folded(path)]!a} where case does not count"
        if problem is not None:
            raise OpenNGTError(code, f"{field}: path {path[:200]!a} {problem}", {"field": field})
        seen[_folded(path)] = path
    for folded, path in seen.items():
        parent = folded.rpartition("/")[0]
        while parent:
            if parent in seen:
                raise OpenNGTError(
                    code, f"{field}: path {seen[parent]!a} is a file and the folder of {path!a}", {"field": field}
                )
            parent = parent.rpartition("/")[0]


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def check_label(label: str) -> str:
    """Return a volume label that ISO 9660 and Joliet can both hold, or raise INVALID_INPUT."""
    if LABEL_FORM.fullmatch(label) is None:
        raise OpenNGTError(
            "INVALID_INPUT", "label must be 1 to 16 characters out of A-Z, 0-9 and _", {"field": "label"}
        )
    return label
