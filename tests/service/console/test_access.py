# SPDX-License-Identifier: GPL-3.0-or-later
"""Every page and every action for every role: what a role may not do is refused, audited, and not offered."""

from collections.abc import Awaitable, Callable

import pytest
from starlette.routing import Mount, Route

from openngt_service.api.access import RULES
from openngt_service.console.application import all_routes
from openngt_service.store.tokens import ROLES, Role

from .conftest import ORIGIN, Browser, Console

Play = Callable[[Callable[[Console], Awaitable[None]]], None]

NOBODY = "0" * 32
ACTIONS = {
    "/vms/{vm}/enable": ("PUT", "/v1/vms/{vm}"),
    "/vms/{vm}/mount": ("POST", "/v1/vms/{vm}/mount"),
    "/vms/{vm}/eject": ("POST", "/v1/vms/{vm}/eject"),
    "/vms/{vm}/refresh": ("POST", "/v1/refresh"),
    "/vms/{vm}/disable": ("DELETE", "/v1/vms/{vm}"),
    "/health/run": ("POST", "/v1/health/run"),
    "/health/alerts/{alert_id}/acknowledge": ("POST", "/v1/health/alerts/{alert_id}/acknowledge"),
}
"""Each with the call of the API that it stands for."""
PAGES = {
    "/",
    "/hypervisor",
    "/expiry",
    "/vms/{vm}",
    "/tasks",
    "/tasks/{task_id}",
    "/health",
    "/health/report",
    "/health/alerts",
    "/health/checks/{check}",
}
OPEN = {("GET", "/login"), ("POST", "/login"), ("POST", "/logout")}


def path_of(pattern: str, vm: str) -> str:
    return "/console" + pattern.format(vm=vm, task_id=NOBODY, alert_id=NOBODY, check="ngt_link_check")


async def crawl(browser: Browser) -> set[str]:
    """Where the forms of all pages that can be reached by links lead."""
    seen: set[str] = set()
    wanted, forms = ["/console/"], set()
    while wanted:
        path = wanted.pop()
        if path in seen or not path.startswith("/console") or "/static/" in path or "/health/report" in path:
            continue
        seen.add(path)
        answer = await browser.open(path)
        assert answer.status_code == 200, path
        wanted += [str(link["href"]) for link in browser.page.select("a[href]") if "sort=" not in str(link["href"])]
        forms |= {str(form["action"]) for form in browser.page.select("form[method=post]")}
    assert len(seen) > 20
    return forms


def test_the_tables_of_this_test_name_every_route(play: Play) -> None:
    async def scenario(console: Console) -> None:
        routes = [one for one in all_routes() if not isinstance(one, Mount)]
        found = {(method, one.path) for one in routes if isinstance(one, Route) for method in one.methods or ()}
        expected = {("GET", path) for path in PAGES} | {("POST", path) for path in ACTIONS} | OPEN
        assert {one for one in found if one[0] != "HEAD"} == expected

    play(scenario)


def test_without_a_session_every_page_and_action_leads_to_the_login_and_does_nothing(play: Play) -> None:
    async def scenario(console: Console) -> None:
        vm = await console.enrol("web1")
        before = len(await console.context.audit.page())
        browser = console.browser()
        for pattern in PAGES:
            answer = await browser.open(path_of(pattern, vm))
            assert answer.status_code == 303 and answer.headers["location"].startswith("/console/login"), pattern
        for pattern in ACTIONS:
            answer = await browser.post(path_of(pattern, vm), data={}, headers={"Origin": ORIGIN})
            assert answer.status_code == 303 and answer.headers["location"] == "/console/login", pattern
        assert len(await console.context.audit.page()) == before

    play(scenario)


@pytest.mark.parametrize("role", ROLES)
def test_each_action_is_open_to_the_roles_of_its_call_in_the_api(play: Play, role: Role) -> None:
    async def scenario(console: Console) -> None:
        vm = await console.enrol("web1")
        browser = await console.somebody(role)
        for pattern, call in ACTIONS.items():
            rule = RULES[call]
            await browser.open("/console/")
            answer = await browser.forge(path_of(pattern, vm))
            if ROLES.index(role) < ROLES.index(rule.role):
                assert (answer.status_code, browser.problem()) == (403, "FORBIDDEN"), pattern
                assert f"token the-{role} is a {role}, this call needs {rule.role}" in browser.text()
                if rule.verb is not None:
                    about = vm if "{vm}" in pattern else None
                    assert (f"the-{role}", "FORBIDDEN", about) in await console.audit(rule.verb), pattern
            else:
                done = answer.status_code == 303 or browser.problem() in ("NOT_FOUND", "AGENT_NOT_INSTALLED")
                assert done, (pattern, answer.status_code, browser.text())

    play(scenario)


@pytest.mark.parametrize("role", ROLES)
def test_every_page_is_there_for_every_role(play: Play, role: Role) -> None:
    async def scenario(console: Console) -> None:
        vm = await console.enrol("web1")
        browser = await console.somebody(role)
        for pattern in PAGES:
            answer = await browser.open(path_of(pattern, vm))
            assert answer.status_code == (404 if "{task_id}" in pattern else 200), pattern

    play(scenario)


def test_what_a_role_may_not_do_is_not_offered(play: Play) -> None:
    async def scenario(console: Console) -> None:
        vm, other = await console.enrol("web1"), console.add_vm("db1")
        await console.context.health.set_policy("ngt_link_check", actor="test", alert_from="INFO")
        assert await crawl(await console.somebody("viewer")) == {"/console/logout"}
        offered = await crawl(await console.somebody("operator"))
        verbs = {f"/console/vms/{vm}/{verb}" for verb in ("enable", "mount", "eject", "refresh", "disable")}
        expected = {"/console/logout", "/console/health/run", f"/console/vms/{other}/enable", *verbs}
        alerts = {form for form in offered - expected if form.endswith("/acknowledge")}
        assert alerts and offered == expected | alerts

    play(scenario)


def test_what_is_done_is_audited_in_the_tokens_name_as_by_the_api(play: Play) -> None:
    async def scenario(console: Console) -> None:
        vm = console.add_vm("web1")
        browser = await console.somebody("operator")
        await browser.open(f"/console/vms/{vm}")
        await browser.submit(browser.form("#enable"), self_service_restore=None)
        await browser.open(f"/console/vms/{vm}")
        mounted = await browser.submit(browser.form("#mount"), config_only="on")
        assert (await console.ended(mounted.headers["location"]))["state"] == "succeeded"
        await browser.open(f"/console/vms/{vm}")
        await browser.submit(browser.form("#disable form"))
        for verb in ("vm.enable", "vm.mount", "vm.disable"):
            assert await console.audit(verb) == [("the-operator", "ok", vm)], verb
        assert console.workshop.hypervisor.media() == []

    play(scenario)


def test_a_failed_action_is_audited_with_its_code(play: Play) -> None:
    async def scenario(console: Console) -> None:
        browser = await console.somebody("operator")
        answer = await browser.forge("/console/vms/nobody/mount")
        assert (answer.status_code, browser.problem()) == (404, "NOT_ENROLLED")
        assert await console.audit("vm.mount") == [("the-operator", "NOT_ENROLLED", None)]

    play(scenario)
