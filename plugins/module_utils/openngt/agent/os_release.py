# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What distribution this is: /etc/os-release, as os-release(5) has it."""

import shlex
from typing import Dict

from .files import read_text
from .paths import Paths

__all__ = ["parse", "read"]


def parse(text: str) -> Dict[str, str]:
    """Its assignments; a line that is none, or has an unbalanced quote, is passed over."""
    values: Dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if not separator or key.startswith("#"):
            continue
        try:
            values[key] = " ".join(shlex.split(value))
        except ValueError:
            continue
    return values


def read(paths: Paths) -> Dict[str, str]:
    for source in ("etc/os-release", "usr/lib/os-release"):
        text = read_text(paths.at(source))
        if text is not None:
            return parse(text)
    return {}
