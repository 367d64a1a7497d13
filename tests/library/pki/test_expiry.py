# SPDX-License-Identifier: GPL-3.0-or-later
"""The expiry policy at its limits."""

import datetime

import pytest

from openngt.pki.expiry import BOOTSTRAP_GRACE, EXPIRY_ALERT, bootstrap_state, days_left, expiry_state

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)


@pytest.mark.parametrize(
    ("days", "beyond", "at"),
    [(90, "PASS", "INFO"), (45, "INFO", "WARN"), (7, "WARN", "FAIL"), (0, "FAIL", "FAIL")],
)
def test_a_limit_belongs_to_the_more_urgent_state(days: int, beyond: str, at: str) -> None:
    limit = NOW + datetime.timedelta(days=days)
    assert (expiry_state(limit + SECOND, NOW), expiry_state(limit, NOW)) == (beyond, at)


@pytest.mark.parametrize(
    ("left", "days"),
    [
        (datetime.timedelta(days=1000), 1000),
        (datetime.timedelta(days=7) + SECOND, 8),
        (SECOND, 1),
        (datetime.timedelta(0), 0),
        (-SECOND, 0),
        (datetime.timedelta(days=-3), -3),
    ],
)
def test_a_begun_day_counts_and_no_day_is_left_once_expired(left: datetime.timedelta, days: int) -> None:
    assert days_left(NOW + left, NOW) == days


def test_the_state_can_be_told_from_the_days_that_are_shown() -> None:
    """Over two hundred days by the hour: who reads `days_left` comes to the same state."""
    seen: dict[int, set[str]] = {}
    for hours in range(-48, 200 * 24):
        not_after = NOW + datetime.timedelta(hours=hours)
        seen.setdefault(days_left(not_after, NOW), set()).add(expiry_state(not_after, NOW))
    assert all(len(states) == 1 for states in seen.values())


def test_the_alert_has_the_name_that_people_search_for() -> None:
    assert EXPIRY_ALERT == "A600103"


def test_a_bootstrap_certificate_is_judged_by_whether_its_agent_changed_it() -> None:
    end = NOW + datetime.timedelta(hours=20)
    minutes = datetime.timedelta(minutes=1)
    assert bootstrap_state(None, end, NOW) == "PASS", "on its ISO nobody has used it yet"
    assert bootstrap_state(NOW - BOOTSTRAP_GRACE, end, NOW) == "PASS"
    assert bootstrap_state(NOW - BOOTSTRAP_GRACE - minutes, end, NOW) == "WARN"
    assert bootstrap_state(NOW - 3 * minutes, end, NOW, grace=2 * minutes) == "WARN"
    assert bootstrap_state(None, NOW, NOW) == bootstrap_state(NOW, NOW, NOW) == "FAIL"
