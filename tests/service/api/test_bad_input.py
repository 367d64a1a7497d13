# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API says to bad input, on the real service: code and remedy, and words that name the field or the VM."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.fakes.odd_fleet import NOBODY, UNKNOWN_UUID, odd_fleet
from tests.fakes.raw_http import call
from tests.fakes.service import ServiceProcess

from openngt.errors import REMEDIES
from openngt_service.api.access import RULES

from .test_access import BODIES, PARAMETERS

Row = tuple[str, str, Any, str, str]
OF_A_VM = sorted(rule for rule in RULES if "{vm}" in rule[1])
# These ask the hypervisor, the others the registry.
ON_HYPERVISOR = {("PUT", "/v1/vms/{vm}"), ("POST", "/v1/vms/{vm}/power"), ("GET", "/v1/vms/{vm}/diagnosis")} | {
    rule for rule in RULES if rule[1].startswith("/v1/customizations/")
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = odd_fleet(tmp_path_factory.mktemp("service"))
    yield running
    running.stop()


class Asked:
    """One call's answer; a task that it made is waited for."""

    def __init__(self, service: ServiceProcess, method: str, path: str, body: Any = None) -> None:
        self.status, answer = call(service, method, path, service.token, body)
        while isinstance(answer, dict) and self.status == 202 and answer["state"] in ("queued", "running"):
            time.sleep(0.05)
            answer = call(service, "GET", f"/v1/tasks/{answer['task_id']}", service.token)[1]
        assert isinstance(answer, dict), answer
        self.error: Any = answer["error"]
        assert self.error, answer

    def assert_clear(self, code: str, words: str) -> None:
        assert self.error["code"] == code, self.error
        assert words in self.error["message"] + str(self.error["details"]), self.error
        assert self.error["remedy"] and "Traceback" not in str(self.error)


@pytest.mark.parametrize("reference", [NOBODY, UNKNOWN_UUID], ids=["name", "UUID"])
@pytest.mark.parametrize(("method", "path"), OF_A_VM)
def test_every_call_for_a_vm_names_one_that_is_unknown(
    service: ServiceProcess, method: str, path: str, reference: str
) -> None:
    asked = Asked(service, method, path.format(vm=reference), BODIES.get((method, path)))
    asked.assert_clear("VM_NOT_FOUND" if (method, path) in ON_HYPERVISOR else "NOT_ENROLLED", reference)
    assert asked.status in (202, 404)


@pytest.mark.parametrize(("method", "path"), OF_A_VM)
def test_every_call_for_a_vm_asks_which_of_two_is_meant(service: ServiceProcess, method: str, path: str) -> None:
    asked = Asked(service, method, path.format(vm="twin"), BODIES.get((method, path)))
    asked.assert_clear("VM_AMBIGUOUS", "twin")
    twins = [vm["vm_uuid"] for vm in service.client().hypervisor_vms("twin")]
    assert all(uuid in str(asked.error) for uuid in twins), "each is named by its UUID"


LISTS_OF_VMS: list[Row] = [
    ("POST", "/v1/refresh", {"vm": [NOBODY]}, "VM_NOT_FOUND", NOBODY),
    ("POST", "/v1/refresh", {"vm": ["twin"]}, "VM_AMBIGUOUS", "twin"),
    ("POST", "/v1/refresh", {"vm": ["plain"]}, "NOT_ENROLLED", "plain"),
    ("POST", "/v1/refresh", {"vm": []}, "INVALID_INPUT", "vm"),
    ("POST", "/v1/refresh", {}, "INVALID_INPUT", "vm"),
    ("POST", "/v1/refresh", {"threshold_days": -1}, "INVALID_INPUT", "threshold_days"),
    ("POST", "/v1/refresh", {"threshold_days": 10**6}, "INVALID_INPUT", "threshold_days"),
    ("POST", "/v1/refresh", {"threshold_days": 1.5}, "INVALID_INPUT", "threshold_days"),
    ("POST", "/v1/refresh", {"threshold_days": 10**30}, "INVALID_INPUT", "threshold_days"),
    ("POST", "/v1/refresh", {"vm": ["silent"], "validity_days": 0}, "INVALID_INPUT", "validity_days"),
    ("POST", "/v1/refresh", {"vm": ["silent"], "validity_days": -5}, "INVALID_INPUT", "validity_days"),
    ("POST", "/v1/refresh", {"vm": ["silent"], "validity_days": 10**6}, "INVALID_INPUT", "validity_days"),
    ("POST", "/v1/refresh", {"vm": ["silent"], "max_in_flight": 0}, "INVALID_INPUT", "max_in_flight"),
    ("POST", "/v1/refresh", {"vm": ["silent"], "jitter_days": -1}, "INVALID_INPUT", "jitter_days"),
    ("POST", "/v1/refresh", {"vm": ["silent"], "spread_seconds": -1}, "INVALID_INPUT", "spread_seconds"),
    ("GET", "/v1/vms?filter=colour=red", None, "INVALID_INPUT", "filter"),
    ("GET", "/v1/vms?sort=colour", None, "INVALID_INPUT", "sort"),
    ("GET", "/v1/vms?page_token=none", None, "INVALID_INPUT", "page_token"),
    ("GET", "/v1/health/history?days=0", None, "INVALID_INPUT", "days"),
    ("GET", "/v1/health/history?check=none", None, "INVALID_INPUT", "check"),
    ("PUT", "/v1/health/checks/no_such_check", {}, "NOT_FOUND", "no_such_check"),
    ("POST", "/v1/health/run", {"checks": ["no_such_check"]}, "INVALID_INPUT", "no_such_check"),
    ("POST", "/v1/certificates/batch", {"items": []}, "INVALID_INPUT", "items"),
    ("POST", "/v1/certificates/batch", {"items": [{"vm_uuid": UNKNOWN_UUID}]}, "NOT_ENROLLED", UNKNOWN_UUID),
    ("POST", "/v1/ca/adopt", {"lines": ["{}"]}, "ISSUE_LOG_DAMAGED", "line"),
    ("DELETE", f"/v1/tokens/{NOBODY}", None, "NOT_FOUND", NOBODY),
    ("GET", "/v1/tasks/ffff", None, "NOT_FOUND", "ffff"),
    ("GET", "/v1/refresh/ffff", None, "NOT_FOUND", "ffff"),
]

WRONG_STATE: list[Row] = [
    ("POST", "/v1/vms/off/mount", {"holder": "me"}, "VM_POWERED_OFF", "off"),
    ("POST", "/v1/vms/full/mount", {"holder": "me"}, "NO_EMPTY_DRIVE", "/isos/debian.iso"),
    ("POST", "/v1/vms/plain/mount", {"holder": "me"}, "NOT_ENROLLED", "plain"),
    ("POST", "/v1/refresh", {"vm": ["off"]}, "VM_POWERED_OFF", "off"),
    ("POST", "/v1/refresh", {"vm": ["full"], "via": "iso"}, "NO_EMPTY_DRIVE", "full"),
    ("POST", "/v1/refresh", {"vm": ["full"]}, "NO_EMPTY_DRIVE", "full"),
    ("POST", "/v1/refresh", {"vm": ["silent"], "via": "link"}, "LINK_NOT_ACTIVE", "silent"),
    *[
        ("POST", "/v1/vms/off/power", {"verb": verb}, "VM_POWERED_OFF", "off")
        for verb in ("reset", "power_cycle", "guest_reboot")
    ],
    *[
        ("POST", "/v1/vms/paused/power", {"verb": verb}, "VM_PAUSED", "paused")
        for verb in ("shutdown", "guest_shutdown", "guest_reboot")
    ],
    *[
        ("POST", "/v1/vms/silent/power", {"verb": verb}, "LINK_NOT_ACTIVE", "silent")
        for verb in ("guest_shutdown", "guest_reboot")
    ],
    ("POST", "/v1/vms/plain/power", {"verb": "guest_shutdown"}, "NOT_ENROLLED", "plain"),
    ("POST", "/v1/vms/silent/power", {"verb": "guest_reboot", "fallback": "off"}, "INVALID_INPUT", "fallback"),
    ("POST", "/v1/vms/silent/power", {"verb": "on", "fallback": "off"}, "INVALID_INPUT", "fallback"),
]


@pytest.mark.parametrize(("method", "path", "body", "code", "words"), LISTS_OF_VMS + WRONG_STATE)
def test_the_answer_names_what_is_wrong(
    service: ServiceProcess, method: str, path: str, body: Any, code: str, words: str
) -> None:
    before = len(list(service.client().audit()))
    Asked(service, method, path, body).assert_clear(code, words)
    issued = [row for row in service.client().audit(after=before) if row["result"] == "ok" and "issue" in row["verb"]]
    assert issued == [], "found out before anything was signed"


def test_codes_of_this_page_have_remedies() -> None:
    assert {row[3] for row in LISTS_OF_VMS + WRONG_STATE} <= set(REMEDIES)


@pytest.mark.parametrize("role", ["viewer", "operator"])
@pytest.mark.parametrize(("method", "path"), sorted(RULES))
def test_what_a_role_may_not_call_is_refused_before_anything_is_looked_at(
    service: ServiceProcess, roles: dict[str, str], method: str, path: str, role: str
) -> None:
    """With a VM that does not exist: a caller without the right learns nothing about which do."""
    needed = RULES[(method, path)].role
    rank = ("viewer", "operator", "admin")
    path = path.format(**{**PARAMETERS, "vm": NOBODY, "name": NOBODY})
    status, answer = call(service, method, path, roles[role], b"{no JSON")
    if rank.index(role) < rank.index(needed):
        assert (status, answer["error"]["code"]) == (403, "FORBIDDEN")
        assert answer["error"]["details"]["needed"] == needed and answer["error"]["remedy"]
    else:
        assert status not in (401, 403)


@pytest.fixture(scope="module")
def roles(service: ServiceProcess) -> dict[str, str]:
    with service.client() as client:
        return {role: client.create_token(f"a-{role}", role)["token"] for role in ("viewer", "operator")}
