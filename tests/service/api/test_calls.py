# SPDX-License-Identifier: GPL-3.0-or-later
"""What the calls answer: records, errors in one form, limits, paging, and the same answer to the same request."""

import asyncio
import http.client
import json
import re
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt.errors import REMEDIES, OpenNGTError
from openngt_service.api.errors import STATUS
from openngt_service.api.middleware import MAX_BODY_BYTES
from openngt_service.tasks.fleet_power import PowerAsk
from openngt_service.tasks.refresh_plan import Ask
from openngt_service.tasks.upgrade_plan import UpgradeAsk

ROOT = Path(__file__).resolve().parents[3]
# What can be raised in a call or a task; command line and lab answer nobody over the API.
SERVICE_SOURCES = (
    *(path for path in (ROOT / "src/openngt_service").rglob("*.py") if not {"cli", "lab"} & set(path.parts)),
    *(ROOT / "plugins/module_utils/openngt/pki").rglob("*.py"),
    *(ROOT / "plugins/module_utils/openngt/iso").rglob("*.py"),
    ROOT / "plugins/module_utils/openngt/effects.py",
)


def send(
    api: Any, method: str, path: str, body: Any = None, role: str = "admin", **headers: str
) -> tuple[int, dict[str, str], Any]:
    context = ssl.create_default_context(cafile=api.ca_file)
    connection = http.client.HTTPSConnection(api.endpoint.removeprefix("https://"), context=context, timeout=20)
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    default = {"Authorization": f"Bearer {api.secrets[role]}", "Content-Type": "application/json"}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, content, {**default, **given})
    answer = connection.getresponse()
    data = json.loads(answer.read() or b"null")
    connection.close()
    return answer.status, dict(answer.headers), data


def test_enrolling_answers_201_then_200(api: Any) -> None:
    assert send(api, "PUT", "/v1/vms/a", {})[0] == 201
    status, _, vm = send(api, "PUT", "/v1/vms/a", {"capabilities": {"vss_snapshot": False}})
    assert (status, vm["vss_snapshot"], vm["self_service_restore"]) == (200, False, True)
    assert api.operations.calls[-1] == ("enable", "a", {"vss_snapshot": False}, "the-admin")


def test_long_work_answers_202_and_a_task(api: Any) -> None:
    client = api.client()
    client.enable("a")
    task = client.mount("a", "me", 60, holder_is_dead="he")
    assert client.wait_task(task, 5)["result"] == {"drive": "cd0"}
    call, reference, asked = next(call for call in api.operations.calls if call[0] == "mount")
    assert (call, reference) == ("mount", "a")
    assert asked == {
        "holder": "me",
        "lease_seconds": 60,
        "config_only": False,
        "holder_is_dead": "he",
        "actor": "the-admin",
    }


def test_a_power_verb_is_a_task_with_its_options(api: Any) -> None:
    client = api.client()
    client.enable("a")
    task = client.power("a", "guest_shutdown", fallback="acpi", wait_seconds=60)
    assert client.wait_task(task, 5)["result"] == {"changed": True}
    asked = {"verb": "guest_shutdown", "fallback": "acpi", "wait_seconds": 60, "force": False, "check": False}
    assert ("power", "a", {**asked, "actor": "the-admin"}) in api.operations.calls


def test_a_list_has_no_cap(api: Any) -> None:
    for number in range(1203):
        api.operations.enrolled[f"vm{number:04d}"] = api.run(api.operations.enable(f"vm{number:04d}", {}, actor=""))[0]
    assert len(api.client().vms()) == 1203
    assert [vm["vm_name"] for vm in api.client().vms(["vm0007", "vm1100"])] == ["vm0007", "vm1100"]


def test_an_error_has_code_remedy_details_and_the_id_of_the_log(api: Any) -> None:
    status, headers, body = send(api, "GET", "/v1/vms/nobody")
    error = body["error"]
    assert (status, error["code"], error["remedy"]) == (404, "NOT_ENROLLED", REMEDIES["NOT_ENROLLED"])
    assert error["request_id"] == {name.lower(): value for name, value in headers.items()}["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "/v1/vms/a", {"capabilities": {"vss_snapshot": "yes"}}, "capabilities.vss_snapshot"),
        ("PUT", "/v1/vms/a", {"capabilitys": {}}, "capabilitys"),
        ("PUT", "/v1/vms/a", None, "body"),
        ("PUT", "/v1/vms/" + "x" * 300, {}, "vm"),
        ("PUT", "/v1/vms/a%0Ab", {}, "vm"),
        ("POST", "/v1/vms/a/mount", {"holder": ""}, "holder"),
        ("POST", "/v1/vms/a/mount", {"holder": "me", "lease_seconds": True}, "lease_seconds"),
        ("POST", "/v1/vms/a/mount", {"holder": "me", "lease_seconds": 10**30}, "lease_seconds"),
        ("POST", "/v1/vms/a/power", {"verb": "explode"}, "verb"),
        ("POST", "/v1/vms/a/power", {"verb": "off", "wait_seconds": 0}, "wait_seconds"),
        ("POST", "/v1/vms/a/mount", b"{", "body"),
        ("POST", "/v1/vms/a/mount", b"[" * 50_000, "body"),
        ("GET", "/v1/vms?limit=0", None, "limit"),
        ("GET", "/v1/vms?limit=1e3", None, "limit"),
        ("GET", "/v1/audit?after=99999999999999999999999", None, "after"),
        ("POST", "/v1/certificates/batch", {"items": []}, "items"),
        ("POST", "/v1/certificates/batch", {"items": [{"vm_uuid": "UPPER"}]}, "items.0.vm_uuid"),
        ("POST", "/v1/tokens", {"name": "../x", "role": "viewer"}, "name"),
        ("POST", "/v1/tokens", {"name": "x", "role": "root"}, "role"),
    ],
)
def test_a_bad_request_names_its_field(api: Any, method: str, path: str, body: Any, field: str) -> None:
    status, _, answer = send(api, method, path, body)
    assert (status, answer["error"]["code"]) == (400, "INVALID_INPUT")
    assert field in answer["error"]["message"] + str(answer["error"]["details"])


def test_a_bad_value_is_not_repeated_in_the_answer(api: Any) -> None:
    _, _, answer = send(api, "POST", "/v1/tokens", {"name": "x", "role": "canary-3f"})
    assert "canary-3f" not in json.dumps(answer)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("POST", "/v1/vms/a", 405)])
def test_a_path_that_is_no_call_answers_in_the_same_form(api: Any, method: str, path: str, status: int) -> None:
    found, _, answer = send(api, method, path)
    assert (found, set(answer["error"])) == (status, {"code", "message", "remedy", "details", "request_id"})


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_body_over_the_limit_is_refused(api: Any, announced: bool) -> None:
    body = json.dumps({"holder": "x" * MAX_BODY_BYTES}).encode()
    context = ssl.create_default_context(cafile=api.ca_file)
    connection = http.client.HTTPSConnection(api.endpoint.removeprefix("https://"), context=context, timeout=20)
    headers = {"Authorization": f"Bearer {api.secrets['admin']}", "Content-Type": "application/json"}
    content = body if announced else iter([body[:1000], body[1000:]])
    connection.request("POST", "/v1/vms/a/mount", content, headers, encode_chunked=not announced)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["code"]) == (413, "INVALID_INPUT")
    connection.close()
    assert api.client().ca()["ca_sha256"]


def test_a_defect_answers_internal_and_hides_its_text(api: Any) -> None:
    api.operations.failures.append(ZeroDivisionError("canary-77"))
    status, _, answer = send(api, "GET", "/v1/vms")
    assert (status, answer["error"]["code"]) == (500, "INTERNAL")
    assert "canary-77" not in json.dumps(answer)
    assert api.client().vms() == []


def test_the_services_errors_keep_their_status(api: Any) -> None:
    for code, status in STATUS.items():
        api.operations.failures.append(OpenNGTError(code, "m", {"holder": "x"}))
        found, _, answer = send(api, "GET", "/v1/vms")
        assert (found, answer["error"]["code"], answer["error"]["details"]) == (status, code, {"holder": "x"})


def test_every_code_that_the_service_can_raise_has_a_status() -> None:
    raised = {
        code
        for path in SERVICE_SOURCES
        for code in re.findall(r'OpenNGTError\(\s*"([A-Z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert "VM_BUSY" in REMEDIES
    assert raised <= set(STATUS), raised - set(STATUS)


def test_the_same_key_gets_the_same_answer_and_the_work_is_done_once(api: Any) -> None:
    api.client().enable("a")
    first = send(api, "POST", "/v1/vms/a/mount", {"holder": "me"}, Idempotency_Key="k1")
    second = send(api, "POST", "/v1/vms/a/mount", {"holder": "me"}, Idempotency_Key="k1")
    assert (first[0], first[2]) == (second[0], second[2])
    assert sum(call[0] == "mount" for call in api.operations.calls) == 1


def test_without_a_key_each_request_is_its_own(api: Any) -> None:
    api.client().enable("a")
    first = send(api, "POST", "/v1/vms/a/mount", {"holder": "me"})
    assert first[2]["task_id"] != send(api, "POST", "/v1/vms/a/mount", {"holder": "me"})[2]["task_id"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/vms/a/mount", {"holder": "other"}),
        ("POST", "/v1/vms/b/mount", {"holder": "me"}),
        ("POST", "/v1/vms/a/eject", {"holder": "me"}),
        ("DELETE", "/v1/vms/a", None),
    ],
    ids=["body", "vm", "verb", "method"],
)
def test_a_key_of_another_request_is_a_mismatch(api: Any, method: str, path: str, body: Any) -> None:
    api.client().enable("a")
    send(api, "POST", "/v1/vms/a/mount", {"holder": "me"}, Idempotency_Key="k1")
    status, _, answer = send(api, method, path, body, Idempotency_Key="k1")
    assert (status, answer["error"]["code"]) == (409, "IDEMPOTENCY_MISMATCH")


def test_a_key_belongs_to_its_caller(api: Any) -> None:
    api.client().enable("a")
    first = send(api, "POST", "/v1/vms/a/mount", {"holder": "me"}, Idempotency_Key="k1")
    second = send(api, "POST", "/v1/vms/a/mount", {"holder": "me"}, role="operator", Idempotency_Key="k1")
    assert first[2]["task_id"] != second[2]["task_id"]


def test_a_repeated_delete_is_answered_as_the_first(api: Any) -> None:
    api.client().enable("a")
    first = send(api, "DELETE", "/v1/vms/a", Idempotency_Key="k1")
    assert first[0] == 200
    assert send(api, "DELETE", "/v1/vms/a", Idempotency_Key="k1")[2] == first[2]
    assert send(api, "DELETE", "/v1/vms/a", Idempotency_Key="k2")[0] == 404


def test_a_failure_is_tried_again_under_its_key(api: Any) -> None:
    assert send(api, "POST", "/v1/vms/a/mount", {"holder": "me"}, Idempotency_Key="k1")[0] == 404
    api.client().enable("a")
    assert send(api, "POST", "/v1/vms/a/mount", {"holder": "me"}, Idempotency_Key="k1")[0] == 202


def test_two_equal_requests_at_once_do_the_work_once(api: Any) -> None:
    api.client().enable("a")
    api.run(asyncio.sleep(0))
    api.operations.hold.clear()
    answers: list[Any] = []

    def ask() -> None:
        answers.append(send(api, "POST", "/v1/vms/a/mount", {"holder": "me"}, Idempotency_Key="k1")[2]["task_id"])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while not any(call[0] == "mount" for call in api.operations.calls):
        api.run(asyncio.sleep(0.01))
    api.run(asyncio.sleep(0.1))

    async def release() -> None:
        api.operations.hold.set()

    api.run(release())
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    assert sum(call[0] == "mount" for call in api.operations.calls) == 1


@pytest.mark.parametrize("key", ["x" * 129, "ü"])
def test_a_malformed_key_is_refused(api: Any, key: str) -> None:
    status, _, answer = send(api, "DELETE", "/v1/vms/a", Idempotency_Key=key)
    assert (status, answer["error"]["code"]) == (400, "INVALID_INPUT")


def test_a_new_tokens_secret_is_not_kept_for_a_repetition(api: Any) -> None:
    body = {"name": "ci", "role": "viewer"}
    assert send(api, "POST", "/v1/tokens", body, Idempotency_Key="k1")[0] == 201
    assert send(api, "POST", "/v1/tokens", body, Idempotency_Key="k1")[0] == 400


def test_waiting_for_a_task_ends_when_the_service_stops(api: Any) -> None:
    api.client().enable("a")
    task = api.client().mount("a", "me", 60)
    api.operations.made[task["task_id"]] = {**api.operations.made[task["task_id"]], "state": "running"}
    seen: list[Any] = []
    waiter = threading.Thread(target=lambda: seen.append(api.client().task(task["task_id"], wait=30)))
    waiter.start()
    while not any(call[0] == "task" for call in api.operations.calls):
        api.run(asyncio.sleep(0.01))

    async def stop() -> None:
        api.context.stopping.set()

    api.run(stop())
    waiter.join(PATIENCE_SECONDS)
    assert [found["state"] for found in seen] == ["running"]


def test_readiness_names_the_part_that_fails(api: Any) -> None:
    api.parts["gateway"] = False
    status, _, answer = send(api, "GET", "/readyz")
    assert (status, answer) == (503, {"ready": False, "parts": {"database": "ok", "gateway": "failed"}})


def test_health_runs_on_demand_and_keeps_the_result(api: Any) -> None:
    task = api.client().wait_task(api.client().run_health(["ngt_link_check"]), 10)
    assert task["result"]["counts"] == {"PASS": 1, "INFO": 0, "WARN": 0, "FAIL": 0, "OFF": 0}
    [check] = api.client().health_report(task["task_id"])["checks"]
    assert (check["name"], check["state"]) == ("ngt_link_check", "PASS")
    assert check["message"] in [one["message"] for one in api.client().health()]
    with pytest.raises(OpenNGTError) as caught:
        api.client().run_health(["no_such_check"])
    assert "ngt_link_check" in caught.value.message


def test_the_audit_log_is_paged_to_its_end_and_tells_its_head(api: Any) -> None:
    rows = api.audit()
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    head = api.client().audit_page()["head"]
    assert head == {"sequence": rows[-1]["sequence"], "hash": rows[-1]["hash"]}


def test_an_issue_log_is_parsed_before_it_is_adopted(api: Any) -> None:
    with pytest.raises(OpenNGTError) as caught:
        api.client().adopt(["{}"])
    assert caught.value.code == "ISSUE_LOG_DAMAGED"
    assert not any(call[0] == "adopt" for call in api.operations.calls)


def test_requests_are_counted_by_route_and_not_by_vm(api: Any) -> None:
    send(api, "GET", "/v1/vms/some-name")
    context = ssl.create_default_context(cafile=api.ca_file)
    connection = http.client.HTTPSConnection(api.endpoint.removeprefix("https://"), context=context)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    assert 'openngt_api_requests_total{method="GET",route="/v1/vms/{vm}",status="404"} 1.0' in text
    assert "some-name" not in text


def test_many_vms_are_switched_by_one_call(api: Any) -> None:
    client = api.client()
    assert client.plan_power(vm=["web1"], verb="off") == []
    task = client.power_many(vm=["web1", "web2"], verb="guest_shutdown", fallback="acpi", max_in_flight=4)
    assert client.wait_task(task, 5)["result"] == {"switched": 2}
    assert client.power_rows(task["task_id"]) == []
    client.cancel_task(task["task_id"])
    assert ("cancel_task", task["task_id"], "the-admin") in api.operations.calls
    asked = [call[1] for call in api.operations.calls if call[0] in ("plan_power", "power_many")]
    assert asked == [
        PowerAsk(("web1",), "off"),
        PowerAsk(("web1", "web2"), "guest_shutdown", fallback="acpi", max_in_flight=4),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"verb": "on"}, "vm"),
        ({"vm": ["a"], "verb": "explode"}, "verb"),
        ({"vm": ["a"], "verb": "on", "max_in_flight": 0}, "max_in_flight"),
        ({"vm": ["a"], "verb": "on", "check": True}, "check"),
    ],
)
def test_a_misspelt_switch_of_many_is_refused_by_name(api: Any, body: dict[str, Any], field: str) -> None:
    for path in ("/v1/power", "/v1/power/plan"):
        status, _, answer = send(api, "POST", path, body)
        assert status == 400 and [found["field"] for found in answer["error"]["details"]["problems"]] == [field]
    assert not api.operations.made


def test_an_upgrade_is_planned_asked_for_and_followed(api: Any) -> None:
    client = api.client()
    assert client.plan_upgrade(version="0.1.1") == []
    task = client.upgrade(vm=["web1"], batch=10, max_fail_percentage=0, rollback_seconds=60)
    assert client.wait_task(task, 5)["result"] == {"upgraded": 1}
    assert client.upgrade_rows(task["task_id"]) == []
    asked = [call[1] for call in api.operations.calls if call[0] in ("plan_upgrade", "upgrade")]
    assert asked == [
        UpgradeAsk(version="0.1.1"),
        UpgradeAsk(vm=("web1",), batch=10, max_fail_percentage=0, rollback_seconds=60),
    ]
    told = client.compatibility()
    assert {"service": "0.1", "oldest_agent": "0.1", "newest_agent": "0.2"} in told["versions"]
    assert "Debian" in [row["name"] for row in told["distributions"]]


def test_a_refresh_is_planned_asked_for_and_followed(api: Any) -> None:
    client = api.client()
    assert client.plan_refresh(threshold_days=45) == []
    task = client.refresh(vm=["web1", "web2"], validity_days=400, via="iso", spread_seconds=5)
    assert client.wait_task(task, 5)["result"] == {"refreshed": 2}
    assert client.refresh_rows(task["task_id"]) == []
    asked = [call[1] for call in api.operations.calls if call[0] in ("plan_refresh", "refresh")]
    assert asked == [
        Ask(threshold_days=45),
        Ask(vm=("web1", "web2"), validity_days=400, via="iso", spread_seconds=5.0),
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"vms": ["a"]}, "vms"),
        ({"vm": "a"}, "vm"),
        ({"vm": [""]}, "vm.0"),
        ({"via": "usb"}, "via"),
        ({"threshold_days": "45"}, "threshold_days"),
        ({"wait_seconds": 0}, "wait_seconds"),
    ],
)
def test_a_misspelt_refresh_is_refused_by_name(api: Any, body: dict[str, Any], field: str) -> None:
    status, _, answer = send(api, "POST", "/v1/refresh", body)
    assert status == 400 and [problem["field"] for problem in answer["error"]["details"]["problems"]] == [field]
    assert not api.operations.made
