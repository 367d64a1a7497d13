# SPDX-License-Identifier: GPL-3.0-or-later
"""How often somebody may try to log in: a bound for each address and one for all of them together.

A token has 256 random bits and cannot be guessed. The bounds keep a flood of attempts from costing the service much.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

from openngt.errors import OpenNGTError

from ..gateway.limits import TokenBucket, address_key

__all__ = ["Logins"]

BURST_OF_ONE, BURST_OF_ALL = 10, 100
MINUTE = 60.0
MOST_ADDRESSES = 10_000


class Logins:
    """Ten attempts in a minute for each address (an IPv6 /64 counts as one), a hundred for all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all = TokenBucket(BURST_OF_ALL / MINUTE, BURST_OF_ALL, clock())
        self._by_address: OrderedDict[str, TokenBucket] = OrderedDict()

    def attempt(self, host: str) -> None:
        """Call it before the token is looked at. RATE_LIMITED, in the same words whichever bound was met.

        An address beyond its own bound takes nothing from the others.
        """
        now, key = self._clock(), address_key(host)
        bucket = self._by_address.setdefault(key, TokenBucket(BURST_OF_ONE / MINUTE, BURST_OF_ONE, now))
        self._by_address.move_to_end(key)
        while len(self._by_address) > MOST_ADDRESSES:
            self._by_address.popitem(last=False)
        if not (bucket.take(now) and self._all.take(now)):
            raise OpenNGTError("RATE_LIMITED", "too many attempts to log in", remedy="wait a minute and try again")
