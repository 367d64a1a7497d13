# SPDX-License-Identifier: GPL-3.0-or-later
"""Module, action plugin and playbook `upgrade`, and the CLI, with the real service and agents on their links."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.upgradable_guest import UpgradableGuest

from openngt.version import __version__

from ..conftest import program
from .conftest import Fleet, last_row

RunTasks = Callable[..., list[dict[str, Any]]]
UPGRADE = "openngt.guest_tools.upgrade"
OLD = "0.0.9"
TAKEN_BACK = ("UPGRADE_ROLLED_BACK", "agent 0.1.0 did not hold its link within 120 s: it does not become ready")


@pytest.fixture
def guests(fleet: Fleet, tmp_path: Path) -> dict[str, UpgradableGuest]:
    """web01 and web02 with an agent of old, web03 without any."""
    made = {}
    for name in ("web01", "web02"):
        made[name] = UpgradableGuest(fleet.service, fleet.add_vm(name, enrolled=True), tmp_path, OLD)
    fleet.add_vm("web03", enrolled=True)
    fleet.begin = last_row(fleet.client)
    return made


def test_each_step_and_its_check_mode(fleet: Fleet, guests: dict[str, UpgradableGuest], run_tasks: RunTasks) -> None:
    """One by name, then all, then nothing is left to do. Each first in check mode."""
    one: dict[str, Any] = {"vm": ["web01"]}
    results = run_tasks(
        [{UPGRADE: step, "check_mode": check} for step in (one, one, {}, {}) for check in (True, False)],
        diff=True,
        environment=fleet.environment,
    )
    changes = (["web01"], [], ["web02"], [])
    for predicted, real, changed in zip(results[::2], results[1::2], changes, strict=True):
        assert predicted["changed"] == real["changed"] == bool(changed)
        assert predicted["diff"] == real["diff"] and list(real["diff"]["after"]) == changed
    assert results[0]["diff"]["before"] == {"web01": {"agent_version": OLD}}
    assert results[0]["diff"]["after"] == {"web01": {"agent_version": __version__}}
    [row] = results[1]["vms"]
    assert (row["state"], row["via"], row["reboot_required"]) == ("upgraded", "link", True)
    assert {name: (guest.version, guest.offers) for name, guest in guests.items()} == {
        "web01": (__version__, 1),
        "web02": (__version__, 1),
    }
    assert fleet.changes().count("agent.upgrade") == 2


def test_a_vm_that_cannot_be_upgraded_has_its_code_and_the_others_are_upgraded(
    fleet: Fleet, guests: dict[str, UpgradableGuest], run_tasks: RunTasks
) -> None:
    guests["web02"].fails = TAKEN_BACK
    asked = {"vm": ["web01", "web02", "web03"], "via": "link", "max_fail_percentage": 100}
    [result] = run_tasks([{UPGRADE: asked, "ignore_errors": True}], environment=fleet.environment)
    assert result["failed"] and result["code"] == "TASK_FAILED" and result["changed"]
    assert {row["vm_name"]: row["code"] for row in result["vms"]} == {
        "web01": None,
        "web02": "UPGRADE_ROLLED_BACK",
        "web03": "LINK_NOT_ACTIVE",
    }


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"vm": []}, "INVALID_INPUT"),
        ({"rollback_seconds": 1}, "INVALID_INPUT"),
        ({"version": "0.1.9"}, "NOT_FOUND"),
        ({"version": "7.0.0"}, "VERSION_UNSUPPORTED"),
        ({"vm": ["nobody", "web01"]}, "VM_NOT_FOUND"),
    ],
)
def test_what_makes_no_sense_fails_before_any_change(
    fleet: Fleet, run_tasks: RunTasks, options: dict[str, Any], code: str
) -> None:
    fleet.add_vm("web01", enrolled=True)
    steps = [{UPGRADE: options, "check_mode": check, "ignore_errors": True} for check in (True, False)]
    for result in run_tasks(steps, environment=fleet.environment):
        assert result["failed"] and result["code"] == code and result["remedy"]
    assert set(fleet.changes()) <= {"agent.upgrade"}, "the refused attempt alone"


def test_the_command_line_shows_progress_rows_and_a_failure(fleet: Fleet, guests: dict[str, UpgradableGuest]) -> None:
    planned = json.loads(fleet.service.cli("upgrade", "plan", "-o", "json").stdout)
    assert {row["vm_name"]: row["state"] for row in planned} == {"web01": "due", "web02": "due", "web03": "unchanged"}
    done = fleet.service.cli("upgrade", "run", "web01")
    assert done.returncode == 0, done.stderr
    assert "web01: Upgrading NGT on VM  100 %  done" in done.stderr and "upgraded" in done.stdout
    guests["web02"].fails = TAKEN_BACK
    failed = fleet.service.cli("upgrade", "run", "web02", "-o", "json")
    assert failed.returncode == 1 and f"[{TAKEN_BACK[0]}]" in failed.stderr and "remedy: " in failed.stderr
    [row] = json.loads(failed.stdout)["items"]
    assert (row["code"], row["message"]) == TAKEN_BACK
    shown = fleet.service.cli("upgrade", "show", json.loads(failed.stdout)["task"]["task_id"])
    assert shown.returncode == 0 and "UPGRADE_ROLLED_BACK" in shown.stdout
    table = fleet.service.cli("compatibility", "-o", "json")
    assert {"service": "0.1", "oldest_agent": "0.1", "newest_agent": "0.2"} in json.loads(table.stdout)["items"]
    assert "Debian" in fleet.service.cli("compatibility", "--type", "guests").stdout


def test_the_playbook_stops_after_a_batch_with_too_many_failures(
    fleet: Fleet, guests: dict[str, UpgradableGuest], collection: Path, tmp_path: Path
) -> None:
    guests["web01"].fails = TAKEN_BACK
    other = fleet.client.vm("web02")["vm_uuid"].upper()
    (tmp_path / "inventory").write_text(f"a openngt_vm=web01\nb openngt_vm={other}\n")
    environment = {**os.environ, **fleet.environment, "ANSIBLE_COLLECTIONS_PATH": str(collection)}
    command = [program("ansible-playbook"), "openngt.guest_tools.upgrade", "-i", str(tmp_path / "inventory")]

    def play(*more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command, *more],
            env={**environment, "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_NOCOLOR": "true"},
            capture_output=True,
            text=True,
            check=False,
        )

    stopped = play("-e", "openngt_serial=1", "-e", "openngt_max_fail_percentage=0")
    assert stopped.returncode == 2, stopped.stdout + stopped.stderr
    assert f"{TAKEN_BACK[1]} [UPGRADE_ROLLED_BACK] remedy: " in " ".join(stopped.stdout.split())
    assert guests["web02"].offers == 0, "the next batch is not begun"
    guests["web01"].fails = None
    done = play("-e", "openngt_serial=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"upgraded: runs {OLD}; agent {__version__}; the guest asks for a restart" in done.stdout
    assert "Restart the guest, as asked" in done.stdout and "skipping: [a]" in done.stdout
    again = play()
    assert again.returncode == 0 and again.stdout.count("changed=0") == 2, again.stdout
