# SPDX-License-Identifier: GPL-3.0-or-later
"""Each judgement over facts of a guest that is ready but for one thing."""

import os
from pathlib import Path
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt.install.facts import Facts, Place, collect, look_at
from openngt.install.prerequisites import Finding, Wanted, demand, findings, is_met, missing_program, parse_version

WANTED = Wanted(550, (3, 6), "192.0.2.10:2074", False)


def place(path: str, **changes: Any) -> Place:
    return Place(path, "directory", path, True, 4000, None)._replace(**changes)


READY = Facts(
    python=(3, 11, 2),
    tar="/usr/bin/tar",
    uid=0,
    sudo="none",
    os_release={"ID": "debian", "NAME": "Debian GNU/Linux", "VERSION_ID": "12"},
    systemctl="/usr/bin/systemctl",
    systemd_running=True,
    places={
        "prefix": place("/usr/local"),
        "temporary": place("/tmp"),
        "mount_point": place("/mnt/nutanix/ngt", kind="missing", existing="/mnt"),
    },
    other_tools=[],
    vm_uuid="564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11",
    vm_uuid_exists=True,
    endpoint_error=None,
)


def with_place(name: str, **changes: Any) -> dict[str, Any]:
    return {"places": {**READY.places, name: READY.places[name]._replace(**changes)}}


def by_name(facts: Facts, wanted: Wanted = WANTED) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings(facts, wanted)}


def test_a_guest_that_is_ready() -> None:
    found = findings(READY, WANTED)
    assert {finding.state for finding in found} == {"ok"}
    assert is_met(found)
    demand(found)
    assert len({finding.name for finding in found}) == len(found) == 13


CASES = [
    ("python", "failed", {"python": (3, 5, 9)}),
    ("tar", "failed", {"tar": None}),
    ("privilege", "warning", {"uid": 1000, "sudo": "passwordless"}),
    ("privilege", "warning", {"uid": 1000, "sudo": "asks"}),
    ("privilege", "failed", {"uid": 1000, "sudo": "none"}),
    ("systemd", "failed", {"systemctl": None}),
    ("systemd", "failed", {"systemd_running": False}),
    ("other_tools", "failed", {"other_tools": ["/usr/local/nutanix"]}),
    ("vm_uuid", "failed", {"vm_uuid": None, "vm_uuid_exists": False}),
    ("vm_uuid", "failed", {"vm_uuid": None, "vm_uuid_exists": True}),
    ("vm_uuid", "warning", {"vm_uuid": None, "uid": 1000, "sudo": "passwordless"}),
    ("distribution", "failed", {"os_release": {"ID": "alpine", "VERSION_ID": "3.20"}}),
    ("writable:/usr/local", "failed", with_place("prefix", writable=False)),
    ("writable:/tmp", "failed", with_place("temporary", kind="other")),
    ("writable:/usr/local", "warning", {"uid": 1000, "sudo": "asks", **with_place("prefix", writable=False)}),
    ("free_space:/usr/local", "failed", with_place("prefix", free_mb=549)),
    ("free_space:/tmp", "failed", with_place("temporary", free_mb=0)),
    ("mount_point", "failed", with_place("mount_point", kind="directory", mounted="ext4")),
    ("mount_point", "failed", with_place("mount_point", kind="other")),
    ("mount_point", "failed", with_place("mount_point", writable=False)),
    ("endpoint", "warning", {"endpoint_error": "timed out"}),
]


@pytest.mark.parametrize(("name", "state", "change"), CASES, ids=[f"{n}-{s}-{i}" for i, (n, s, _) in enumerate(CASES)])
def test_one_thing_is_not_right(name: str, state: str, change: dict[str, Any]) -> None:
    finding = by_name(READY._replace(**change))[name]
    assert finding.state == state
    assert finding.remedy, "whoever reads the finding knows what to do"


@pytest.mark.parametrize("change", [with_place("mount_point", kind="directory", mounted="iso9660"), {"uid": 0}])
def test_a_tools_disc_that_is_mounted_there_already_is_no_obstacle(change: dict[str, Any]) -> None:
    assert by_name(READY._replace(**change))["mount_point"].state == "ok"


def test_all_that_is_missing_is_reported_at_once() -> None:
    facts = READY._replace(tar=None, systemctl=None, **with_place("prefix", free_mb=10))
    with pytest.raises(OpenNGTError) as caught:
        demand(findings(facts, WANTED))
    assert caught.value.code == "PREREQUISITES_NOT_MET"
    for name in ("tar", "systemd", "free_space:/usr/local"):
        assert name in caught.value.message
    assert len(caught.value.details["findings"]) == 13


def test_a_distribution_outside_the_table_has_its_own_code_and_override() -> None:
    facts = READY._replace(os_release={"ID": "alpine", "NAME": "Alpine Linux", "VERSION_ID": "3.20"})
    with pytest.raises(OpenNGTError) as caught:
        demand(findings(facts, WANTED))
    assert caught.value.code == "UNSUPPORTED_DISTRIBUTION"
    assert caught.value.message == "Unsupported distribution : alpine linux 3.20"
    overridden = findings(facts, WANTED._replace(allow_unsupported_distribution=True))
    assert is_met(overridden)


def test_the_endpoint_is_judged_only_when_asked_for() -> None:
    assert "endpoint" not in by_name(READY, WANTED._replace(endpoint=""))


@pytest.mark.parametrize("text", ["", "three", "3.x", "3.", ">=3.6"])
def test_a_version_that_is_none(text: str) -> None:
    with pytest.raises(OpenNGTError, match="minimum_python"):
        parse_version(text)


def test_a_program_that_is_missing_names_the_option_that_installs_it() -> None:
    assert "linux_prerequisites_install: true" in missing_program("tar", "on PATH").remedy
    assert parse_version("3.10") > parse_version("3.9")


def test_facts_of_this_machine(tmp_path: Path) -> None:
    facts = collect(str(tmp_path / "not/there"), ("127.0.0.1", 9))
    assert facts.places["mount_point"].kind == "missing"
    assert facts.places["mount_point"].existing == str(tmp_path)
    assert facts.places["temporary"].kind == "directory"
    assert facts.uid == os.geteuid()
    assert facts.endpoint_error


def test_places(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert look_at(str(tmp_path / "file")).kind == "other"
    assert look_at(str(tmp_path / "dangling")).kind == "missing"
    assert look_at(str(tmp_path))[:4] == (str(tmp_path), "directory", str(tmp_path), True)
    assert look_at("/proc").mounted == "proc"
    assert not look_at("/proc/sys").writable or look_at("/proc/sys").free_mb == 0
