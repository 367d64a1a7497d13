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


OVERHEAD_BYTES = 1024
"""What keeping even an empty answer costs, about."""


@dataclass
class Kept:
    request_sha256: str
    done: asyncio.Event
    at: float
    response: Response | None = None


class Replays:
    """Bounded by age (seconds) and by memory; the oldest answers go first."""

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
        self._bytes = 0

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
        self._bytes += size_of(kept.response)
        return kept.response

    def _trim(self) -> None:
        """From the oldest on, up to the first that may stay or is still at work."""
        while self._kept:
            place, oldest = next(iter(self._kept.items()))
            too_old = self._clock() - oldest.at > self._max_age
            if oldest.response is None or not (too_old or self._bytes > self._max_bytes):
                return
            self._bytes -= size_of(oldest.response)
            del self._kept[place]


def size_of(response: Response) -> int:
    return len(response.body) + OVERHEAD_BYTES
