# SPDX-License-Identifier: GPL-3.0-or-later
"""When an approaching expiry is worth a word: the one table that modules, API, health check and CLI read."""

from __future__ import annotations

import datetime
from typing import Literal

__all__ = ["EXPIRY_ALERT", "EXPIRY_POLICY", "ExpiryState", "days_left", "expiry_state"]

ExpiryState = Literal["PASS", "INFO", "WARN", "FAIL"]

EXPIRY_ALERT = "A600103"
"""The alert that goes with FAIL; people search for it by this name."""

EXPIRY_POLICY: tuple[tuple[int, ExpiryState], ...] = ((7, "FAIL"), (45, "WARN"), (90, "INFO"))
"""State for at most so many days left, the most urgent first; more days than the last are PASS."""

DAY = datetime.timedelta(days=1)


def days_left(not_after: datetime.datetime, now: datetime.datetime) -> int:
    """Days until expiry, a begun day counted whole: the number that the policy judges. 0 or less is expired."""
    return -((now - not_after) // DAY)


def expiry_state(not_after: datetime.datetime, now: datetime.datetime) -> ExpiryState:
    left = days_left(not_after, now)
    return next((state for limit, state in EXPIRY_POLICY if left <= limit), "PASS")
