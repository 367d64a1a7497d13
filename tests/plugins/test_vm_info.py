# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that only read: `vm_info` with its wait for a proven link, and `health_info`."""

import threading
from collections.abc import Callable
from typing import Any

from plugins.module_utils.link import missing_for_proof
from tests.fakes.api import FakeService

RunTasks = Callable[..., list[dict[str, Any]]]
INFO = "openngt.guest_tools.vm_info"
HEALTH = "openngt.guest_tools.health_info"


def test_all_vms_or_the_named_ones(service: FakeService, run_tasks: RunTasks) -> None:
    for name in ("web01", "web02"):
        service.add_vm(name)
        service.enable(name, {})
    [all_of_them, one, none] = run_tasks(
        [{INFO: {}}, {INFO: {"vm": ["web02"]}}, {INFO: {"vm": ["nowhere"]}}], environment=service.environment
    )
    assert {vm["vm_name"] for vm in all_of_them["vms"]} == {"web01", "web02"}
    assert [vm["vm_name"] for vm in one["vms"]] == ["web02"]
    assert none["vms"] == [] and not none["changed"]


def test_waiting_ends_with_the_link(service: FakeService, run_tasks: RunTasks) -> None:
    vm_uuid = service.add_vm("web01")
    service.enable("web01", {})
    service.records[vm_uuid]["generation"] = 4
    connecting = threading.Timer(3.0, service.connect, [vm_uuid])
    connecting.start()
    wait = {"vm": ["web01"], "wait_for_link": True, "generation": 4, "wait_seconds": 120}
    [proven] = run_tasks([{INFO: wait}], environment=service.environment)
    connecting.join()
    assert proven["vms"][0]["communication_link_active"] is True


def test_a_link_that_does_not_come_says_what_both_sides_saw(service: FakeService, run_tasks: RunTasks) -> None:
    vm_uuid = service.add_vm("web01")
    service.enable("web01", {})
    service.records[vm_uuid]["link"]["last_refusal"] = {"reason": "retired", "at": "then"}
    wait = {"vm": ["web01"], "wait_for_link": True, "wait_seconds": 0.1, "guest_saw": {"last_error": "TLS alert"}}
    [failed, checked] = run_tasks([{INFO: wait}, {INFO: wait, "check_mode": True}], environment=service.environment)
    assert failed["code"] == "LINK_NOT_ACTIVE"
    assert "web01: no active link (the gateway refused it: retired)" in failed["msg"]
    assert failed["details"]["service_saw"][0]["link"]["last_refusal"]["reason"] == "retired"
    assert failed["details"]["guest_saw"] == {"last_error": "TLS alert"}
    assert not checked.get("failed"), "in check mode nobody waits"


def test_what_proves_a_link() -> None:
    certificate = {"kind": "link", "generation": 4}
    good = {"communication_link_active": True, "certificate": certificate}
    assert missing_for_proof(good, None) is None
    assert missing_for_proof(good, 4) is None
    assert missing_for_proof(good, 5) == "the link runs with generation 4, not 5"
    assert missing_for_proof({**good, "certificate": {**certificate, "kind": "bootstrap"}}, None) is not None
    assert missing_for_proof({**good, "certificate": None}, None) is not None
    assert missing_for_proof({**good, "communication_link_active": False}, None) == "no active link"


def test_health_checks_are_read_filtered_and_run(service: FakeService, run_tasks: RunTasks) -> None:
    service.checks = [{"name": name, "state": "PASS", "message": "", "items": []} for name in ("first", "second")]
    [read, run, checked, unknown] = run_tasks(
        [
            {HEALTH: {"checks": ["second"]}},
            {HEALTH: {"run": True}},
            {HEALTH: {"run": True}, "check_mode": True},
            {HEALTH: {"checks": ["third"]}},
        ],
        environment=service.environment,
    )
    assert [check["name"] for check in read["checks"]] == ["second"]
    assert len(run["checks"]) == len(checked["checks"]) == 2
    assert len(service.changes()) == 1, "check mode does not run the checks"
    assert unknown["code"] == "INVALID_INPUT" and "first, second" in unknown["msg"]
