# SPDX-License-Identifier: GPL-3.0-or-later
"""Module, action plugin and playbook `refresh`, and the CLI, with the real service and real agents on their links."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.agent_process import AgentProcess

from openngt.agent import identity
from openngt.link import wait_for_links

from ..conftest import program
from .conftest import Fleet, last_row

RunTasks = Callable[..., list[dict[str, Any]]]
REFRESH = "openngt.guest_tools.refresh"


@pytest.fixture
def agents(fleet: Fleet, tmp_path: Path) -> Iterator[dict[str, AgentProcess]]:
    """web01 and web02 with connected agents, web03 without any."""
    made = {}
    for name in ("web01", "web02"):
        vm_uuid = fleet.add_vm(name, enrolled=True)
        (tmp_path / name).mkdir()
        made[name] = AgentProcess(tmp_path / name)
        made[name].install(fleet.service, fleet.client, vm_uuid)
        made[name].start()
    fleet.add_vm("web03", enrolled=True)
    wait_for_links(fleet.client, list(made), 60)
    fleet.begin = last_row(fleet.client)
    yield made
    for agent in made.values():
        agent.stop()


HEARS_CTRL_C = ["env", "--default-signal=INT"]
"""What a script runs in its background was started with SIGINT ignored, and would hand that on."""


def test_each_step_and_its_check_mode(fleet: Fleet, agents: dict[str, AgentProcess], run_tasks: RunTasks) -> None:
    """By threshold: nothing due; a short life by name; then it is due; then nothing again. Each first in check mode."""
    due = {"threshold_days": 45}
    short = {"vm": ["web01"], "validity_days": 30}
    results = run_tasks(
        [{REFRESH: step, "check_mode": check} for step in (due, short, due, due) for check in (True, False)],
        diff=True,
        environment=fleet.environment,
    )
    for (predicted, real), changed in zip(
        zip(results[::2], results[1::2], strict=True), (False, True, True, False), strict=True
    ):
        assert predicted["changed"] == real["changed"] == changed
        assert predicted["diff"]["before"] == real["diff"]["before"]
        assert not changed or list(real["diff"]["after"]) == ["web01"]
    [row] = [row for row in results[4]["vms"] if row["vm_name"] == "web01"]
    assert (row["state"], row["reason"]) == ("due", "expires in 30 days")
    [row] = [row for row in results[5]["vms"] if row["vm_name"] == "web01"]
    assert (row["state"], row["via"], row["key"]) == ("refreshed", "link", "agent")
    assert row["old_serial"] != row["new_serial"] == fleet.client.vm("web01")["certificate"]["serial"]
    assert identity.load(agents["web01"].paths).certificate.serial == row["new_serial"]
    assert all(agent.process and agent.process.poll() is None for agent in agents.values()), "none has restarted"
    assert fleet.changes().count("certificate.issue") == 2 == fleet.changes().count("certificate.promote")


def test_a_vm_that_cannot_be_refreshed_has_its_code_and_the_others_are_refreshed(
    fleet: Fleet, agents: dict[str, AgentProcess], run_tasks: RunTasks
) -> None:
    (Path(agents["web02"].paths.blocked_methods)).write_text("identity.rotate\n")
    asked = {REFRESH: {"vm": ["web01", "web02", "web03"], "via": "link"}, "ignore_errors": True}
    [result] = run_tasks([asked], environment=fleet.environment)
    assert result["failed"] and result["code"] == "TASK_FAILED" and result["changed"]
    assert {row["vm_name"]: row["code"] for row in result["vms"]} == {
        "web01": None,
        "web02": "METHOD_BLOCKED",
        "web03": "AGENT_NOT_INSTALLED",
    }


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"vm": []}, "INVALID_INPUT"),
        ({"threshold_days": -1}, "INVALID_INPUT"),
        ({"vm": ["web01"], "validity_days": 0}, "INVALID_INPUT"),
        ({"vm": ["web01"], "validity_days": 3650}, "INVALID_INPUT"),
        ({"vm": ["nobody", "web01"]}, "VM_NOT_FOUND"),
    ],
)
def test_what_makes_no_sense_fails_before_any_change(
    fleet: Fleet, run_tasks: RunTasks, options: dict[str, Any], code: str
) -> None:
    fleet.add_vm("web01", enrolled=True)
    steps = [{REFRESH: options, "check_mode": check, "ignore_errors": True} for check in (True, False)]
    for result in run_tasks(steps, environment=fleet.environment):
        assert result["failed"] and result["code"] == code and result["remedy"]
    assert set(fleet.changes()) <= {"certificate.refresh"}, "the refused attempt alone"


def test_the_command_line_shows_progress_rows_and_a_failure(fleet: Fleet, agents: dict[str, AgentProcess]) -> None:
    planned = fleet.service.cli("refresh", "plan", "--threshold-days", "45", "-o", "json")
    assert {row["state"] for row in json.loads(planned.stdout)} == {"unchanged"}
    done = fleet.service.cli("refresh", "run", "web01", "--validity-days", "400")
    assert done.returncode == 0, done.stderr
    assert "web01: Refreshing NGT certificates  100 %  done" in done.stderr and "refreshed" in done.stdout
    agents["web02"].stop()
    failed = fleet.service.cli("refresh", "run", "web02", "--via", "link", "-o", "json")
    assert failed.returncode == 1 and "[LINK_NOT_ACTIVE]" in failed.stderr and "remedy: " in failed.stderr
    [row] = json.loads(failed.stdout)["items"]
    assert row["code"] == "LINK_NOT_ACTIVE"
    shown = fleet.service.cli("refresh", "show", json.loads(failed.stdout)["task"]["task_id"])
    assert shown.returncode == 0 and "LINK_NOT_ACTIVE" in shown.stdout


def test_a_refresh_is_left_and_cancelled_at_the_command_line(fleet: Fleet, agents: dict[str, AgentProcess]) -> None:
    """Ctrl-C ends the watching alone, and says how to come back and how to end it."""
    watching = subprocess.Popen(
        # What runs in the background of a script was started with SIGINT ignored.
        [
            "env",
            "--default-signal=INT",
            program("openngt"),
            "refresh",
            "run",
            "web01",
            "web02",
            "--spread-seconds",
            "86400",
        ],
        env=fleet.service.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stderr is not None
    first = watching.stderr.readline()
    task_id = first.split()[-1]
    assert first == f"follow it: openngt refresh show {task_id}\n"
    watching.send_signal(signal.SIGINT)
    _, told = watching.communicate(timeout=30)
    assert watching.returncode == 130 and "Traceback" not in told, told
    assert f"openngt refresh show {task_id} --wait" in told and f"openngt task cancel {task_id}" in told
    assert fleet.client.task(task_id)["state"] == "running"
    assert fleet.service.cli("task", "cancel", task_id).returncode == 0
    ended = fleet.service.cli("refresh", "show", task_id, "--wait", "-o", "json")
    assert ended.returncode == 1 and "[TASK_CANCELLED]" in ended.stderr
    assert {row["state"] for row in json.loads(ended.stdout)["items"]} == {"cancelled"}


def test_the_playbook_gives_each_host_its_own_verdict(
    fleet: Fleet, agents: dict[str, AgentProcess], collection: Path, tmp_path: Path
) -> None:
    other = fleet.client.vm("web02")["vm_uuid"].upper()
    (tmp_path / "inventory").write_text(f"nobody\na openngt_vm=web01\nb openngt_vm={other}\nweb03\n")
    environment = {**os.environ, **fleet.environment, "ANSIBLE_COLLECTIONS_PATH": str(collection)}
    command = [program("ansible-playbook"), "openngt.guest_tools.refresh", "-i", str(tmp_path / "inventory")]
    done = subprocess.run(
        [*command, "-e", "openngt_validity_days=400"],
        env={**environment, "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_NOCOLOR": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    recap = {
        words[0]: words for line in done.stdout.splitlines() if (words := line.split()) and "unreachable=0" in line
    }
    assert done.returncode == 2 and {host: "failed=1" in words for host, words in recap.items()} == {
        "a": False,
        "b": False,
        "web03": True,
        "nobody": True,
    }, done.stdout + done.stderr
    assert all("changed=0" not in recap[host] for host in ("a", "b"))
    assert "no VM has the name or UUID nobody [VM_NOT_FOUND] remedy: set openngt_vm" in done.stdout
    assert "[AGENT_NOT_INSTALLED] remedy: run the playbook openngt.guest_tools.install" in done.stdout
    assert "web01: Refreshing NGT certificates" in done.stdout


def test_a_request_that_cannot_be_fails_each_host_with_its_reason(
    fleet: Fleet, collection: Path, tmp_path: Path
) -> None:
    fleet.add_vm("web01", enrolled=True)
    fleet.add_vm("web02", enrolled=True)
    (tmp_path / "inventory").write_text("web01\nweb02\n")
    environment = {**os.environ, **fleet.environment, "ANSIBLE_COLLECTIONS_PATH": str(collection)}
    command = [program("ansible-playbook"), "openngt.guest_tools.refresh", "-i", str(tmp_path / "inventory")]
    for given, said in (
        ("openngt_threshold_days=-1", "threshold_days: -1 is less than 0 (0: those that have expired) [INVALID_INPUT]"),
        ("openngt_endpoint=https://127.0.0.1:9", "no answer from https://127.0.0.1:9: Connection refused"),
    ):
        done = subprocess.run(
            [*command, "-e", given],
            env={**environment, "ANSIBLE_HOME": str(tmp_path / "home"), "ANSIBLE_NOCOLOR": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2 and done.stdout.count("failed=1") == 2, done.stdout + done.stderr
        assert done.stdout.count("fatal: [web0") == 2 and said in done.stdout, done.stdout
        assert "remedy: " in done.stdout
    assert fleet.changes() == []
