# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules `customization` and `customization_info`: what they ask of a service, and what they tell of its answers."""

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.fakes.customizations import PLAN, ROW, SAME, TASK, ok, refused
from tests.fakes.prepared_service import TOKEN, PreparedService, make_certificates

from ..conftest import program

RunTasks = Callable[..., list[dict[str, Any]]]
MODULE = "openngt.guest_tools.customization"
INFO = "openngt.guest_tools.customization_info"
SECRET = "canary-password-51f2"
MISSPELT = {
    "severity": "error",
    "code": "UNKNOWN_KEY",
    "part": "scripts[0]",
    "message": "is no key of a user",
    "remedy": "write lock_passwd",
    "line": 9,
    "key": "users.0.lock-passwd",
}
MISSPELT_LINE = "scripts[0] line 9: users.0.lock-passwd is no key of a user: write lock_passwd"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder, x509.IPAddress(ip_address("127.0.0.1")))
    return folder


@pytest.fixture
def service(certificates: Path) -> Iterator[PreparedService]:
    found = PreparedService(certificates)
    yield found
    found.stop()


@pytest.fixture
def environment(service: PreparedService) -> dict[str, str]:
    return {"OPENNGT_ENDPOINT": service.endpoint, "OPENNGT_TOKEN": TOKEN, "OPENNGT_CA_FILE": service.ca_file}


def calls(service: PreparedService) -> list[tuple[str, str]]:
    return [(seen.method, seen.path) for seen in service.seen]


def test_it_plans_applies_and_waits_until_the_guest_is_through(
    service: PreparedService, environment: dict[str, str], run_tasks: RunTasks
) -> None:
    states = [{**ROW, "state": state} for state in ("pending", "running", "done")]
    service.replies = [ok(PLAN), ok(TASK), *map(ok, states)]
    asked = {"vm": "web1", "options": {"hostname": "web1", "password": SECRET}, "instance_id": "i-2"}
    [result] = run_tasks([{MODULE: asked}], diff=True, environment=environment)
    assert result["changed"] and result["customization"]["state"] == "done" and result["findings"] == []
    assert result["diff"] == {"before": "", "after": PLAN["preview_after"]}
    assert SECRET not in json.dumps(result) and "invocation" not in result
    path = "/v1/customizations/web1"
    assert calls(service) == [("POST", f"{path}/plan"), ("PUT", path), *[("GET", path)] * 3]
    assert service.seen[0].body == service.seen[1].body
    assert service.seen[1].body == {
        "format": "cloud_init",
        "options": {"hostname": "web1", "password": SECRET},
        "datasource": "nocloud",
        "install_type": "prepared",
        "instance_id": "i-2",
        "power_on": True,
        "wait_seconds": 1800,
    }


def test_a_vm_that_has_it_is_left_alone_and_check_mode_only_plans(
    service: PreparedService, environment: dict[str, str], run_tasks: RunTasks
) -> None:
    service.replies = [ok(PLAN), ok(SAME), ok({**ROW, "state": "done"})]
    task = {MODULE: {"vm": "web1", "options": {"hostname": "web1"}}}
    would, same = run_tasks([{**task, "check_mode": True}, task], diff=True, environment=environment)
    assert (would["changed"], would["customization"]) == (True, None)
    assert would["diff"]["after"] == PLAN["preview_after"]
    assert (same["changed"], same["customization"]["state"], same["reason"]) == (False, "done", "the VM has it")
    assert same["diff"]["before"] == same["diff"]["after"]
    assert [method for method, _ in calls(service)] == ["POST", "POST", "GET"]


def test_src_is_a_file_beside_the_play_and_is_sent_byte_for_byte(
    service: PreparedService, environment: dict[str, str], run_tasks: RunTasks, tmp_path: Path
) -> None:
    script, motd = b"#!/bin/sh\r\n\xfftrue\n", "caf\u00e9\n".encode()
    (tmp_path / "files").mkdir()
    (tmp_path / "files/setup.sh").write_bytes(script)
    (tmp_path / "motd").write_bytes(motd)
    asked = {
        "vm": "web1",
        "scripts": [{"src": "setup.sh"}, {"datastore_path": "shared/base.yml"}],
        "files": [{"path": "/etc/motd", "src": str(tmp_path / "motd"), "mode": "0600"}],
        "wait": False,
        "power_on": False,
    }
    service.replies = [ok(PLAN), ok(TASK), ok(ROW)]
    [result] = run_tasks([{MODULE: asked}], environment=environment)
    assert result["changed"] and result["customization"]["state"] == "pending"
    assert len(service.seen) == 3, "not waited for"
    body = service.seen[1].body
    encoded = [base64.b64encode(content).decode() for content in (script, motd)]
    assert body["scripts"] == [
        {"content_base64": encoded[0], "name": "setup.sh"},
        {"datastore_path": "shared/base.yml"},
    ]
    assert body["files"] == [{"path": "/etc/motd", "content_base64": encoded[1], "mode": "0600"}]
    assert body["power_on"] is False


def test_each_finding_is_a_line_with_place_key_and_remedy(
    service: PreparedService, environment: dict[str, str], run_tasks: RunTasks
) -> None:
    warning = {**MISSPELT, "severity": "warning", "part": "network", "line": None, "key": "", "message": "no MAC"}
    findings = [warning, MISSPELT]
    refusal = refused(422, "CUSTOMIZATION_INVALID", "1 error", {"findings": findings})
    service.replies = [ok({**PLAN, "findings": findings})] * 2 + [refusal]
    tasks = [{MODULE: {"vm": "web1"}, "check_mode": check} for check in (True, False)] * 2
    for result in run_tasks(tasks, environment=environment):
        assert result["failed"] and result["code"] == "CUSTOMIZATION_INVALID" and result["remedy"]
        assert result["findings"] == [MISSPELT_LINE, "warning: network: no MAC: write lock_passwd"]
        assert result["details"]["findings"] == result["findings"]
        assert MISSPELT_LINE in result["msg"]
    assert {method for method, _ in calls(service)} == {"POST"}


def test_warnings_are_shown_and_stop_nothing(
    service: PreparedService, environment: dict[str, str], run_tasks: RunTasks
) -> None:
    finding = {**MISSPELT, "severity": "warning", "key": "", "message": "package_upgrade makes the first boot long"}
    service.replies = [ok({**PLAN, "findings": [finding]}), ok(TASK), ok({**ROW, "state": "done"})]
    [result] = run_tasks([{MODULE: {"vm": "web1"}}], environment=environment)
    assert not result.get("failed") and result["findings"][0].startswith("warning: scripts[0] line 9: package_upgrade")
    assert result["warnings"]


ENDS = [
    ("failed", "CUSTOMIZATION_FAILED", "scripts-user: the disk /dev/nope is missing"),
    ("timed_out", "CUSTOMIZATION_TIMED_OUT", "the guest has said nothing for 1800 s"),
]


def test_a_guest_that_failed_fails_the_task_with_its_own_words(
    service: PreparedService, environment: dict[str, str], run_tasks: RunTasks
) -> None:
    service.replies = []
    for state, code, message in ENDS:
        ended = {**ROW, "state": state, "code": code, "message": message, "details": {"module": "scripts-user"}}
        service.replies += [ok(PLAN), ok(TASK), ok(ended)]
    results = run_tasks([{MODULE: {"vm": "web1"}} for _ in ENDS], environment=environment)
    for result, (_, code, message) in zip(results, ENDS, strict=True):
        assert result["failed"] and result["changed"] and result["code"] == code and message in result["msg"]
        assert result["details"]["module"] == "scripts-user"


def test_absent_takes_it_back_once(service: PreparedService, environment: dict[str, str], run_tasks: RunTasks) -> None:
    gone = refused(404, "NOT_FOUND", "web1 was never customized", {})
    service.replies = [ok(ROW), ok(ROW), ok(TASK), gone]
    task = {MODULE: {"vm": "web1", "state": "absent"}}
    results = run_tasks([{**task, "check_mode": True}, task, task], environment=environment)
    assert [result["changed"] for result in results] == [True, True, False]
    assert [method for method, _ in calls(service)] == ["GET", "GET", "DELETE", "GET"]


BAD = [
    ({"scripts": [{"name": "empty"}]}, "scripts[0]: give one of"),
    ({"scripts": [{"content": SECRET, "src": "a"}]}, "content and src"),
    ({"files": [{"path": "/a", "content": SECRET}, {"path": "/b", "src": "no-such-file"}]}, "files[1].src"),
    ({"files": [{"content": SECRET}]}, "path"),
    ({"scripts": SECRET}, "scripts"),
    ({"format": "kickstart"}, "format"),
    ({"colour": SECRET}, "colour"),
]


def test_what_makes_no_sense_is_named_without_its_value_and_asks_nothing(
    service: PreparedService, environment: dict[str, str], run_tasks: RunTasks
) -> None:
    results = run_tasks([{MODULE: {"vm": "web1", **options}} for options, _ in BAD], environment=environment)
    for result, (_, named) in zip(results, BAD, strict=True):
        assert result["failed"] and result["code"] == "INVALID_INPUT" and named in result["msg"]
    assert SECRET not in json.dumps(results)
    assert service.seen == []


def test_the_loudest_ansible_shows_no_password(
    service: PreparedService, environment: dict[str, str], collection: Path, tmp_path: Path
) -> None:
    """T28 T35: not at -vvv, not in a diff, not in the result that is registered and printed."""
    service.replies = [ok(PLAN), ok(TASK), ok({**ROW, "state": "done"})]
    script = {"content": f"#cloud-config\npassword: {SECRET}\n"}
    task = {MODULE: {"vm": "web1", "options": {"password": SECRET}, "scripts": [script]}, "register": "done"}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [task, {"ansible.builtin.debug": {"var": "done"}}],
    }
    (tmp_path / "play.json").write_text(json.dumps([play]))
    home = tmp_path / "home"
    found = subprocess.run(
        [program("ansible-playbook"), "-vvvv", "--diff", str(tmp_path / "play.json")],
        env={**os.environ, **environment, "ANSIBLE_COLLECTIONS_PATH": str(collection), "ANSIBLE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert SECRET not in found.stdout + found.stderr
    assert "hostname: web1" in found.stdout, "the diff is there"


def test_rows_are_told_for_all_for_some_and_by_state(
    service: PreparedService, environment: dict[str, str], run_tasks: RunTasks
) -> None:
    rows = [ROW, {**ROW, "vm_name": "db1", "state": "failed"}]
    gone = refused(404, "NOT_FOUND", "db1 was never customized", {})
    service.replies = [ok({"items": rows}), ok({"items": rows}), ok(ROW), gone]
    everything, failed, some = run_tasks(
        [{INFO: {}}, {INFO: {"states": ["failed"]}}, {INFO: {"vm": ["web1", "db1"]}}], environment=environment
    )
    assert [row["vm_name"] for row in everything["customizations"]] == ["web1", "db1"]
    assert [row["vm_name"] for row in failed["customizations"]] == ["db1"]
    assert [row["vm_name"] for row in some["customizations"]] == ["web1"]
