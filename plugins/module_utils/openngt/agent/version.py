# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The agent's version, its own so that the agent imports nothing of its siblings; a test compares it with theirs."""

import re
from typing import Tuple

__all__ = ["__version__", "version_order"]

__version__ = "0.1.0"


def version_order(version: str) -> Tuple[Tuple[int, ...], bool]:
    """For comparing: numbers by value, and a pre-release (`1.0rc1`) before its release; as the service does it."""
    release = re.match(r"[0-9.]*", version, re.ASCII)
    text = release.group() if release else ""
    return tuple(int(part[:9]) for part in text.split(".") if part), text == version
