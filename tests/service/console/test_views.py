# SPDX-License-Identifier: GPL-3.0-or-later
"""From records of the API to words and colours."""

import datetime
import re
from typing import Any

import pytest

from openngt.pki.expiry import ExpiryState
from openngt_service.api.models import TaskState
from openngt_service.console.fleet_query import BADGES, CHOICES, COLUMNS, FleetQuery, parse_query
from openngt_service.console.rendering import STATIC, address, shown, when
from openngt_service.console.views import (
    LEGEND,
    STATES,
    TASK_STATES,
    cells_of,
    expiry_badge,
    facts_of,
    grid_rows,
    link_badge,
    state_badge,
    worst_first,
)
from openngt_service.tasks.listing import TALLIED
from openngt_service.tasks.vm_fields import FIELDS


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(scheme: int) -> None:
    """4.5 to 1: level AA for small text."""
    blocks = re.findall(r":root \{(.*?)\}", (STATIC / "console.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[scheme]))
    assert set(colours) == set(dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[0])))
    for state in STATES:
        assert contrast(colours["on-state"], colours[state.lower()]) >= 4.5, state
    for text in ("text", "quiet", "link", "danger"):
        for ground in ("ground", "raised"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def test_every_state_has_a_colour_and_a_meaning() -> None:
    css = (STATIC / "console.css").read_text()
    assert set(re.findall(r'^\[data-state="([A-Z]+)"\]', css, re.MULTILINE)) == set(LEGEND) == set(STATES)
    assert set(TASK_STATES.values()) <= set(STATES) and set(BADGES.values()) <= set(STATES)
    for word in (*ExpiryState.__args__, *TaskState.__args__):  # type: ignore[attr-defined]
        assert state_badge(word).text == word
    assert state_badge("of_a_newer_release").state == "OFF"


@pytest.mark.parametrize(
    ("days", "expiry", "text"),
    [
        (91, "PASS", "PASS: 91 days"),
        (1, "FAIL", "FAIL: 1 day"),
        (0, "FAIL", "FAIL: expired"),
        (-1, "FAIL", "FAIL: expired"),
    ],
)
def test_an_expiry_says_days_and_severity(days: int, expiry: str, text: str) -> None:
    badge = expiry_badge({"days_left": days, "expiry": expiry, "kind": "link"})
    assert (badge.state, badge.text) == (expiry, text)


def test_the_certificate_of_an_iso_says_so() -> None:
    assert expiry_badge({"days_left": 1, "expiry": "PASS", "kind": "bootstrap"}).text == "PASS: 1 day (its ISO's)"
    assert expiry_badge(None).state == "OFF"


@pytest.mark.parametrize(
    ("active", "power", "state"),
    [(True, "on", "PASS"), (False, "on", "WARN"), (False, "unknown", "WARN"), (False, "off", "OFF")],
)
def test_a_vm_that_is_off_is_no_reason_to_be_alarmed(active: bool, power: str, state: str) -> None:
    vm = {"communication_link_active": active, "transport": "tls" if active else None, "power_state": power}
    assert link_badge(vm).state == state


def test_a_grid_follows_the_list_and_leaves_out_who_is_gone() -> None:
    vms = [{"vm_uuid": name, "vm_name": name, "certificate": None} for name in "cab"]
    history = {"days": ["2026-01-01", "2026-01-02"], "items": [{"vm_uuid": "a", "days": [None, "FAIL"]}]}
    history["items"].append({"vm_uuid": "c", "days": ["PASS", "INFO"]})  # type: ignore[attr-defined]
    rows = grid_rows(vms, history)
    assert [row.vm_uuid for row in rows] == ["c", "a"]
    assert [(cell.day, cell.state) for cell in rows[1].cells] == [("2026-01-01", "OFF"), ("2026-01-02", "FAIL")]
    assert all(cell.text for row in rows for cell in row.cells)
    assert cells_of([], []) == ()


def test_the_worst_comes_first() -> None:
    items = [{"state": state, "n": n} for n, state in enumerate(["INFO", "FAIL", "WARN", "FAIL"])]
    assert [item["n"] for item in worst_first(items)] == [1, 3, 2, 0]


def test_whatever_a_guest_says_becomes_bounded_lines() -> None:
    record: dict[str, Any] = {"a": 1, "b": {"c": "x", "d": {"e": [1]}}, "f": [1, {"g": 2}], "h": None, "i": True}
    assert facts_of(record) == [
        ("a", 1),
        ("b.c", "x"),
        ("b.d", "{'e': [1]}"),
        ("f", "[1, {'g': 2}]"),
        ("h", None),
        ("i", True),
    ]
    assert facts_of(None) == []
    many = facts_of({"k" * 9000 + str(n): "v" * 9000 for n in range(300)})
    assert len(many) == 100 and all(len(name) <= 500 and len(value) <= 500 for name, value in many)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),  # noqa: RUF001
        (True, "yes"),
        (0, 0),
        ("a\u202eb\x1b[0m\n", "a\\u202eb\\x1b[0m\\n"),
        (datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC), None),
    ],
)
def test_what_cannot_be_seen_is_shown(value: Any, text: Any) -> None:
    assert shown(value) == (when(value) if isinstance(value, datetime.datetime) else text)


def test_times_are_of_utc() -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.timezone(datetime.timedelta(hours=9)))
    assert when(moment) == '<time datetime="2026-01-01T18:04:00Z">2026-01-01 18:04:00 UTC</time>'


def test_addresses_are_quoted() -> None:
    assert address() == "/console/"
    assert address("vms", "a/b?c#d é") == "/console/vms/a%2Fb%3Fc%23d%20%C3%A9"
    assert address("x", f=["a=b&c", "d"], none=None, empty="") == "/console/x?f=a%3Db%26c&f=d"


def test_the_fleets_address_and_its_form_say_the_same() -> None:
    given = [("filter", "link=active"), ("filter", ""), ("filter", " days_left<=7 "), ("name", "web"), ("sort", "")]
    query = parse_query(given)
    assert query == FleetQuery(("link=active", "days_left<=7"), "web")
    assert query.all_filters == ["link=active", "days_left<=7", "vm_name=*web*"]
    assert query.href() == "/console/?filter=link%3Dactive&filter=days_left%3C%3D7&name=web"
    assert query.others == ["days_left<=7"]
    assert query.sorted_by("vm_name").endswith("sort=-vm_name")
    assert parse_query([("sort", "days_left"), ("sort", "-link")]).sort == "-link", "what is given last holds"


def test_columns_and_choices_are_fields_of_the_api() -> None:
    assert {column.field for column in COLUMNS} | {name for name, _ in CHOICES} <= set(FIELDS)
    assert set(TALLIED) <= {name for name, _ in CHOICES}
    assert all(FIELDS[name].choices for name, _ in CHOICES)
