# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is logged in: sessions in the service's memory, so that a restart ends them all.

A session holds the token's name and role, never its secret. The browser holds a random id, the service its hash.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ..store.tokens import Token, Tokens

__all__ = ["Session", "Sessions"]

IDLE_SECONDS = 30 * 60.0
LIFE_SECONDS = 12 * 3600.0
MOST_SESSIONS = 1000


@dataclass
class Session:
    token: Token
    csrf: str
    """What each form of this session carries."""
    begun: float
    used: float
    notice: str = field(default="")
    """What the next page says once."""


class Sessions:
    """`clock` counts seconds and never goes back. Bounded: the session that was used the longest ago makes room."""

    def __init__(self, tokens: Tokens, clock: Callable[[], float] = time.monotonic) -> None:
        self._tokens = tokens
        self._clock = clock
        self._by_digest: OrderedDict[str, Session] = OrderedDict()

    def begin(self, token: Token) -> str:
        """A new session; its id, for the cookie alone."""
        now, session_id = self._clock(), secrets.token_urlsafe(32)
        self._by_digest[digest_of(session_id)] = Session(token, secrets.token_urlsafe(32), now, now)
        while len(self._by_digest) > MOST_SESSIONS:
            self._by_digest.popitem(last=False)
        return session_id

    def get(self, session_id: str, *, touch: bool = True) -> Session | None:
        """None when it is not known, was not used for 30 minutes, is 12 hours old, or its token is no longer accepted.

        With `touch=False` the look does not count as use: a page that follows a task keeps nobody logged in.
        """
        digest, now = digest_of(session_id), self._clock()
        session = self._by_digest.get(digest)
        if session is None:
            return None
        is_over = now - session.used > IDLE_SECONDS or now - session.begun > LIFE_SECONDS
        if is_over or not self._tokens.accepts(session.token):
            del self._by_digest[digest]
            return None
        if touch:
            session.used = now
            self._by_digest.move_to_end(digest)
        return session

    def end(self, session_id: str) -> None:
        """Idempotent."""
        self._by_digest.pop(digest_of(session_id), None)


def digest_of(session_id: str) -> str:
    """The lookup compares hashes: how long it takes says nothing about an id."""
    return hashlib.sha256(session_id.encode("utf-8", "surrogateescape")).hexdigest()
