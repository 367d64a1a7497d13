# SPDX-License-Identifier: GPL-3.0-or-later
"""Customization over the API: what is passed on, what is refused by which name, and what is told to nobody."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.fakes.odd_fleet import odd_fleet
from tests.fakes.raw_http import call
from tests.fakes.service import ServiceProcess

from openngt.errors import OpenNGTError
from openngt_service.api.middleware import MAX_BODY_BYTES

SECRET = "correct-horse-battery"
SPEC = {"scripts": [{"content": f"#!/bin/sh\necho {SECRET}\n", "name": "web.sh"}], "options": {"hostname": "web1"}}


def test_a_customization_is_passed_on_as_it_was_written(api: Any) -> None:
    api.run(api.operations.enable("a", {}, actor="test"))
    client = api.client("operator")
    client.customize("a", {**SPEC, "power_on": True, "wait_seconds": 60, "network": None})
    asked = {"power_on": True, "wait_seconds": 60, "actor": "the-operator"}
    assert api.operations.calls[-2] == ("apply", SPEC, asked)
    client.plan_customization("a", {**SPEC, "power_on": True, "wait_seconds": 60})
    assert api.operations.calls[-1] == ("plan", SPEC, True)
    client.validate_customization(SPEC)
    assert api.operations.calls[-1] == ("validate", SPEC)
    assert [row["vm_name"] for row in client.customizations()] == ["a"]
    assert client.customization("a")["state"] == "running"
    assert client.withdraw_customization("a")["kind"] == "withdraw"


BAD_BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": ({"hostname": "web1"}, "hostname"),
    "an unknown format": ({"format": "ignition"}, "format"),
    "scripts that are no list": ({"scripts": "#!/bin/sh"}, "scripts"),
    "a script that is no mapping": ({"scripts": ["#!/bin/sh"]}, "scripts.0"),
    "options that are no mapping": ({"options": [1]}, "options"),
    "yes for true": ({"power_on": "yes"}, "power_on"),
    "no time at all": ({"wait_seconds": 0}, "wait_seconds"),
    "a month": ({"wait_seconds": 31 * 86400}, "wait_seconds"),
    "half a second": ({"wait_seconds": 60.5}, "wait_seconds"),
    "a number for an id": ({"instance_id": 7}, "instance_id"),
    "an unknown datasource": ({"datasource": "ec2"}, "datasource"),
}


@pytest.mark.parametrize(("method", "path"), [("PUT", "/v1/customizations/a"), ("POST", "/v1/customizations/validate")])
@pytest.mark.parametrize("case", BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_a_bad_field_is_named_and_its_value_is_not(api: Any, case: tuple[Any, str], method: str, path: str) -> None:
    body, field = case
    status, answer = call(api, method, path, api.secrets["admin"], {**body, "meta_data": {"password": SECRET}})
    assert (status, answer["error"]["code"]) == (400, "INVALID_INPUT")
    assert field in answer["error"]["message"] and SECRET not in str(answer)


def test_contents_may_be_larger_than_other_bodies(api: Any) -> None:
    api.run(api.operations.enable("a", {}, actor="test"))
    large = {"files": [{"path": "/opt/x", "content": "x" * 4 * MAX_BODY_BYTES}]}
    assert call(api, "PUT", "/v1/customizations/a", api.secrets["operator"], large)[0] == 202


def test_a_failed_attempt_is_audited_without_its_content(api: Any) -> None:
    api.operations.failures.append(OpenNGTError("CUSTOMIZATION_INVALID", "scripts[0]: not YAML", {"findings": []}))
    status, _ = call(api, "PUT", "/v1/customizations/a", api.secrets["operator"], SPEC)
    assert status == 400
    last = api.audit()[-1]
    assert (last["verb"], last["result"]) == ("vm.customize", "CUSTOMIZATION_INVALID")
    assert SECRET not in str(api.audit())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = odd_fleet(tmp_path_factory.mktemp("service"))
    yield running
    running.stop()


def ask(service: ServiceProcess, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """The answer; a task that it made is waited for."""
    status, answer = call(service, method, path, service.token, body)
    while status == 202 and answer["state"] in ("queued", "running"):
        time.sleep(0.05)
        answer = call(service, "GET", f"/v1/tasks/{answer['task_id']}", service.token)[1]
    return status, answer


ROWS: list[tuple[str, Any, str, str]] = [
    ("silent", {"scripts": [{"content": "#cloud-config\n[x"}]}, "CUSTOMIZATION_INVALID", "scripts[0]"),
    ("silent", {"scripts": [{"content": "a", "content_base64": "YQ=="}]}, "INVALID_INPUT", "scripts[0]"),
    ("silent", {"scripts": [{"content_base64": "%"}]}, "INVALID_INPUT", "scripts[0].content_base64"),
    ("silent", {"scripts": [{"datastore_path": "web.sh"}]}, "INVALID_INPUT", "no datastore"),
    ("silent", {"files": [{"content": "x"}]}, "INVALID_INPUT", "files[0].path"),
    ("silent", {"options": {"hostnam": "x"}}, "CUSTOMIZATION_INVALID", "hostname"),
    ("silent", {"instance_id": "../../etc"}, "INVALID_INPUT", "instance_id"),
    ("full", SPEC, "NO_EMPTY_DRIVE", "/isos/debian.iso"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[2]} {row[3]}")
def test_what_cannot_be_done_is_told_with_its_remedy(service: ServiceProcess, row: tuple[str, Any, str, str]) -> None:
    vm, body, code, words = row
    _, answer = ask(service, "PUT", f"/v1/customizations/{vm}", body)
    error = answer["error"]
    assert error["code"] == code, error
    assert words in error["message"] + str(error["details"]) and error["remedy"] and "Traceback" not in str(error)
    _, plan = ask(service, "POST", f"/v1/customizations/{vm}/plan", body)
    assert plan["error"]["code"] == code, "a plan says before what would be said"


def test_a_disc_comes_and_goes_and_nobody_tells_what_was_on_it(service: ServiceProcess) -> None:
    """T35: neither an answer nor the service's log, its tasks or its audit trail hold what the guest is given."""
    status, plan = ask(service, "POST", "/v1/customizations/silent/plan", SPEC)
    assert status == 200 and plan["changed"] is True and SECRET not in str(plan)
    _, task = ask(service, "PUT", "/v1/customizations/silent", SPEC)
    assert task["result"]["drive"] == "cd0", task
    [row] = service.client().customizations()
    assert row["instance_id"] == f"i-{row['vm_uuid']}" and row["digest"] == plan["digest"]
    disc = service.state_dir / "customizations" / f"{row['vm_uuid']}.iso"
    assert disc.stat().st_mode & 0o777 == 0o600 and SECRET.encode() in disc.read_bytes()
    assert ask(service, "PUT", "/v1/customizations/silent", SPEC)[1]["result"]["changed"] is False
    _, gone = ask(service, "DELETE", "/v1/customizations/silent")
    assert gone["result"] == {"withdrawn": True} and not disc.exists()
    assert ask(service, "GET", "/v1/customizations/silent")[1]["error"]["code"] == "NOT_FOUND"
    told = str(list(service.client().audit())) + service.stdout + service.stderr
    assert "vm.customize" in told and SECRET not in told
