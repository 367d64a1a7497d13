# SPDX-License-Identifier: GPL-3.0-or-later
"""Words for a value that is wrong and may be a secret: what it is like, never what it is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = ["nearest", "shape_of"]

LIKENESS = 0.7


def shape_of(value: Any) -> str:
    """`text`, `a number`, `a list of 3`, …"""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, (str, bytes)):
        return "text" if value else "empty text"
    if isinstance(value, dict):
        return "an object of {0}".format(_counted(len(value), "key"))
    if isinstance(value, (list, tuple)):
        return "a list of {0}".format(len(value))
    return "of the type {0}".format(type(value).__name__)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that somebody who typed `name` may have meant."""
    found = difflib.get_close_matches(name[:64].lower(), list(known), n=1, cutoff=LIKENESS)
    return found[0] if found else None


def _counted(count: int, what: str) -> str:
    return "{0} {1}{2}".format(count, what, "" if count == 1 else "s")
