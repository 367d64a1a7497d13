# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `health` as a nightly job runs it: exit status, words, stats, and that it changes nothing."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plugins.filter.health_lines import health_lines
from plugins.module_utils.health import summary

from .conftest import Fleet

Play = Callable[..., "subprocess.CompletedProcess[str]"]
DISK = "ngt_disk_space_check"


@pytest.fixture
def play(collection: Path, tmp_path: Path, fleet: Fleet) -> Play:
    """Run the playbook with these arguments."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {
            **os.environ,
            **fleet.environment,
            "ANSIBLE_COLLECTIONS_PATH": str(collection),
            "ANSIBLE_HOME": str(tmp_path / "ansible"),
            "ANSIBLE_SHOW_CUSTOM_STATS": "true",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
        }
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "openngt.guest_tools.health", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def short_of_space(fleet: Fleet) -> Iterator[None]:
    """A WARN, by a threshold that no disk reaches."""
    fleet.client.set_health_check(DISK, thresholds={"warn_mb": 10**9})
    yield
    fleet.client.set_health_check(DISK, thresholds={"warn_mb": None, "fail_mb": None})


def test_all_well_is_exit_status_0_and_nothing_changes(play: Play, fleet: Fleet) -> None:
    fleet.add_vm("web01", enrolled=True)
    for arguments in ([], [], ["--check"], ["-e", "openngt_fail_on=WARN"]):
        done = play(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "changed=0" in done.stdout and "failed=0" in done.stdout
    assert "PASS ngt_client_cert_expiry_check" in done.stdout
    assert fleet.changes() == []


@pytest.mark.usefixtures("short_of_space")
def test_it_fails_by_fail_on_with_what_is_wrong_and_what_to_do(play: Play, fleet: Fleet) -> None:
    assert play().returncode == 0, "a WARN is no FAIL"
    for arguments in (["-e", "openngt_fail_on=WARN"], ["-e", "openngt_fail_on=WARN", "--check"]):
        done = play(*arguments)
        assert done.returncode == 2, done.stdout
        failure = done.stdout[done.stdout.index("fatal: ") :]
        assert "WARN ngt_disk_space_check" in failure and "MB free of" in failure
        assert "do: Free space on the named file system" in failure
        assert "ngt_link_check" not in failure, "only what is as bad as that"
        assert "changed=0" in done.stdout
    fleet.client.set_health_check(DISK, thresholds={"fail_mb": 10**9 - 1})
    assert play().returncode == 2
    assert play("-e", "openngt_fail_on=never").returncode == 0
    only = play("-e", '{"openngt_health_checks": ["ngt_link_check"]}')
    assert only.returncode == 0 and DISK not in only.stdout


@pytest.mark.usefixtures("short_of_space")
def test_the_stats_are_there_also_when_it_fails(play: Play) -> None:
    done = play("-e", "openngt_fail_on=WARN")
    assert done.returncode == 2
    stats = done.stdout[done.stdout.index("CUSTOM STATS") :]
    assert re.search(r"openngt_health.*state.*WARN", stats, re.DOTALL)
    assert "failing_vms_total" in stats and "vm_counts" in stats


def test_a_word_that_fail_on_does_not_have_is_named_before_anything_runs(play: Play, fleet: Fleet) -> None:
    done = play("-e", "openngt_fail_on=warn")
    assert done.returncode == 2
    assert "openngt_fail_on is text; wanted is one of WARN, FAIL, never" in done.stdout
    assert not any(task["kind"] == "health" and task["state"] != "succeeded" for task in fleet.client.tasks())


def test_a_viewer_reads_the_last_results_and_may_not_run(play: Play, fleet: Fleet) -> None:
    fleet.client.health()
    token = fleet.client.create_token("watcher", "viewer")["token"]
    try:
        assert play("-e", f"openngt_token={token}", "-e", "openngt_health_run=false").returncode == 0
        refused = play("-e", f"openngt_token={token}")
        assert refused.returncode == 2 and "FORBIDDEN" in refused.stdout
    finally:
        fleet.client.delete_token("watcher")


def check(name: str, state: str, *items: tuple[str | None, str]) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "message": "m",
        "resolutions": ["do this"],
        "items": [
            {"vm_uuid": vm, "vm_name": vm, "state": found, "message": f"VM: {vm} - {found}"} for vm, found in items
        ],
    }


def test_a_summary_is_bounded_the_worst_first_and_its_totals_are_those_of_all() -> None:
    many = [(f"vm{number}", "WARN") for number in range(10_000)]
    found = summary(
        [
            check("a", "FAIL", *many, ("vm7", "FAIL"), (None, "FAIL")),
            check("b", "OFF"),
            check("c", "INFO", ("vm7", "INFO")),
        ],
        50,
    )
    assert found["state"] == "FAIL" and found["counts"] == {"OFF": 1, "PASS": 0, "INFO": 1, "WARN": 0, "FAIL": 1}
    assert found["vm_counts"] == {"INFO": 0, "WARN": 9_999, "FAIL": 1}
    assert [one["state"] for one in found["problems"][:3]] == ["FAIL", "FAIL", "WARN"]
    assert len(found["problems"]) == len(found["checks"][0]["items"]) == 50
    assert found["problems_total"] == 10_003 and found["checks"][0]["items_total"] == 10_002
    lines = health_lines(found)
    assert "     and 9952 more: openngt health report" in lines and len(lines) < 60
    assert health_lines(found, ["FAIL"])[:3] == ["FAIL a: m", "     VM: vm7 - FAIL", "     VM: None - FAIL"]
    assert summary([], 5)["state"] == summary([check("b", "OFF")], 5)["state"] == "PASS"
