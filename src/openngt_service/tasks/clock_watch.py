# SPDX-License-Identifier: GPL-3.0-or-later
"""Notice that this host's clock was set: leases are stored by the clock, and last as long as they were asked for."""

import datetime
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from openngt import effects

from ..store.mounts import Mounts

__all__ = ["ClockWatch"]

log = structlog.get_logger(__name__)

EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC)
TOLERANCE = datetime.timedelta(seconds=30)
"""Between two looks. What a time daemon corrects bit by bit is far less."""


class ClockWatch:
    """Look more often than leases end. A jump while the service was down is not seen."""

    def __init__(self, mounts: Mounts, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._mounts = mounts
        self._clock = clock
        self._offset: datetime.timedelta | None = None

    def now(self) -> datetime.datetime:
        """The time by which leases are to be judged: that of the last look, and what has passed since."""
        return effects.now() if self._offset is None else EPOCH + self._offset + self._passed()

    async def look(self) -> datetime.timedelta:
        """Move the ends of all leases along with a jump of the clock; returns how far it went."""
        offset = effects.now() - EPOCH - self._passed()
        jump = datetime.timedelta(0) if self._offset is None else offset - self._offset
        if abs(jump) > TOLERANCE:
            log.warning("clock_jumped", seconds=round(jump.total_seconds()))
            for held in self._mounts.all():
                await self._mounts.put(replace(held, lease_ends=held.lease_ends + jump))
        self._offset = offset
        return jump

    def _passed(self) -> datetime.timedelta:
        return datetime.timedelta(seconds=self._clock())
