# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends that are stored by the clock on the wall, kept by one that nobody sets."""

import datetime
import time
from collections.abc import Callable
from typing import NamedTuple

from openngt import effects

__all__ = ["Moment", "since_boot"]

SMALLEST_JUMP = datetime.timedelta(seconds=1)
"""Less than that is the clock being kept right."""


def since_boot() -> float:
    """Seconds by a clock that nobody sets and that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Moment(NamedTuple):
    """What both clocks said when an end was last told."""

    now: datetime.datetime
    since_boot: float

    @classmethod
    def by(cls, clock: Callable[[], float]) -> "Moment":
        return cls(effects.now(), clock())

    def moved(self, end: datetime.datetime, clock: Callable[[], float]) -> datetime.datetime:
        """The end by the clock on the wall as it is now: what that clock has jumped since, the end has as well."""
        passed = datetime.timedelta(seconds=clock() - self.since_boot)
        jump = effects.now() - self.now - passed
        return end if abs(jump) < SMALLEST_JUMP else end + jump
