# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Times as text: RFC 3339, UTC, whole seconds."""

import datetime
import time

__all__ = ["now_text", "text_of"]


def text_of(seconds: float) -> str:
    """Of seconds since the epoch."""
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=int(seconds))
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def now_text() -> str:
    return text_of(time.time())
