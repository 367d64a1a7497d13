# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Windows guest must have: every judgement, and what the program's answers become."""

from typing import Any

import pytest
from tests.fakes.windows_facts import READY

from openngt.agent import windows_facts
from openngt.errors import REMEDIES
from openngt.install.windows.prerequisites import findings
from openngt.install.windows.program import understood
from openngt.install.windows.versions import VERSIONS, judge

HEADER: dict[str, Any] = {
    "version": "0.1.0",
    "wait_seconds": 60,
    "minimum_free_mb": 550,
    "allow_unsupported_distribution": False,
    "gateway": {"host": "192.0.2.10", "port": 2074},
}
GOOD: dict[str, Any] = {
    **READY,
    "powershell": "3.0",
    "free_mb": {"programs": 20000, "temporary": 550},
    "temporary": "C:\\Temp\\",
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "distribution": ({"windows_name": "Windows Server 2008 R2 Standard"}, "failed"),
    "powershell": ({"powershell": "2.0"}, "failed"),
    "powershell_on_path": ({"powershell_on_path": False}, "failed"),
    "dot_net": ({"net45": False}, "failed"),
    "privilege": ({"elevated": False}, "failed"),
    "other_tools": ({"other_tools": ["Nutanix Guest Agent: C:\\Program Files\\Nutanix\\x.exe"]}, "failed"),
    "vm_uuid": ({"vm_uuid": ""}, "failed"),
    "free_space:C:\\Program Files": ({"free_mb": {"programs": 549, "temporary": 600}}, "failed"),
    "free_space:C:\\Temp\\": ({"free_mb": {"programs": 20000}}, "failed"),
    "endpoint": ({"endpoint_error": "no answer within 5 s"}, "warning"),
}


def test_a_good_guest_meets_all_and_each_is_judged() -> None:
    judged = findings(GOOD, HEADER)
    assert {finding.name: finding.state for finding in judged} == dict.fromkeys(BAD, "ok")
    assert all(finding.remedy == "" and finding.found and finding.wanted for finding in judged)


@pytest.mark.parametrize("name", BAD)
def test_what_is_missing_is_named_alone_with_its_remedy(name: str) -> None:
    changes, state = BAD[name]
    [finding] = [each for each in findings({**GOOD, **changes}, HEADER) if each.state != "ok"]
    assert (finding.name, finding.state) == (name, state)
    assert finding.remedy


def test_a_program_that_tells_nothing_fails_and_breaks_nothing() -> None:
    states = {finding.name: finding.state for finding in findings({}, HEADER)}
    assert states["privilege"] == states["powershell"] == states["vm_uuid"] == "failed"


def test_another_version_is_tried_where_that_was_asked_for() -> None:
    changes, _state = BAD["distribution"]
    asked = {**HEADER, "allow_unsupported_distribution": True}
    assert {finding.state for finding in findings({**GOOD, **changes}, asked)} == {"ok", "warning"}


@pytest.mark.parametrize(
    ("product", "build", "installation", "supported"),
    [
        ("Windows Server 2012 R2 Datacenter", "9600", "Server", True),
        ("Windows Server 2012 Datacenter", "9200", "Server", False),
        ("Windows Server 2025 Datacenter", "26100", "Server Core", True),
        ("Windows 10 Pro", "19045", "Client", True),
        ("Windows 10 Pro", "22631", "Client", True),
        ("Windows 7 Professional", "7601", "Client", False),
        ("", "", "", False),
    ],
)
def test_windows_is_judged_by_the_name_that_the_agent_reports(
    product: str, build: str, installation: str, supported: bool
) -> None:
    verdict = judge(product, build, installation)
    assert verdict.supported == supported and bool(verdict.message) != supported
    server = installation != "Client"
    released = windows_facts.release_of(verdict.label, server)
    assert (released in VERSIONS["windows_server" if server else "windows"]) == supported


def test_facts_and_what_is_left_of_an_agent_become_what_a_linux_guest_would_say() -> None:
    told = understood({"phase": "prerequisites", "facts": GOOD}, HEADER)
    assert told["met"] is True and {finding["state"] for finding in told["findings"]} == {"ok"}
    bare = understood({"phase": "plan", "agent": None, "leftovers": []}, HEADER)
    assert (bare["operation"], bare["reason"], bare["before"]) == (
        "install",
        "no agent is installed",
        {"installed": False},
    )
    broken = understood({"phase": "plan", "agent": None, "leftovers": ["C:\\Program Files\\openngt"]}, HEADER)
    assert broken["reason"] == "an agent is here but does not answer"
    status = {
        "agent_version": "0.1.0",
        "service": {"active": "active"},
        "identity": {"kind": "link"},
        "link": {"active": True},
    }
    assert understood({"phase": "plan", "agent": status, "leftovers": []}, HEADER)["operation"] == "none"


def test_what_the_program_fails_with_gets_the_remedy_of_its_code_unless_the_agent_gave_one() -> None:
    bare = {"phase": "install", "error": {"code": "DISC_NOT_FOUND", "message": "none"}}
    assert understood(bare, HEADER)["error"]["remedy"] == REMEDIES["DISC_NOT_FOUND"]
    own = {"phase": "install", "error": {"code": "DISC_NOT_FOUND", "message": "none", "remedy": "look"}}
    assert understood(own, HEADER)["error"]["remedy"] == "look"
