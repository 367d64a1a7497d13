# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of an alert and the spans of history, decision by decision."""

import datetime
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt_service.health.catalogue import CHECKS, default_policy
from openngt_service.health.history import days_until, grid
from openngt_service.health.policy import Policy, changed
from openngt_service.health.transitions import Finding, changes_of, findings_of, next_alert
from openngt_service.store.health_rows import Alert, Span
from openngt_service.store.registry import Capabilities, Vm

NOW = datetime.datetime(2026, 5, 23, 12, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
DAY = datetime.timedelta(days=1)
POLICY = Policy(True, "INFO", {})
CHECK = "ngt_client_cert_expiry_check"


def finding(state: Any = "WARN", message: str = "expires") -> Finding:
    return Finding("vm-1", "vm-1", "web01", state, message)


def step(
    known: Alert | None, found: Finding | None, at: datetime.datetime = NOW, policy: Policy = POLICY
) -> Alert | None:
    return next_alert(known, found, CHECK, policy, at)


def raised(state: Any = "WARN") -> Alert:
    alert = step(None, finding(state))
    assert alert is not None
    return alert


def acknowledged(alert: Alert) -> Alert:
    return Alert(
        **{**vars(alert), "state": "acknowledged", "acknowledged_by": "ann", "acknowledged_at": NOW, "note": "n"}
    )


def test_an_alert_is_raised_once_and_resolved_when_its_cause_is_gone() -> None:
    alert = raised()
    assert (alert.state, alert.severity, alert.vm_name, alert.occurrences) == ("raised", "WARN", "web01", 1)
    assert step(alert, finding(), NOW + 5 * MINUTE) is None
    assert step(alert, finding(message="one day less"), NOW + DAY) is None, "mere words are no news"
    gone = step(alert, None, NOW + 2 * DAY)
    assert gone is not None and (gone.state, gone.resolved_at) == ("resolved", NOW + 2 * DAY)
    assert step(gone, None, NOW + 3 * DAY) is None
    assert step(None, None) is None


def test_what_comes_back_within_the_hour_is_the_same_alert_and_later_a_new_one() -> None:
    gone = step(acknowledged(raised()), None)
    assert gone is not None
    again = step(gone, finding(), NOW + 59 * MINUTE)
    assert again is not None
    assert (again.alert_id, again.occurrences, again.resolved_at) == (gone.alert_id, 2, None)
    assert (again.state, again.acknowledged_by) == ("acknowledged", "ann")
    later = step(gone, finding(), NOW + 61 * MINUTE)
    assert later is not None and later.alert_id != gone.alert_id and later.state == "raised"


def test_an_acknowledged_alert_that_gets_worse_is_raised_again_and_one_that_gets_better_is_not() -> None:
    alert = acknowledged(raised("WARN"))
    worse = step(alert, finding("FAIL"))
    assert worse is not None
    assert (worse.alert_id, worse.state, worse.severity, worse.acknowledged_by) == (
        alert.alert_id,
        "raised",
        "FAIL",
        None,
    )
    better = step(alert, finding("INFO"))
    assert better is not None and (better.state, better.severity) == ("acknowledged", "INFO")


def test_what_is_below_the_policy_raises_nothing_and_ends_what_was_raised() -> None:
    quiet = Policy(True, "FAIL", {})
    assert step(None, finding("WARN"), policy=quiet) is None
    gone = step(raised("WARN"), finding("WARN"), policy=quiet)
    assert gone is not None and gone.state == "resolved"
    assert step(None, finding("FAIL"), policy=quiet) is not None


def test_an_entity_is_as_bad_as_its_worst_item() -> None:
    items = [
        {"vm_uuid": "a", "vm_name": "A", "state": "INFO", "message": "one"},
        {"vm_uuid": "a", "vm_name": "A", "state": "FAIL", "message": "two"},
        {"vm_uuid": "a", "vm_name": "A", "state": "WARN", "message": "three"},
        {"name": "CA", "state": "WARN", "message": "ends"},
        {"vm_uuid": "b", "vm_name": "B", "state": "PASS", "message": "fine"},
    ]
    found = findings_of(items)
    assert {entity: (one.state, one.message) for entity, one in found.items()} == {
        "a": ("FAIL", "two"),
        "service:CA": ("WARN", "ends"),
    }


def test_a_round_that_finds_the_same_changes_nothing() -> None:
    first = changes_of(CHECK, {"vm-1": finding()}, POLICY, {}, {}, NOW)
    assert len(first.opened) == len(first.alerts) == 1 and not first.closed
    spans = {span.place: span for span in first.opened}
    alerts = {alert.place: alert for alert in first.alerts}
    assert not changes_of(CHECK, {"vm-1": finding(message="other words")}, POLICY, spans, alerts, NOW + DAY)
    worse = changes_of(CHECK, {"vm-1": finding("FAIL")}, POLICY, spans, alerts, NOW + DAY)
    assert [(span.state, span.until) for span in worse.closed] == [("WARN", NOW + DAY)]
    assert [(span.state, span.until) for span in worse.opened] == [("FAIL", None)]
    other = changes_of("ngt_link_check", {}, POLICY, spans, alerts, NOW + DAY)
    assert not other, "another check ends nothing of this one"


@pytest.mark.parametrize("name", CHECKS)
def test_the_defaults_of_every_check_are_a_valid_policy(name: str) -> None:
    check = CHECKS[name]
    assert changed(default_policy(check), check.limits) == default_policy(check)
    assert check.description and check.causes and check.resolutions


def test_a_policy_changes_what_is_given_and_null_takes_the_default_again() -> None:
    check = CHECKS[CHECK]
    policy = changed(default_policy(check), check.limits, enabled=False, thresholds={"info_days": 120, "warn_days": 60})
    assert (policy.enabled, policy.alert_from, policy.thresholds["info_days"]) == (False, "INFO", 120)
    back = changed(policy, check.limits, enabled=True, thresholds={"info_days": None, "warn_days": None})
    assert back == default_policy(check)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"warn_day": 1}, "thresholds: there is no threshold of that name; there are info_days, warn_days"),
        ({"fail_days": -1}, "thresholds.fail_days: give a whole number from 0 to 3650"),
        ({"info_days": 10**9}, "thresholds.info_days: give a whole number from 1 to 3650"),
        ({"warn_days": 90}, "thresholds.warn_days: it must be less than info_days (90)"),
        ({"info_days": 30}, "thresholds.warn_days: it must be less than info_days (30)"),
    ],
)
def test_a_threshold_that_cannot_be_is_named_with_its_limits(thresholds: dict[str, int | None], message: str) -> None:
    check = CHECKS[CHECK]
    with pytest.raises(OpenNGTError) as caught:
        changed(default_policy(check), check.limits, thresholds=thresholds)
    assert caught.value.code == "INVALID_INPUT" and caught.value.message.startswith(message)
    assert caught.value.details["field"].startswith("thresholds")


def test_the_grid_shows_the_worst_of_each_day_and_nothing_where_nothing_is_known() -> None:
    today = NOW.date()
    days = days_until(today, 5)
    vms = [
        Vm("a", "web01", "", True, Capabilities(), 1, NOW - 30 * DAY),
        Vm("b", "web02", "", True, Capabilities(), 1, NOW - DAY),
    ]
    ran = {("one", day) for day in days if day != days[1]} | {("two", today)}
    spans = [
        Span("one", "a", NOW - 4 * DAY, "WARN", NOW - 3 * DAY),
        Span("one", "a", NOW - 2 * DAY, "INFO", NOW - 2 * DAY + MINUTE),
        Span("one", "a", NOW - 2 * DAY + MINUTE, "FAIL", NOW - 2 * DAY + 2 * MINUTE),
        Span("two", "a", NOW - 30 * DAY, "WARN"),
    ]
    rows = grid(vms, days, spans, ran)
    assert [row["vm_name"] for row in rows] == ["web01", "web02"]
    assert rows[0]["days"] == ["WARN", None, "FAIL", "PASS", "WARN"]
    assert rows[1]["days"] == [None, None, None, "PASS", "PASS"]
