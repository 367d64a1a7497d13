# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Which transport the agent uses next, and when it goes back to the one that it prefers. Pure: the time is given."""

from typing import Optional, Sequence

__all__ = ["STEADY_SECONDS", "TransportPolicy"]

# So long the preferred transport has to answer before it is gone back to.
STEADY_SECONDS = 10.0
# A transport that fails again soon after a return is not returned to within this time: at most one change an hour.
HOLD_SECONDS = 3600.0


class TransportPolicy:
    """`order`: transports, the preferred one first."""

    def __init__(self, order: Sequence[str]) -> None:
        self._order = tuple(order)
        self._next = 0
        self._network_failed = False
        self._answers_since: Optional[float] = None
        self._returned_at: Optional[float] = None
        self._hold_until = 0.0
        self._away = False  # the last link was over another than the preferred one

    @property
    def next(self) -> str:
        """What to try now."""
        return self._order[self._next]

    @property
    def wants_pause(self) -> bool:
        """Is it the network's turn again although it failed? Thousands of agents must not come back in one moment."""
        return self.next == "tls" and self._network_failed

    def linked(self, now: float) -> None:
        """The link over `next` is active."""
        self._network_failed = False
        self._answers_since = None
        if self._next == 0 and self._away:
            self._returned_at = now
        self._away = self._next != 0

    def ended(self, was_linked: bool, on_purpose: bool, now: float) -> None:
        """The link over `next` is over, or did not come up. `on_purpose`: either end said so, nothing failed."""
        if self.next == "tls":
            self._network_failed = True
        if was_linked and on_purpose:
            return
        if self._next == 0:
            self._note_failure(now)
        self._next = (self._next + 1) % len(self._order)
        self._answers_since = None

    def answered(self, answers: bool, now: float) -> None:
        """The preferred transport was asked beside a link over another one."""
        if not answers:
            self._answers_since = None
        elif self._answers_since is None:
            self._answers_since = now

    def wants_return(self, now: float) -> bool:
        """Shall the link over another transport be left for the preferred one?"""
        steady = self._answers_since is not None and now - self._answers_since >= STEADY_SECONDS
        return self._next != 0 and steady and now >= self._hold_until

    def held(self, now: float) -> float:
        """For how many seconds the preferred transport is still not returned to, however it answers; 0: it may be."""
        return max(0.0, self._hold_until - now) if self._next != 0 else 0.0

    def returning(self, now: float) -> None:
        """It is left now. A return that fails counts as one that was made."""
        self._returned_at = now
        self._next = 0

    def _note_failure(self, now: float) -> None:
        if self._returned_at is not None and now - self._returned_at < HOLD_SECONDS:
            self._hold_until = self._returned_at + HOLD_SECONDS
