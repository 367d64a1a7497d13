# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What the installer may do to the guest, as one object that a test can make differently, and what it is asked."""

import os
import sys
import time
from typing import Callable, List, NamedTuple, Optional

from .files import Runner, read_text, run
from .paths import OTHER_VENDOR_UNIT, UNIT, Paths
from .unit import is_ours

__all__ = ["Guest", "Options", "interpreter", "is_this_one", "other_vendors", "this_guest"]

Guest = NamedTuple(
    "Guest",
    [
        ("paths", Paths),
        ("run", Runner),
        ("say", Callable[[str], None]),  # progress, a line each
        ("is_root", bool),
        ("machine", str),  # as uname has it
        ("monotonic", Callable[[], float]),
        ("sleep", Callable[[float], None]),
    ],
)

Options = NamedTuple(
    "Options",
    [
        ("source", str),  # folder of the mounted disc
        ("ca_sha256", Optional[str]),
        ("wait_seconds", float),  # 0: do not wait for the link
        ("allow_unsupported_distribution", bool),
    ],
)

# What the distribution maintains comes before the interpreter that happens to run the installer.
SYSTEM_INTERPRETERS = ("usr/bin/python3", "usr/libexec/platform-python")
NEW_ENOUGH = "import ssl, sys; sys.exit(sys.version_info < (3, 6))"


def this_guest(say: Callable[[str], None]) -> Guest:
    return Guest(Paths(), run, say, os.geteuid() == 0, os.uname().machine, time.monotonic, time.sleep)


def interpreter(guest: Guest) -> str:
    """The Python that shall run the agent."""
    for candidate in SYSTEM_INTERPRETERS:
        path = guest.paths.at(candidate)
        if os.access(path, os.X_OK) and (is_this_one(path) or _is_new_enough(guest, path)):
            return path
    return sys.executable


def is_this_one(path: str) -> bool:
    """Is this interpreter the one that runs this, which so shows that it can?"""
    return bool(sys.executable) and os.path.samefile(path, sys.executable)


def _is_new_enough(guest: Guest, path: str) -> bool:
    return guest.run([path, "-I", "-c", NEW_ENOUGH]).returncode == 0


def other_vendors(paths: Paths) -> List[str]:
    """Files of another vendor's guest tools, which own the same names."""
    found = [paths.other_vendor] if os.path.exists(paths.other_vendor) else []
    for folder in paths.unit_folders:
        for name in (UNIT, OTHER_VENDOR_UNIT):
            path = os.path.join(folder, name)
            text = read_text(path)
            # A unit that is masked is empty, one whose file is gone has no text: neither starts anything.
            if text and not is_ours(text):
                found.append(path)
    # /lib is /usr/lib on most systems of today.
    return list(dict.fromkeys(os.path.realpath(path) for path in found))
