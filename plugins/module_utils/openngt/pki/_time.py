# SPDX-License-Identifier: GPL-3.0-or-later
"""How a time is written in our files and answers, and which spans are believed."""

from __future__ import annotations

import datetime

from ..errors import OpenNGTError

__all__ = ["check_days", "rfc3339"]

MOST_DAYS = 36500


def rfc3339(value: datetime.datetime) -> str:
    """`2026-11-21T07:19:38Z`: UTC, whole seconds."""
    return value.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def check_days(days: int, field: str) -> None:
    """Raise INVALID_INPUT naming `field` unless it is a number of days that a certificate can be valid for."""
    if not 1 <= days <= MOST_DAYS:
        raise OpenNGTError("INVALID_INPUT", f"{field} must be between 1 and {MOST_DAYS}", {"field": field})
