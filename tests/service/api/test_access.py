# SPDX-License-Identifier: GPL-3.0-or-later
"""Every call of the API with every kind of caller: the table is the truth, and nothing stands outside it."""

import http.client
import ssl
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from tests.fakes.raw_http import call

from openngt.errors import OpenNGTError
from openngt_service.api import (
    routes_admin,
    routes_customization,
    routes_health,
    routes_open,
    routes_power,
    routes_refresh,
    routes_rollover,
    routes_upgrade,
    routes_vms,
)
from openngt_service.api.access import OPEN_CALLS, RULES

RANK = {"viewer": 1, "operator": 2, "admin": 3}
CALLERS = [None, "no such token", "viewer", "operator", "admin"]
BODIES: dict[tuple[str, str], Any] = {
    ("PUT", "/v1/vms/{vm}"): {},
    ("POST", "/v1/vms/{vm}/mount"): {"holder": "me"},
    ("POST", "/v1/vms/{vm}/eject"): {"holder": "me"},
    ("POST", "/v1/vms/{vm}/power"): {"verb": "reset"},
    ("POST", "/v1/power/plan"): {"vm": ["a"], "verb": "on"},
    ("POST", "/v1/power"): {"vm": ["a"], "verb": "on"},
    ("POST", "/v1/refresh/plan"): {"vm": ["a"]},
    ("POST", "/v1/refresh"): {"vm": ["a"]},
    ("POST", "/v1/upgrade/plan"): {"vm": ["a"]},
    ("POST", "/v1/upgrade"): {"vm": ["a"]},
    ("POST", "/v1/customizations/validate"): {},
    ("POST", "/v1/customizations/{vm}/plan"): {},
    ("PUT", "/v1/customizations/{vm}"): {},
    ("POST", "/v1/certificates/batch"): {"items": [{"vm_uuid": "0" * 8 + "-0000-0000-0000-" + "0" * 12}]},
    ("POST", "/v1/ca/adopt"): {"lines": []},
    ("POST", "/v1/ca/rollover"): {"step": "prepare"},
    ("PUT", "/v1/health/checks/{check}"): {},
    ("POST", "/v1/tokens"): {"name": "made-here", "role": "viewer"},
}
PARAMETERS = {
    "vm": "a",
    "task_id": "0" * 32,
    "name": "the-viewer-2",
    "check": "ngt_link_check",
    "alert_id": "0" * 32,
}

# With an id that nobody has given.
NAMES_NOTHING = {
    "/v1/tasks/{task_id}",
    "/v1/tasks/{task_id}/cancel",
    "/v1/power/{task_id}",
    "/v1/refresh/{task_id}",
    "/v1/upgrade/{task_id}",
    "/v1/health/alerts/{alert_id}/acknowledge",
}


def routes() -> set[tuple[str, str]]:
    found = set()
    routers = (
        routes_vms,
        routes_power,
        routes_refresh,
        routes_upgrade,
        routes_customization,
        routes_health,
        routes_admin,
        routes_open,
        routes_rollover,
    )
    for router in (module.router for module in routers):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            found |= {(method, route.path) for method in route.methods}
    return found


def test_every_route_stands_in_the_table_and_the_table_names_no_other() -> None:
    guarded = {(method, path) for method, path in routes() if path not in OPEN_CALLS}
    assert guarded == set(RULES)


def test_what_changes_something_names_its_verb_and_is_closed_to_viewers() -> None:
    for (method, path), rule in RULES.items():
        changes_nothing = method == "GET" or path in (
            "/v1/health/run",
            "/v1/power/plan",
            "/v1/refresh/plan",
            "/v1/upgrade/plan",
            "/v1/customizations/validate",
            "/v1/customizations/{vm}/plan",
        )
        assert (rule.verb is None) == changes_nothing, path
        assert rule.verb is None or rule.role != "viewer", path


@pytest.mark.parametrize("caller", CALLERS, ids=str)
def test_each_call_answers_each_caller_as_the_table_says(api: Any, caller: str | None) -> None:
    api.operations.enrolled["a"] = api.run(api.operations.enable("a", {}, actor="test"))[0]
    api.run(api.context.tokens.create("the-viewer-2", "viewer", actor="test"))
    token = api.secrets.get(caller, caller)
    for (method, path), rule in sorted(RULES.items(), key=lambda item: item[0] == ("DELETE", "/v1/vms/{vm}")):
        status, answer = call(api, method, path.format(**PARAMETERS), token, BODIES.get((method, path)))
        code = (answer.get("error") or {}).get("code") if isinstance(answer, dict) else None
        if caller not in RANK:
            assert (status, code) == (401, "AUTHENTICATION_FAILED"), (method, path)
        elif RANK[caller] < RANK[rule.role]:
            assert (status, code) == (403, "FORBIDDEN"), (method, path)
        else:
            allowed = {200, 201, 202} | ({404} if path in NAMES_NOTHING else set())
            assert status in allowed, (method, path, answer)


@pytest.mark.parametrize("path", sorted(OPEN_CALLS))
def test_open_calls_need_no_token(api: Any, path: str) -> None:
    assert call(api, "GET", path)[0] == 200


@pytest.mark.parametrize("header", ["", "Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "bearer\t"])
def test_another_scheme_is_no_token(api: Any, header: str) -> None:
    context = ssl.create_default_context(cafile=api.ca_file)
    connection = http.client.HTTPSConnection(api.endpoint.removeprefix("https://"), context=context)
    connection.request("GET", "/v1/ca", headers={"Authorization": header})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("WWW-Authenticate")) == (401, "Bearer")
    connection.close()


def test_without_a_token_no_body_is_parsed(api: Any) -> None:
    assert call(api, "POST", "/v1/ca/adopt", None, b"{not json")[0] == 401


def test_a_revoked_token_is_refused_at_once(api: Any) -> None:
    client = api.client("viewer")
    client.ca()
    api.client().delete_token("the-viewer")
    with pytest.raises(OpenNGTError) as caught:
        client.ca()
    assert caught.value.code == "AUTHENTICATION_FAILED"


def test_a_created_token_works_with_its_role_only(api: Any) -> None:
    made = api.client().create_token("ci", "operator")
    assert made["token"] not in str(api.client().tokens()) + str(api.audit())
    assert call(api, "GET", "/v1/vms", made["token"])[0] == 200
    assert call(api, "GET", "/v1/tokens", made["token"])[0] == 403


def test_metrics_are_for_this_host_unless_made_public(api: Any) -> None:
    status, text = call(api, "GET", "/metrics")
    assert status == 200
    assert b"openngt_api_requests_total" in text
    assert b"openngt_vm_link_up" not in text, "VMs are named to who has a token"


def test_metrics_name_vms_to_who_has_a_token(api: Any) -> None:
    status, text = call(api, "GET", "/metrics", api.secrets["viewer"])
    assert status == 200
    assert b"openngt_api_requests_total" in text and b"openngt_vm_link_up" in text
    assert call(api, "GET", "/metrics", "ngt_wrong")[0] == 401


def test_a_refused_attempt_is_audited_with_actor_verb_and_vm(api: Any) -> None:
    call(api, "DELETE", "/v1/vms/a", api.secrets["viewer"])
    [row] = [row for row in api.audit() if row["verb"] == "vm.disable"]
    assert (row["actor"], row["result"], row["details"]) == ("the-viewer", "FORBIDDEN", {"vm": "a"})


def test_a_failed_attempt_is_audited_with_its_code(api: Any) -> None:
    call(api, "POST", "/v1/vms/nobody/mount", api.secrets["operator"], {"holder": "me"})
    call(api, "POST", "/v1/vms/nobody/mount", api.secrets["operator"], {"holder": 7})
    results = [row["result"] for row in api.audit() if row["verb"] == "vm.mount"]
    assert results == ["NOT_ENROLLED", "INVALID_INPUT"]


def test_an_unknown_caller_writes_no_audit_rows(api: Any) -> None:
    before = len(api.audit())
    for _ in range(3):
        call(api, "DELETE", "/v1/vms/a", "wrong")
    assert len(api.audit()) == before


def test_the_docs_table_of_roles_is_the_tables() -> None:
    lines = (Path(__file__).resolve().parents[3] / "docs/api.md").read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith(("| `GET /", "| `P", "| `DELETE /"))]
    told = {tuple(call.strip("`").split(" ")): role for call, role in rows if not role.startswith("none")}
    assert told == {call: rule.role for call, rule in RULES.items()}
    assert {call.strip("`").removeprefix("GET ") for call, role in rows if role.startswith("none")} == OPEN_CALLS
