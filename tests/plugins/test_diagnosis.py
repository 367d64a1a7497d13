# SPDX-License-Identifier: GPL-3.0-or-later
"""The diagnosis as plays have it: the modules' halves, the filters that join them, and the playbook on any host."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from plugins.filter.diagnosis import diagnosed, diagnosis_lines

from ..conftest import program
from .conftest import Fleet

RunTasks = Callable[..., list[dict[str, Any]]]
DIAGNOSIS = "openngt.guest_tools.diagnosis_info"
LINK = "openngt.guest_tools.link_info"
# What Ansible registers, word by word, of a guest without an interpreter and of one that does not answer.
NO_PYTHON = {"rc": 127, "msg": "The module interpreter '/usr/bin/python3' was not found.", "failed": False}
UNREACHABLE = {"unreachable": True, "msg": "Failed to connect to the host via ssh: no route\nmore", "changed": False}


def test_the_services_half_and_a_vm_that_nobody_knows(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01", power_state="off", enrolled=True)
    [found, unknown] = run_tasks(
        [{DIAGNOSIS: {"vm": "web01"}}, {DIAGNOSIS: {"vm": "nowhere"}}], environment=fleet.environment
    )
    assert not found["changed"]
    assert (found["diagnosis"]["cause"], found["diagnosis"]["vm_name"]) == ("VM_POWERED_OFF", "web01")
    assert found["diagnosis"]["service_saw"]["power_state"] == "off"
    assert unknown["code"] == "VM_NOT_FOUND" and unknown["remedy"]
    assert fleet.changes() == []


def test_the_guests_half_of_a_machine_without_an_agent(run_tasks: RunTasks) -> None:
    [found, checked] = run_tasks(
        [{LINK: {"gateway_host": "127.0.0.1", "gateway_port": 9}}, {LINK: {}, "check_mode": True}]
    )
    assert found["guest"]["installed"] is False and not found["changed"]
    assert [attempt["tcp"] for attempt in found["guest"]["gateway"]] == ["Connection refused"]
    assert checked["guest"]["python"]


def test_the_filter_takes_results_of_every_kind(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01", enrolled=True)
    [service, guest] = run_tasks([{DIAGNOSIS: {"vm": "web01"}}, {LINK: {}}], environment=fleet.environment)
    guest["guest"]["vm_uuid"] = None  # this machine is no VM of the fleet
    assert diagnosed(service, guest)["cause"] == "AGENT_NOT_INSTALLED"
    assert diagnosed(service, NO_PYTHON)["cause"] == "GUEST_HAS_NO_PYTHON"
    for silent in (None, {}, {"skipped": True, "changed": False}):
        assert diagnosed(service, silent)["cause"] == "AGENT_NOT_INSTALLED", "nothing was ever issued"
    lines = diagnosis_lines(diagnosed(service, UNREACHABLE), "web01")
    assert lines[0].startswith("web01: AGENT_NOT_INSTALLED: ") and "; remedy: " in lines[0]
    assert any("agent_running" in line and "no route)" in line for line in lines if "not made" in line)
    down = {"code": "ENDPOINT_UNREACHABLE", "msg": "no answer from https://192.0.2.1:2073", "remedy": "start it"}
    assert diagnosed(down, None)["cause"] == "SERVICE_UNREACHABLE"
    refused = {"code": "AUTHENTICATION_FAILED", "msg": "the token is not known", "remedy": "give a valid token"}
    assert (diagnosed(refused)["cause"], diagnosed(refused)["remedy"]) == ("NOT_KNOWN", "give a valid token")


@pytest.fixture
def play(collection: Path, fleet: Fleet, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """The playbook on hosts that nobody can log in to."""

    def run(hosts: Mapping[str, str], *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        inventory = tmp_path / "hosts.json"
        of_host = {
            name: {"openngt_vm": vm, "ansible_host": "127.0.0.1", "ansible_port": 9} for name, vm in hosts.items()
        }
        inventory.write_text(json.dumps({"all": {"hosts": of_host}}), encoding="utf-8")
        return subprocess.run(
            [program("ansible-playbook"), "openngt.guest_tools.diagnose", "-i", str(inventory), *arguments],
            env={
                **os.environ,
                **fleet.environment,
                "ANSIBLE_COLLECTIONS_PATH": str(collection),
                "ANSIBLE_HOME": str(tmp_path / "ansible"),
                "ANSIBLE_NOCOLOR": "true",
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_playbook_answers_for_guests_that_do_not(
    fleet: Fleet, play: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    off = fleet.add_vm("off", power_state="off", enrolled=True)
    stranger = fleet.add_vm("stranger")
    for arguments in ((), ("--check",)):
        done = play({"one": off, "two": stranger, "three": "nowhere"}, *arguments)
        assert done.returncode == 0, done.stdout
        assert "one: VM_POWERED_OFF: " in done.stdout and "two: NOT_ENROLLED: " in done.stdout
        assert "three: NOT_KNOWN: " in done.stdout and "remedy: set openngt_vm" in done.stdout
        assert "changed=0" in done.stdout and "changed=1" not in done.stdout
    assert fleet.changes() == []


def test_the_playbook_fails_hosts_without_a_link_when_asked_to(
    fleet: Fleet, play: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    off = fleet.add_vm("off", power_state="off", enrolled=True)
    done = play({"one": off}, "-e", "openngt_fail=true")
    assert done.returncode == 2
    assert "VM_POWERED_OFF" in done.stdout and "power the VM on" in done.stdout


def test_the_playbook_says_that_the_service_is_down(
    fleet: Fleet, play: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    done = play({"one": "any"}, OPENNGT_ENDPOINT="https://127.0.0.1:9", OPENNGT_TIMEOUT="3")
    assert done.returncode == 0, done.stdout
    assert "one: SERVICE_UNREACHABLE: " in done.stdout
