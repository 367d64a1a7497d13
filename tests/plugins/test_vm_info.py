# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that only read: `vm_info` with its wait for a proven link, and `health_info`."""

from collections.abc import Callable
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt.link import missing_for_proof, wait_for_links

from .conftest import Fleet

RunTasks = Callable[..., list[dict[str, Any]]]
INFO = "openngt.guest_tools.vm_info"
HEALTH = "openngt.guest_tools.health_info"
LINKED = {"kind": "link", "generation": 4}


def test_all_vms_or_the_named_ones(fleet: Fleet, run_tasks: RunTasks) -> None:
    for name in ("web01", "web02"):
        fleet.add_vm(name, enrolled=True)
    [all_of_them, one, none] = run_tasks(
        [{INFO: {}}, {INFO: {"vm": ["web02"]}}, {INFO: {"vm": ["nowhere"]}}], environment=fleet.environment
    )
    assert {vm["vm_name"] for vm in all_of_them["vms"]} == {"web01", "web02"}
    assert [vm["vm_name"] for vm in one["vms"]] == ["web02"]
    assert none["vms"] == [] and not none["changed"]


def test_clones_that_wait_are_read_and_enabled_by_the_module(fleet: Fleet, run_tasks: RunTasks) -> None:
    parent = fleet.add_vm("web01", enrolled=True)
    copy = fleet.add_vm("web01-copy")
    fleet.service.hypervisor.guest(copy, cloned_from=parent)
    fleet.client.enable(parent, {"vss_snapshot": False})
    [plain, waiting, enabled, after] = run_tasks(
        [
            {INFO: {}},
            {INFO: {"vm": ["web01"], "clone_pending": True}},
            {"openngt.guest_tools.vm": {"vm": "web01-copy"}},
            {INFO: {"clone_pending": True}},
        ],
        environment=fleet.environment,
    )
    assert "clones" not in plain
    [clone] = waiting["clones"]
    assert (clone["vm_uuid"], clone["clone_pending"]) == (copy, True)
    assert clone["cloned_from"] == {"vm_uuid": parent, "vm_name": "web01"}
    assert [vm["vm_name"] for vm in waiting["vms"]] == ["web01"] and not waiting["changed"]
    assert enabled["changed"] and after["clones"] == []
    assert (enabled["vm"]["vss_snapshot"], enabled["vm"]["self_service_restore"]) == (False, True), "as its parent's"
    assert {vm["vm_name"] for vm in after["vms"]} == {"web01", "web01-copy"}


def test_the_records_are_filtered_and_sorted_by_the_service(fleet: Fleet, run_tasks: RunTasks) -> None:
    for name, power_state in (("web01", "on"), ("web02", "off"), ("web03", "on"), ("db01", "on")):
        fleet.add_vm(name, power_state=power_state, enrolled=True)
    chosen = {"filters": ["power_state=on", "vm_name=web*", "link=inactive"], "sort": "-vm_name"}
    [found, bad_filter, bad_sort, both] = run_tasks(
        [
            {INFO: chosen},
            {INFO: {"filters": ["link=up"]}},
            {INFO: {"sort": "colour"}},
            {INFO: {"vm": ["web01"], "wait_for_link": True, "sort": "link"}},
        ],
        environment=fleet.environment,
    )
    assert [vm["vm_name"] for vm in found["vms"]] == ["web03", "web01"]
    assert (bad_filter["code"], bad_filter["details"]["field"]) == ("INVALID_INPUT", "link")
    assert "give inactive, active" in bad_filter["msg"]
    assert "vm_name" in bad_sort["details"]["allowed"]
    assert both["code"] == "INVALID_INPUT" and "wait_for_link" in both["msg"]


def test_a_link_that_does_not_come_says_what_both_sides_saw(fleet: Fleet, run_tasks: RunTasks) -> None:
    vm_uuid = fleet.add_vm("web01", enrolled=True)
    wait = {"vm": ["web01"], "wait_for_link": True, "wait_seconds": 0.1, "guest_saw": {"last_error": "TLS alert"}}
    [failed, checked, stranger] = run_tasks(
        [{INFO: wait}, {INFO: wait, "check_mode": True}, {INFO: {**wait, "vm": ["nowhere"]}}],
        environment=fleet.environment,
    )
    assert failed["code"] == "LINK_NOT_ACTIVE"
    assert "web01: no active link" in failed["msg"]
    [seen] = failed["details"]["service_saw"]
    assert (seen["vm_uuid"], seen["missing"], seen["power_state"]) == (vm_uuid, "no active link", "on")
    assert failed["details"]["guest_saw"] == {"last_error": "TLS alert"}
    assert not checked.get("failed"), "in check mode nobody waits"
    assert stranger["code"] in ("NOT_ENROLLED", "VM_NOT_FOUND")


class Answers:
    """A client whose VM answers with these records, one after the other; None: the service is away."""

    def __init__(self, *records: dict[str, Any] | None) -> None:
        self.records = list(records)

    def vm(self, _vm: str) -> dict[str, Any]:
        found = self.records.pop(0)
        if found is None:
            raise OpenNGTError("ENDPOINT_UNREACHABLE", "no answer")
        return found


def record(*, active: bool, **more: Any) -> dict[str, Any]:
    return {"vm_name": "web01", "vm_uuid": "u", "communication_link_active": active, "certificate": None, **more}


def test_waiting_ends_with_the_proof() -> None:
    pauses: list[float] = []
    last = record(active=True, certificate=LINKED)
    client: Any = Answers(record(active=False), record(active=True), last)
    assert wait_for_links(client, ["web01"], 60, generation=4, pause=pauses.append) == [last]
    assert len(pauses) == 2


def test_a_service_that_restarts_is_waited_for_until_the_time_is_up() -> None:
    last = record(active=True, certificate=LINKED)
    back: Any = Answers(record(active=False), None, None, last)
    assert wait_for_links(back, ["web01"], 60, generation=4, pause=lambda _: None) == [last]
    away: Any = Answers(None)
    with pytest.raises(OpenNGTError) as caught:
        wait_for_links(away, ["web01"], 0)
    assert caught.value.code == "ENDPOINT_UNREACHABLE"


def test_the_gateways_refusal_is_quoted() -> None:
    refused = record(active=False, link={"last_refusal": {"reason": "retired", "at": "then"}})
    client: Any = Answers(refused)
    with pytest.raises(OpenNGTError, match=r"web01: no active link \(the gateway refused it: retired\)") as caught:
        wait_for_links(client, ["web01"], 0)
    assert caught.value.code == "LINK_NOT_ACTIVE"


def test_what_proves_a_link() -> None:
    good = {"communication_link_active": True, "certificate": LINKED}
    assert missing_for_proof(good, None) is None
    assert missing_for_proof(good, 4) is None
    assert missing_for_proof(good, 5) == "the link runs with generation 4, not 5"
    assert missing_for_proof({**good, "certificate": {**LINKED, "kind": "bootstrap"}}, None) is not None
    assert missing_for_proof({**good, "certificate": None}, None) is not None
    assert missing_for_proof({**good, "communication_link_active": False}, None) == "no active link"


def test_health_checks_are_read_filtered_and_run(fleet: Fleet, run_tasks: RunTasks) -> None:
    [read, run, unknown] = run_tasks(
        [{HEALTH: {"checks": ["ngt_link_check"]}}, {HEALTH: {"run": True}}, {HEALTH: {"checks": ["third"]}}],
        environment=fleet.environment,
    )
    assert [check["name"] for check in read["checks"]] == ["ngt_link_check"]
    assert len(run["checks"]) > 1 and not run["changed"]
    assert unknown["code"] == "INVALID_INPUT" and "ngt_link_check" in unknown["msg"]
    assert sum(run["counts"].values()) == len(run["checks"])


def test_health_has_alerts_and_history_when_they_are_wanted(fleet: Fleet, run_tasks: RunTasks) -> None:
    vm_uuid = fleet.add_vm("web01", enrolled=True)
    fleet.add_vm("web02", enrolled=True)
    wanted = {"run": True, "max_items": 1, "alerts": True, "history_days": 2, "vm": ["web01"]}
    [health, without_days] = run_tasks([{HEALTH: wanted}, {HEALTH: {"vm": ["web01"]}}], environment=fleet.environment)
    assert (health["vm_counts"]["INFO"], health["problems_total"], len(health["problems"])) == (2, 2, 1)
    [link] = [check for check in health["checks"] if check["name"] == "ngt_link_check"]
    assert (len(link["items"]), link["items_total"]) == (1, 2)
    assert health["problems"][0]["resolutions"] == link["resolutions"]
    [row] = health["history"]["items"]
    assert (row["vm_uuid"], row["days"]) == (vm_uuid, [None, "INFO"])
    assert health["alerts"] == [], "INFO of this check is no alert"
    assert without_days["failed"]
