# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report says of a fleet, and that it says the same of the same fleet."""

import csv
import dataclasses
import datetime
import io
import json
from typing import Any

import pytest
from jsonschema import validate
from tests.fakes.fleet_answers import NOW, answers, check, finding, task, vm, when

from openngt.report.model import report_of, statistics, summary
from openngt.report.plain import COLUMNS, csv_text, json_text

Json = dict[str, Any]
TEXT, NUMBER, COUNTS = (
    {"type": "string"},
    {"type": "integer"},
    {"additionalProperties": {"type": "integer", "minimum": 0}},
)
FLAG = {"type": "boolean"}
MAYBE_TEXT = {"type": ["string", "null"]}


def record(**properties: Any) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def listed(item: Json) -> Json:
    return {"type": "array", "items": item}


# As docs/reports.md has it.
SCHEMA = record(
    format={"const": "openngt-report-1"},
    generated_at=TEXT,
    service=record(version=TEXT, cluster_uuid=TEXT, ca_expires=TEXT),
    counts=record(vms=NUMBER, states=COUNTS, links=COUNTS, agents=COUNTS, expiry=COUNTS),
    versions=listed(record(agent_version=TEXT, agent=TEXT, vms=NUMBER)),
    expiry_months=listed(record(month={"pattern": r"^\d{4}-\d\d$"}, vms=NUMBER, expiry=COUNTS)),
    checks=listed(record(name=TEXT, title=TEXT, state=TEXT, message=MAYBE_TEXT, items=COUNTS)),
    failures=listed(
        record(
            cause=TEXT,
            source={"enum": ["health", "task", "customization"]},
            state={"enum": ["FAIL", "WARN", "INFO"]},
            title=TEXT,
            remedies=listed(TEXT),
            count=NUMBER,
            items=listed(record(vm_uuid=MAYBE_TEXT, vm_name=MAYBE_TEXT, name=MAYBE_TEXT, message=TEXT)),
        )
    ),
    vms=listed(
        record(
            **dict.fromkeys(("vm_uuid", "vm_name", "ngt_uuid", "state", "power_state", "link", "agent"), TEXT),
            **dict.fromkeys(("link_since", "last_refusal", "agent_version", "guest_os_name"), MAYBE_TEXT),
            **dict.fromkeys(("certificate_expires", "certificate_kind"), MAYBE_TEXT),
            causes={"type": "array", "items": TEXT},
            days_left={"type": ["integer", "null"]},
            expiry={"enum": ["FAIL", "WARN", "INFO", "PASS", "none"]},
            generation=NUMBER,
            reboot_required={"type": ["boolean", "null"]},
            **dict.fromkeys(("tools_iso_mounted", "vss_snapshot", "self_service_restore"), FLAG),
            enrolled_at=TEXT,
        )
    ),
)


def only(report: Json) -> Json:
    [row] = report["vms"]
    assert isinstance(row, dict)
    return row


def test_json_keeps_the_documented_schema_with_one_vm_a_line() -> None:
    text = json_text(report_of(answers(700), NOW))
    report = json.loads(text)
    validate(report, SCHEMA)
    assert len(report["vms"]) == 700, "nothing is capped"
    assert sum(line.startswith('{"vm_uuid"') and '"ngt_uuid"' in line for line in text.splitlines()) == 700
    validate(json.loads(json_text(report_of(answers(0), NOW))), SCHEMA)


def test_csv_has_one_row_for_each_vm_and_every_value_of_the_json() -> None:
    report = report_of(answers(300), NOW)
    rows = list(csv.DictReader(io.StringIO(csv_text(report))))
    assert [row["vm_uuid"] for row in rows] == [row["vm_uuid"] for row in report["vms"]]
    assert set(COLUMNS) == set(report["vms"][0])


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_a_csv_is_a_formula(start: str) -> None:
    name = f'{start}HYPERLINK("https://example.com","x")'
    fleet = [vm(1, name=name, vm_info={"guest_os_name": f"{start}cmd|'/c calc'!A0"}, agent_version=f"{start}1")]
    [row] = csv.DictReader(io.StringIO(csv_text(report_of(answers(vms=fleet), NOW)), newline=""))
    assert row["vm_name"] == "'" + name.replace("\r", "\\r")
    assert all(not value.startswith(start) for value in row.values())


@pytest.mark.parametrize(
    ("given", "link"),
    [
        ({"link": "serial"}, "serial"),
        ({"link": "tls"}, "tls"),
        ({"link": None}, "inactive"),
        ({"link": "off"}, "off"),
        ({"link": None, "power_state": "paused"}, "off"),
        ({"link": "tls", "power_state": "unknown"}, "tls"),
    ],
)
def test_a_vm_that_does_not_run_has_no_inactive_link(given: Json, link: str) -> None:
    assert only(report_of(answers(vms=[vm(1, **given)]), NOW))["link"] == link


@pytest.mark.parametrize(
    ("version", "support", "agent"),
    [
        ("0.1.0", "supported", "current"),
        ("0.0.9", "supported", "supported"),
        ("0.0.1", "too_old", "too_old"),
        ("9.0.0", "too_new", "too_new"),
        (None, "unknown", "not_seen"),
    ],
)
def test_an_agent_is_told_by_what_it_is_to_the_service(version: str | None, support: str, agent: str) -> None:
    report = report_of(answers(vms=[vm(1, agent_version=version, agent_support={"state": support})]), NOW)
    assert only(report)["agent"] == agent
    assert report["counts"]["agents"][agent] == 1
    assert [one["agent_version"] for one in report["versions"]] == ([] if version is None else [version])


def test_certificates_are_counted_by_the_month_of_their_end() -> None:
    fleet = [vm(1, days=0), vm(2, days=-1), vm(3, days=40), vm(4, days=41), vm(5, certificate=None)]
    report = report_of(answers(vms=fleet), NOW)
    assert [(one["month"], one["vms"]) for one in report["expiry_months"]] == [("2026-11", 2), ("2027-01", 2)]
    assert report["expiry_months"][0]["expiry"] == {"FAIL": 2, "WARN": 0, "INFO": 0, "PASS": 0}
    assert report["counts"]["expiry"] == {"FAIL": 2, "WARN": 2, "INFO": 0, "PASS": 0, "none": 1}


def test_what_is_wrong_is_grouped_by_cause_the_worst_and_the_most_first() -> None:
    fleet = [vm(number) for number in range(5)]
    checks = [
        check("ngt_link_check", "Link", [finding(one, "WARN", "no link") for one in fleet[:3]], "look"),
        check("ngt_clock_skew_check", "Clock", [finding(fleet[0], "FAIL", "400 s"), finding(fleet[1], "WARN", "40 s")]),
        check("ngt_iso_check", "ISO", []),
    ]
    tasks = [task(1, fleet[4], "failed", code="DRIVE_BUSY"), task(2, fleet[3], "failed", code="DRIVE_BUSY")]
    report = report_of(answers(vms=fleet, checks=checks, tasks=tasks), NOW)
    found = [(one["state"], one["cause"], one["count"]) for one in report["failures"]]
    assert found == [
        ("FAIL", "DRIVE_BUSY", 2),
        ("FAIL", "ngt_clock_skew_check", 1),
        ("WARN", "ngt_link_check", 3),
        ("WARN", "ngt_clock_skew_check", 1),
    ]
    assert report["failures"][0]["remedies"] == ["take another disc out"]
    rows = {row["vm_name"]: (row["state"], row["causes"]) for row in report["vms"]}
    assert rows["web00000"] == ("FAIL", ["ngt_clock_skew_check", "ngt_link_check"])
    assert rows["web00002"] == ("WARN", ["ngt_link_check"])
    assert statistics(report)["failures"] == {"DRIVE_BUSY": 2, "ngt_clock_skew_check": 2, "ngt_link_check": 3}
    first, busy, _, link, _ = summary(report)
    assert first.startswith("5 VMs: ")
    assert busy == "FAIL DRIVE_BUSY: Drive busy (web00003, web00004); remedy: take another disc out"
    assert link == "WARN ngt_link_check: Link (web00000, web00001, web00002); remedy: look"


def test_of_many_vms_with_one_cause_a_summary_names_a_few() -> None:
    fleet = [vm(number) for number in range(7)]
    checks = [check("ngt_link_check", "Link", [finding(one, "WARN", "no link") for one in fleet])]
    [_, line] = summary(report_of(answers(vms=fleet, checks=checks), NOW))
    assert line == "WARN ngt_link_check: Link (web00000, web00001, web00002, web00003, web00004 and 2 more)"


def test_a_failure_that_was_made_good_since_is_none() -> None:
    of = vm(1)
    failed = task(5, of, "failed")
    assert report_of(answers(vms=[of], tasks=[task(2, of, "succeeded"), failed]), NOW)["failures"] == []
    assert len(report_of(answers(vms=[of], tasks=[failed, task(9, of, "succeeded")]), NOW)["failures"]) == 1
    other = task(2, of, "succeeded", kind="refresh")
    assert len(report_of(answers(vms=[of], tasks=[other, failed]), NOW)["failures"]) == 1


def test_a_task_of_the_fleet_is_told_by_its_parts_and_a_vm_once_for_each_cause() -> None:
    of = vm(1)
    whole = task(1, None, "failed", kind="fleet_refresh", code="TASK_FAILED")
    part = task(2, of, "failed", kind="refresh", parent=whole["task_id"])
    mount = task(3, of, "failed", kind="mount", parent=part["task_id"])
    [failure] = report_of(answers(vms=[of], tasks=[whole, part, mount, task(4, of, "failed")]), NOW)["failures"]
    assert (failure["cause"], failure["count"]) == ("DRIVE_BUSY", 1)
    [failure] = report_of(answers(vms=[of], tasks=[whole]), NOW)["failures"]
    assert failure["items"][0] == {
        "vm_uuid": None,
        "vm_name": None,
        "name": "Refresh certificates",
        "message": "Refresh certificates: no empty drive (1)",
    }


def test_a_customization_that_failed_is_told_with_the_guests_words() -> None:
    row = {
        "vm_uuid": vm(1)["vm_uuid"],
        "vm_name": "web00001",
        "state": "timed_out",
        "code": None,
        "message": "the guest said nothing",
    }
    [failure] = report_of(answers(vms=[vm(1)], customizations=[row, {**row, "state": "done"}]), NOW)["failures"]
    assert (failure["cause"], failure["count"], failure["source"]) == ("CUSTOMIZATION_TIMED_OUT", 1, "customization")
    assert failure["remedies"] and failure["items"][0]["message"] == "the guest said nothing"


def test_the_same_fleet_a_minute_later_has_the_same_report_but_for_its_time() -> None:
    before = answers(50)
    later = [dict(one, link={**one["link"], "last_seen": when(0.001)}) for one in before.vms]
    checked = [dict(one, checked_at=when(0.001)) for one in before.checks]
    passing = [dict(one, message="measured 4712 just now") if not one["items"] else one for one in checked]
    after = dataclasses.replace(before, vms=later, checks=passing)
    one, other = report_of(before, NOW), report_of(after, NOW + datetime.timedelta(minutes=1))
    assert one.pop("generated_at") == "2026-11-26T09:00:00Z"
    assert other.pop("generated_at") == "2026-11-26T09:01:00Z"
    assert one == other
