# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""How long to wait before the next try, so that ten thousand agents do not come back in one moment."""

import random
from typing import Callable

__all__ = ["Backoff"]

BASE = 0.5
CAP = 15.0


class Backoff:
    """Full jitter: anything from nothing to a ceiling that doubles with each failure in a row, up to CAP seconds."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._failures = 0

    def failed(self) -> float:
        """Seconds to wait after one more failure."""
        ceiling = min(CAP, BASE * 2.0 ** min(self._failures, 16))
        self._failures += 1
        return self._uniform(0.0, ceiling)

    def succeeded(self) -> None:
        self._failures = 0
