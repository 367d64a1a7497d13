# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether each part that work depends on answers right now."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from sqlalchemy.exc import SQLAlchemyError

from openngt.errors import OpenNGTError

__all__ = ["Readiness"]

log = structlog.get_logger(__name__)

PROBE_SECONDS = 2.0
KEEP_SECONDS = 1.0
"""Anybody may ask, so asking again at once must cost nothing."""


class Readiness:
    """A probe returns when its part works, and raises (OpenNGTError, SQLAlchemyError) or takes too long when not."""

    def __init__(self, probes: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
        self._probes = probes
        self._last: dict[str, bool] = {}
        self._at = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def check(self) -> Mapping[str, bool]:
        async with self._one_at_a_time:
            if time.monotonic() - self._at > KEEP_SECONDS:
                answers = await asyncio.gather(*(self._works(name) for name in self._probes))
                self._last = dict(zip(self._probes, answers, strict=True))
                self._at = time.monotonic()
        return self._last

    async def _works(self, name: str) -> bool:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._probes[name]()
        except (OpenNGTError, SQLAlchemyError, TimeoutError) as exc:
            if self._last.get(name, True):
                log.warning("not_ready", part=name, reason=str(exc) or type(exc).__name__)
            return False
        return True
