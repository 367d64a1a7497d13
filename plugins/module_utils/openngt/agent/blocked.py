# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The block list: methods that the guest's administrator does not let the host use."""

import os
from typing import FrozenSet

from .files import read_capped
from .paths import Paths

__all__ = ["is_blocked", "parse"]

MOST = 65536
PART_OF = {
    "identity.request": "identity.rotate",
    "agent.upgrade.offer": "agent.upgrade",
    "agent.upgrade.chunk": "agent.upgrade",
    "agent.upgrade.commit": "agent.upgrade",
}
"""What is a part of another method, or of a whole that has no method of its own, is blocked with it."""


def parse(text: str) -> FrozenSet[str]:
    """One method a line; `#` starts a comment."""
    return frozenset(filter(None, (line.partition("#")[0].strip() for line in text.splitlines())))


def is_blocked(paths: Paths, method: str) -> bool:
    """Reads the list anew at each call, so that an edit holds from the next operation on.

    Without the file nothing is blocked; with one that cannot be read, everything is.
    """
    folder, name = os.path.split(paths.blocked_methods)
    try:
        text = read_capped(folder, name, MOST).decode("utf-8")
    except FileNotFoundError:
        return False
    except (OSError, UnicodeDecodeError):
        return True
    blocked = parse(text)
    return method in blocked or PART_OF.get(method) in blocked
