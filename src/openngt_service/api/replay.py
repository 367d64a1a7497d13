# SPDX-License-Identifier: GPL-3.0-or-later
"""The same answer to the same request: answers kept in memory for a while under their Idempotency-Key.

Tasks keep their keys in the database as well, and so outlive a restart. Other answers may hold private keys, which
never reach the database; after a restart such a request is done again, which is harmless for all of them.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Response

from openngt.errors import OpenNGTError

from ..store.task_rows import RequestKey

__all__ = ["Replays"]


@dataclass
class Kept:
    request_sha256: str
    done: asyncio.Event
    at: float
    response: Response | None = None

    @property
    def size(self) -> int:
        return len(self.response.body) if self.response is not None else 0


class Replays:
    """Bounded by age (seconds) and by bytes of kept answers; the oldest go first."""

    def __init__(
        self,
        *,
        max_age: float = 600.0,
        max_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_age = max_age
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()

    async def run(self, key: RequestKey | None, call: Callable[[], Awaitable[Response]]) -> Response:
        """The kept answer for `key`, or `call`'s; an equal request that is still at work is waited for.

        Failures are not kept: the next request with the key tries again. IDEMPOTENCY_MISMATCH for another request.
        """
        if key is None:
            return await call()
        place = (key.actor, key.key)
        while (known := self._kept.get(place)) is not None:
            if known.request_sha256 != key.request_sha256:
                raise OpenNGTError("IDEMPOTENCY_MISMATCH", "this Idempotency-Key belongs to a different request")
            await known.done.wait()
            if known.response is not None:
                return known.response
        self._trim()
        kept = self._kept[place] = Kept(key.request_sha256, asyncio.Event(), self._clock())
        try:
            kept.response = await call()
        finally:
            if kept.response is None:
                del self._kept[place]
            kept.done.set()
        return kept.response

    def _trim(self) -> None:
        size = sum(kept.size for kept in self._kept.values())
        for place, kept in list(self._kept.items()):
            too_old = self._clock() - kept.at > self._max_age
            if kept.response is not None and (too_old or size > self._max_bytes):
                size -= kept.size
                del self._kept[place]
