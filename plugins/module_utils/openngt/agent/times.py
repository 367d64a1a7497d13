# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Times as text: RFC 3339, UTC, whole seconds; and as `ssl` tells those of a certificate."""

import datetime
import time

__all__ = ["now_text", "seconds_of_certificate", "text_of"]

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def text_of(seconds: float) -> str:
    """Of seconds since the epoch."""
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=int(seconds))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def now_text() -> str:
    return text_of(time.time())


def seconds_of_certificate(text: str) -> float:
    """Since the epoch, of `Jan  5 09:34:43 2027 GMT`; ValueError for anything else.

    As `ssl.cert_time_to_seconds`, which has strptime read it: to get that ready takes longer than a TLS handshake.
    """
    month, day, clock, year, zone = text.split()
    if zone != "GMT":
        raise ValueError("a certificate's time is in GMT")
    hour, minute, second = (int(part) for part in clock.split(":"))
    number = MONTHS.index(month) + 1
    moment = datetime.datetime(int(year), number, int(day), hour, minute, second, tzinfo=datetime.timezone.utc)
    return moment.timestamp()
