# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for what a service or an agent of its own process does in its own time."""

import time
from collections.abc import Callable
from typing import Any

__all__ = ["PATIENCE_SECONDS", "until"]

PATIENCE_SECONDS = 60
LOOK_AGAIN_SECONDS = 0.05


def until(condition: Callable[[], Any], what: str) -> Any:
    """What the condition has found, once it has."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(LOOK_AGAIN_SECONDS)
    raise AssertionError(f"not in time: {what}")
