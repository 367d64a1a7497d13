# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdicts of `preflight` and `prove`, what a play's numbers are made of, and words while one waits."""

import threading
from typing import Any

import pytest
from plugins.filter.link_problems import link_problems, preflight_problems
from plugins.lookup.play_outcome import judged
from plugins.plugin_utils import patience

Json = dict[str, Any]

RECORD: Json = {"certificate": {"serial": "0a", "generation": 2}, "transport": "serial"}
AGENT: Json = {"link": {"active": True}, "identity": {"serial": "0a"}}
REFUSED: Json = {"failed": False, "msg": "no VM is called web1", "code": "VM_NOT_FOUND", "remedy": "check the name"}


def test_a_link_holds_when_both_sides_name_the_same_certificate() -> None:
    assert link_problems({"vms": [RECORD]}, {"agent": AGENT}) == []


@pytest.mark.parametrize(
    ("service", "guest", "codes"),
    [
        ({"vms": [RECORD]}, {"agent": None}, ["AGENT_NOT_INSTALLED"]),
        ({"vms": [RECORD]}, {"agent": {**AGENT, "link": {"active": False}}}, ["LINK_NOT_ACTIVE"]),
        ({"vms": [RECORD]}, {"agent": {**AGENT, "identity": {"serial": "0b"}}}, ["LINK_NOT_ACTIVE"]),
        ({"vms": [RECORD]}, {"unreachable": True, "msg": "no route\nto host"}, ["GUEST_UNREACHABLE"]),
        (REFUSED, {"agent": AGENT}, ["VM_NOT_FOUND"]),
        (REFUSED, {"failed_when_result": False, "rc": 127, "msg": "no python"}, ["COMMAND_FAILED", "VM_NOT_FOUND"]),
    ],
)
def test_what_is_wrong_with_a_link_is_told_with_code_and_remedy(service: Json, guest: Json, codes: list[str]) -> None:
    problems = link_problems(service, guest)
    assert len(problems) == len(codes)
    for problem, code in zip(problems, codes, strict=True):
        assert f" [{code}] remedy: " in problem and "\n" not in problem


def test_preflight_names_what_both_sides_find_and_no_warning() -> None:
    found = [
        {"name": "python", "state": "failed", "found": "not found", "remedy": "install Python"},
        {"name": "gateway", "state": "warning", "found": "not reached", "remedy": "open the port"},
    ]
    problems = preflight_problems(REFUSED, {"findings": found, "met": False})
    assert problems == [
        "no VM is called web1 [VM_NOT_FOUND] remedy: check the name",
        "python: not found [PREREQUISITES_NOT_MET] remedy: install Python",
    ]
    assert preflight_problems({"vm": {}}, {"findings": found[1:], "met": True}) == []


@pytest.mark.parametrize(
    ("registered", "going", "expected"),
    [
        ({}, True, ("not_begun", None)),
        ({"openngt_validated": {}}, True, ("unchanged", None)),
        ({"openngt_validated": {}, "openngt_verdict": {"changed": True}}, True, ("changed", None)),
        ({"guest_agent_proof": {"failed": True, "code": "LINK_NOT_ACTIVE"}}, False, ("failed", "LINK_NOT_ACTIVE")),
        ({"openngt_verdict": {"failed": True, "msg": "no [VM_BUSY] remedy: wait"}}, False, ("failed", "VM_BUSY")),
        ({"openngt_verdict": {"failed": True, "msg": "CLOCK_IS_OFF: by 3 h; remedy: set it"}}, False,
         ("failed", "CLOCK_IS_OFF")),
        ({"openngt_guest": {"unreachable": True}}, False, ("unreachable", "GUEST_UNREACHABLE")),
        ({"openngt_guest": {"unreachable": True}, "openngt_verdict": {"failed": True, "code": "VM_BUSY"}}, False,
         ("failed", "VM_BUSY")),
        ({"theirs": {"failed": True, "code": "VM_BUSY"}}, False, ("failed", "TASK_FAILED")),
    ],
)  # fmt: skip
def test_a_hosts_state_is_read_from_what_its_tasks_have_registered(
    registered: Json, going: bool, expected: tuple[str, str | None]
) -> None:
    assert judged(registered, ["openngt_verdict"], going) == expected


def test_a_wait_is_told_at_ever_longer_intervals_and_no_longer_than_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    third = threading.Event()

    class Screen:
        def display(self, line: str) -> None:
            lines.append(line)
            if len(lines) == 3:
                third.set()

    monkeypatch.setattr(patience, "display", Screen())
    with patience.told_meanwhile("web1: waiting for the link", first=1e-3):
        assert third.wait(60)
    told = list(lines)
    assert [line.partition(", ")[0] for line in told[:3]] == ["web1: waiting for the link"] * 3
    with patience.told_meanwhile("web1: waiting for the link", first=3600):
        pass
    assert lines == told
