# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of two versions is the older one. Pure; takes whatever an agent says of itself."""

import re

__all__ = ["version_order"]

LARGEST = 10**9
"""An agent may write a number of any length; a longer one counts as this one."""


def version_order(version: str) -> tuple[tuple[int, ...], bool]:
    """For comparing: numbers by value, and a pre-release (`1.0rc1`) before its release."""
    release = re.match(r"[0-9.]*", version, re.ASCII)
    text = release.group() if release else ""
    numbers = (part[:10] for part in text.split(".") if part)
    return tuple(min(int(part), LARGEST) for part in numbers), text == version
