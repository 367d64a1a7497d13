# SPDX-License-Identifier: GPL-3.0-or-later
"""When an approaching expiry is worth a word: the one table that modules, API, health check and CLI read."""

from __future__ import annotations

import datetime
from typing import Literal

__all__ = [
    "BOOTSTRAP_GRACE",
    "EXPIRY_ALERT",
    "EXPIRY_POLICY",
    "ExpiryState",
    "bootstrap_state",
    "days_left",
    "expiry_state",
]

ExpiryState = Literal["PASS", "INFO", "WARN", "FAIL"]

EXPIRY_ALERT = "A600103"
"""The alert that goes with FAIL; people search for it by this name."""

EXPIRY_POLICY: tuple[tuple[int, ExpiryState], ...] = ((7, "FAIL"), (45, "WARN"), (90, "INFO"))
"""State for at most so many days left, the most urgent first; more days than the last are PASS."""

BOOTSTRAP_GRACE = datetime.timedelta(minutes=15)
"""An agent trades the certificate of its ISO for a long-lived one within seconds; after so long something is wrong."""

DAY = datetime.timedelta(days=1)


def days_left(not_after: datetime.datetime, now: datetime.datetime) -> int:
    """Days until expiry, a begun day counted whole: the number that the policy judges. 0 or less is expired."""
    return -((now - not_after) // DAY)


def expiry_state(not_after: datetime.datetime, now: datetime.datetime) -> ExpiryState:
    left = days_left(not_after, now)
    return next((state for limit, state in EXPIRY_POLICY if left <= limit), "PASS")


def bootstrap_state(
    first_used_at: datetime.datetime | None,
    not_after: datetime.datetime,
    now: datetime.datetime,
    grace: datetime.timedelta = BOOTSTRAP_GRACE,
) -> ExpiryState:
    """Of a certificate that travelled on an ISO: its short life is by design and no news.

    WARN when its agent, which came with it at `first_used_at`, still lives on it after `grace`; FAIL when it is over.
    """
    if now >= not_after:
        return "FAIL"
    return "WARN" if first_used_at is not None and now - first_used_at > grace else "PASS"
