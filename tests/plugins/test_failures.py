# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong between a play and the service: each with its code and remedy, none with a traceback."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .conftest import Fleet

RunTasks = Callable[..., list[dict[str, Any]]]
VM = "openngt.guest_tools.vm"
VM_INFO = "openngt.guest_tools.vm_info"
MOUNT = "openngt.guest_tools.mount"
HEALTH_INFO = "openngt.guest_tools.health_info"


def assert_failed(results: list[dict[str, Any]], code: str, *, without: str = "") -> None:
    for result in results:
        assert result["failed"]
        assert result["code"] == code, result["msg"]
        assert result["remedy"]
        text = json.dumps(result)
        assert "Traceback" not in text
        assert not without or without not in text


def test_bad_token(fleet: Fleet, run_tasks: RunTasks) -> None:
    secret = "canary-bad-token"
    tasks = [{VM: {"vm": "web01"}}, {MOUNT: {"vm": "web01"}}, {VM_INFO: {}}, {HEALTH_INFO: {}}]
    results = run_tasks(tasks, environment={**fleet.environment, "OPENNGT_TOKEN": secret})
    assert_failed(results, "AUTHENTICATION_FAILED", without=secret)


def test_certificate_of_a_ca_that_is_not_given(fleet: Fleet, run_tasks: RunTasks) -> None:
    environment = {key: value for key, value in fleet.environment.items() if key != "OPENNGT_CA_FILE"}
    assert_failed(run_tasks([{VM_INFO: {}}], environment=environment), "TLS_NOT_TRUSTED")


def test_nobody_listens(fleet: Fleet, run_tasks: RunTasks) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port meanwhile
        endpoint = f"https://127.0.0.1:{closed.getsockname()[1]}"
        results = run_tasks([{HEALTH_INFO: {"endpoint": endpoint, "timeout": 1}}], environment=fleet.environment)
    assert_failed(results, "ENDPOINT_UNREACHABLE")


def test_ca_file_that_is_none(fleet: Fleet, run_tasks: RunTasks, tmp_path: Path) -> None:
    tasks = [{VM: {"vm": "web01", "ca_file": str(tmp_path / "missing.pem")}}]
    results = run_tasks(tasks, environment=fleet.environment)
    assert_failed(results, "INVALID_INPUT")


def test_vms_that_cannot_be_worked_on(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("off", power_state="off", enrolled=True)
    fleet.add_vm("twin")
    fleet.add_vm("twin")
    tasks = [
        {VM: {"vm": "nowhere"}, "check_mode": True},
        {VM: {"vm": "nowhere"}},
        {VM: {"vm": "twin"}},
        {MOUNT: {"vm": "nowhere"}},
        {MOUNT: {"vm": "off"}, "check_mode": True},
        {MOUNT: {"vm": "off"}},
    ]
    results = run_tasks(tasks, environment=fleet.environment)
    codes = ["VM_NOT_FOUND", "VM_NOT_FOUND", "VM_AMBIGUOUS", "VM_NOT_FOUND", "VM_POWERED_OFF", "VM_POWERED_OFF"]
    assert [result["code"] for result in results] == codes
    assert fleet.changes() == [], "nothing had been changed"
