# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that ask the service say to bad input: failed, `code`, `remedy`, words that name what is wrong."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.fakes.odd_fleet import NOBODY, odd_fleet, token_of
from tests.fakes.service import ServiceProcess

from openngt.errors import REMEDIES

RunTasks = Callable[..., list[dict[str, Any]]]
Row = tuple[str, dict[str, Any], str, str]
PREFIX = "openngt.guest_tools."
MODULES = Path(__file__).resolve().parents[2] / "plugins/modules"

LOGIN = {"host": "127.0.0.1", "credentials": {"username": "root", "password": "not shown"}}
BAD: list[Row] = [
    *[
        (module, {"vm": reference if module not in LISTS else [reference], **more}, code, reference)
        for LISTS in [("power", "refresh", "upgrade")]
        for module, more, unknown in [
            ("vm", {}, "VM_NOT_FOUND"),
            ("mount", {}, "VM_NOT_FOUND"),
            ("power", {"verb": "reset"}, "VM_NOT_FOUND"),
            ("refresh", {}, "VM_NOT_FOUND"),
            ("upgrade", {}, "VM_NOT_FOUND"),
            ("diagnosis_info", {}, "VM_NOT_FOUND"),
            ("customization", {}, "VM_NOT_FOUND"),
        ]
        for reference, code in [(NOBODY, unknown), ("twin", "VM_AMBIGUOUS")]
    ],
    ("mount", {"vm": "plain"}, "NOT_ENROLLED", "plain"),
    ("mount", {"vm": "off"}, "VM_POWERED_OFF", "off"),
    ("mount", {"vm": "full"}, "NO_EMPTY_DRIVE", "/isos/debian.iso"),
    ("mount", {"vm": "silent", "lease_seconds": 0}, "INVALID_INPUT", "lease_seconds"),
    ("vm", {"vm": "off", "require_running": True}, "VM_POWERED_OFF", "off"),
    ("power", {"vm": [], "verb": "reset"}, "INVALID_INPUT", "vm"),
    ("power", {"vm": ["off"], "verb": "reset"}, "VM_POWERED_OFF", "off"),
    ("power", {"vm": ["off"], "verb": "guest_reboot"}, "VM_POWERED_OFF", "off"),
    ("power", {"vm": ["paused"], "verb": "shutdown"}, "VM_PAUSED", "paused"),
    ("power", {"vm": ["silent"], "verb": "guest_shutdown"}, "LINK_NOT_ACTIVE", "silent"),
    ("power", {"vm": ["silent"], "verb": "reset", "fallback": "off"}, "INVALID_INPUT", "fallback"),
    ("refresh", {"vm": []}, "INVALID_INPUT", "vm"),
    ("refresh", {"threshold_days": -1}, "INVALID_INPUT", "threshold_days"),
    ("refresh", {"vm": ["silent"], "validity_days": -1}, "INVALID_INPUT", "validity_days"),
    ("refresh", {"vm": ["off"]}, "VM_POWERED_OFF", "off"),
    ("refresh", {"vm": ["full"], "via": "iso"}, "NO_EMPTY_DRIVE", "full"),
    ("refresh", {"vm": ["silent"], "via": "link"}, "LINK_NOT_ACTIVE", "silent"),
    ("refresh", {"vm": ["plain"]}, "NOT_ENROLLED", "plain"),
    ("upgrade", {"vm": []}, "INVALID_INPUT", "vm"),
    ("upgrade", {"vm": ["silent"], "version": "9.9.9"}, "VERSION_UNSUPPORTED", "9.9.9"),
    ("upgrade", {"vm": ["plain"]}, "NOT_ENROLLED", "plain"),
    ("customization", {"vm": "full", "options": {"hostname": "full"}}, "NO_EMPTY_DRIVE", "/isos/debian.iso"),
    ("customization", {"vm": "plain", "options": {"colour": "red"}}, "CUSTOMIZATION_INVALID", "colour"),
    ("customization", {"vm": "plain", "scripts": [{"src": "no-such-file"}]}, "INVALID_INPUT", "scripts[0].src"),
    ("customization", {"vm": "plain", "scripts": [{"content": "echo"}]}, "CUSTOMIZATION_INVALID", "scripts[0]"),
    ("customization_info", {"vm": ["twin"]}, "VM_AMBIGUOUS", "twin"),
    ("ca_rollover", {"step": "prepare", "replaces": "no fingerprint"}, "INVALID_INPUT", "replaces"),
    ("health_policy", {"check": "no_such_check"}, "NOT_FOUND", "no_such_check"),
    (
        "health_policy",
        {"check": "ngt_link_check", "thresholds": {"warn_minutes": "soon"}},
        "INVALID_INPUT",
        "warn_minutes",
    ),
    ("fleet_install", {"hosts": ["no-such-host"]}, "INVALID_INPUT", "no-such-host"),
    ("fleet_install", {"credentials": [{"vmname": 7}]}, "INVALID_INPUT", "vmname"),
    ("fleet_install", {"credentials": [{"vmname": "off", **LOGIN}]}, "VM_POWERED_OFF", "off"),
    ("fleet_install", {"credentials": [{"vmname": "twin", **LOGIN}]}, "VM_AMBIGUOUS", "twin"),
    ("fleet_install", {"credentials": [], "credentials_file": "/nowhere"}, "INVALID_INPUT", "mutually exclusive"),
    ("fleet_install", {"hosts": [], "max_in_flight": 0}, "INVALID_INPUT", "max_in_flight"),
    ("fleet_install", {"hosts": [], "host_seconds": 0}, "INVALID_INPUT", "host_seconds"),
    ("fleet_install", {"hosts": [], "wait_seconds": "soon"}, "INVALID_INPUT", "wait_seconds"),
    ("fleet_install", {"hosts": [], "lease_seconds": 1}, "INVALID_INPUT", "lease_seconds"),
    ("fleet_install", {"hosts": [], "colour": "red"}, "INVALID_INPUT", "colour"),
    ("windows_agent", {"minimum_free_mb": "much"}, "INVALID_INPUT", "minimum_free_mb"),
    ("vm_info", {"filters": ["colour=red"]}, "INVALID_INPUT", "filter"),
    ("vm_info", {"sort": "colour"}, "INVALID_INPUT", "sort"),
    ("report", {"failure_days": 0}, "INVALID_INPUT", "failure_days"),
    ("health_info", {"checks": ["no_such_check"]}, "INVALID_INPUT", "no_such_check"),
    ("health_info", {"run": False, "history_days": 0}, "INVALID_INPUT", "days"),
]
# What an operator's or a viewer's token is not good for; modules that only look need no more than a viewer's.
FORBIDDEN_TO_VIEWERS: list[tuple[str, dict[str, Any]]] = [
    ("vm", {"vm": "plain"}),
    ("vm", {"vm": "silent", "state": "absent"}),
    ("mount", {"vm": "silent"}),
    ("power", {"vm": ["silent"], "verb": "reset"}),
    ("refresh", {"vm": ["silent"], "validity_days": 30}),
    ("fleet_install", {"credentials": [{"vmname": "plain", **LOGIN}]}),
    ("health_info", {"run": True}),
    ("health_policy", {"check": "ngt_link_check", "enabled": False}),
    ("upgrade", {"vm": ["plain"]}),
    ("customization", {"vm": "plain"}),
    ("ca_rollover", {"step": "prepare", "force": True}),
]
LOOK_ONLY = {"customization_info", "vm_info", "diagnosis_info", "health_info", "report", "windows_agent"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = odd_fleet(tmp_path_factory.mktemp("service"))
    yield running
    running.stop()


def environment(service: ServiceProcess, token: str) -> dict[str, str]:
    asked = {"OPENNGT_ENDPOINT": service.endpoint, "OPENNGT_TOKEN": token, "OPENNGT_CA_FILE": service.ca_file}
    return {**asked, "XDG_STATE_HOME": str(service.folder)}


def of_the_service() -> set[str]:
    """The modules that take the shared options of the service."""
    found = set()
    for path in MODULES.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        documentation = yaml.safe_load(text.split('DOCUMENTATION = r"""')[1].split('"""')[0])
        if "openngt.guest_tools.service" in documentation.get("extends_documentation_fragment", []):
            found.add(path.stem)
    return found


def assert_clear(result: dict[str, Any], task: str, code: str, words: str) -> None:
    assert result["failed"] and result["code"] == code, (task, result)
    assert result["remedy"] and words in json.dumps([result["msg"], result.get("details")]), (task, result)
    assert "Traceback" not in json.dumps(result) and not result.get("changed"), (task, result)


def test_each_module_of_the_service_is_in_both_tables() -> None:
    assert of_the_service() <= {row[0] for row in BAD} and {row[2] for row in BAD} <= set(REMEDIES)
    assert of_the_service() <= {module for module, _ in FORBIDDEN_TO_VIEWERS} | LOOK_ONLY


# Not foretold: in a play the VM may have been enrolled by then.
SEEN_WHEN_DONE = ("mount", {"vm": "plain"}, "NOT_ENROLLED", "plain")


@pytest.mark.slow
@pytest.mark.parametrize("check_mode", [True, False], ids=["check mode", "for real"])
def test_what_makes_no_sense_fails_with_its_code_and_changes_nothing(
    service: ServiceProcess, run_tasks: RunTasks, check_mode: bool
) -> None:
    rows = [row for row in BAD if not check_mode or (row[0] in ("mount", "power", "refresh") and row != SEEN_WHEN_DONE)]
    with service.client() as client:
        before = [(vm["vm_name"], vm["generation"], vm["power_state"]) for vm in client.vms()]
        tasks = [{PREFIX + module: options, "check_mode": check_mode} for module, options, _, _ in rows]
        results = run_tasks(tasks, environment=environment(service, service.token))
        for (module, options, code, words), result in zip(rows, results, strict=True):
            assert_clear(result, f"{module} {options}", code, words)
        assert [(vm["vm_name"], vm["generation"], vm["power_state"]) for vm in client.vms()] == before


def test_what_a_viewer_may_not_do_is_refused_by_name(service: ServiceProcess, run_tasks: RunTasks) -> None:
    with service.client() as client:
        before = json.dumps([(vm["vm_name"], vm["generation"]) for vm in client.vms()])
        tasks = [{PREFIX + module: options} for module, options in FORBIDDEN_TO_VIEWERS]
        results = run_tasks(tasks, environment=environment(service, token_of(client, "viewer")))
        for (module, options), result in zip(FORBIDDEN_TO_VIEWERS, results, strict=True):
            assert_clear(result, f"{module} {options}", "FORBIDDEN", "viewer")
        assert json.dumps([(vm["vm_name"], vm["generation"]) for vm in client.vms()]) == before
