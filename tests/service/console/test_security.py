# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile page, a hostile network name and a hostile guest can do to somebody who is logged in: nothing."""

import dataclasses
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from prometheus_client import CollectorRegistry
from tests.fakes.agents import agents_of
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt.errors import OpenNGTError
from openngt_service.api.application import create_api
from openngt_service.console import rendering

from .conftest import FORM, ORIGIN, Console

Play = Callable[[Callable[[Console], Awaitable[None]]], None]

CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}"
FOLDER = Path(rendering.__file__).parent
SOURCES = sorted([*FOLDER.glob("templates/*.html"), *FOLDER.glob("static/*")])


def test_every_answer_has_the_headers(play: Play) -> None:
    async def scenario(console: Console) -> None:
        vm = await console.enrol("web1")
        nobody, browser = console.browser(), await console.somebody("operator")
        console.workshop.hypervisor.faults["list_vms"] = "refused"
        answers = [
            await nobody.open("/console/login"),
            await nobody.open("/console/"),
            await nobody.open("/console/static/live.js"),
            await nobody.open("/console/static/nothing.js"),
            await browser.open(f"/console/vms/{vm}"),
            await browser.open("/console/nothing"),
            await browser.open("/console/health/report?format=json"),
            await browser.open("/console/hypervisor"),
            await browser.post(f"/console/vms/{vm}/mount", data={}),
            await browser.put("/console/"),
        ]
        statuses = [one.status_code for one in answers]
        assert statuses == [200, 303, 200, 404, 200, 404, 200, 502, 403, 405]
        for answer in answers:
            headers = answer.headers
            assert headers["content-security-policy"] == CSP, answer.url
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            assert headers["referrer-policy"] == "same-origin"

    play(scenario)


def test_a_defect_is_a_page_with_the_headers_and_without_its_words(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(console: Console) -> None:
        async def broken() -> None:
            raise ValueError("a secret of the inside")

        browser = await console.somebody("viewer")
        monkeypatch.setattr(console.context.health, "last", broken)
        answer = await browser.open("/console/health")
        assert (answer.status_code, browser.problem()) == (500, "INTERNAL")
        assert answer.headers["content-security-policy"] == CSP
        assert "a secret" not in answer.text and "request_id" in answer.text

    play(scenario)


@pytest.mark.parametrize(
    ("csrf", "origin", "content_type"),
    [
        ("right", None, FORM),
        ("right", "null", FORM),
        ("right", "https://evil.example", FORM),
        ("right", "http://console.example:2073", FORM),
        ("right", "https://console.example", FORM),
        (None, ORIGIN, FORM),
        ("", ORIGIN, FORM),
        ("another session's", ORIGIN, FORM),
        ("right", ORIGIN, "text/plain"),
        ("right", ORIGIN, "application/json"),
        ("right twice", ORIGIN, FORM),
    ],
)
def test_a_form_from_anywhere_else_does_nothing(
    play: Play, csrf: str | None, origin: str | None, content_type: str
) -> None:
    async def scenario(console: Console) -> None:
        vm = await console.enrol("web1")
        browser, other = await console.somebody("operator"), await console.somebody("operator")
        right = str(browser.form("form.who input[name=csrf]")["value"])
        given = {
            "right": f"csrf={right}",
            "right twice": f"csrf={right}&csrf={right}",
            "another session's": f"csrf={other.form('form.who input[name=csrf]')['value']}",
            "": "csrf=",
            None: "",
        }[csrf]
        headers = {"Content-Type": content_type, **({} if origin is None else {"Origin": origin})}
        for verb in ("disable", "mount"):
            answer = await browser.post(f"/console/vms/{vm}/{verb}", content=given, headers=headers)
            assert answer.status_code in (400, 403)
        assert (await console.workshop.operations.vm(vm))["ngt_enabled"]
        assert (await console.workshop.operations.tasks(vm))["items"] == []
        assert await console.audit("vm.disable") == [], "the token's owner has not tried that"

    play(scenario)


def test_the_login_form_works_in_the_browser_that_asked_for_it_alone(play: Play) -> None:
    """Nobody is logged in to another one's session by a foreign page."""

    async def scenario(console: Console) -> None:
        browser, attacker = console.browser(), console.browser()
        await browser.open("/console/login")
        await attacker.open("/console/login")
        browser.page = attacker.page
        answer = await browser.submit(browser.form("form.card"), token=console.secrets["admin"])
        assert (answer.status_code, browser.problem()) == (403, "FORBIDDEN")
        assert "__Host-openngt_console" not in browser.cookies
        answer = await browser.post("/console/login", data={"token": console.secrets["admin"]})
        assert answer.status_code == 403

    play(scenario)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("console.example", 200),
        ("CONSOLE.example:2073", 200),
        ("[::1]:2073", 200),
        ("[::2]:2073", 403),
        ("evil.example:2073", 403),
        ("console.example.evil.example", 403),
        ("127.0.0.1:2073", 403),
        ("", 403),
    ],
)
def test_it_answers_under_the_names_of_its_certificate_alone(play: Play, host: str, status: int) -> None:
    """DNS rebinding: a foreign name that is made to point here."""

    async def scenario(console: Console) -> None:
        browser = console.browser()
        answer = await browser.open("/console/login", headers={"Host": host})
        assert answer.status_code == status
        if status == 403:
            assert "api_names" in browser.text(".problem") and not browser.page.select("form")

    play(scenario)


def test_names_and_texts_of_guests_and_other_people_are_text(play: Play) -> None:
    async def scenario(console: Console) -> None:
        async with agents_of(console.workshop) as agents:
            vm = console.add_vm(HOSTILE)
            session = await agents.install(vm, HOSTILE)
            status = {"hostname": HOSTILE, "guest_os_name": HOSTILE, HOSTILE: {HOSTILE: [HOSTILE]}, "n": None}
            await console.workshop.links.status(session, status)
            other = console.add_vm(f"{HOSTILE}\u202egnp.exe\x1b[31m")

            async def broken(_: object) -> dict[str, object]:
                raise OpenNGTError("AGENT_FAILED", HOSTILE, {HOSTILE: HOSTILE}, remedy=HOSTILE)

            task = await console.workshop.parts.engine.submit("mount", vm, broken, actor="test")
            task_id = task.task_id
            await console.workshop.operations.task(task_id, wait=PATIENCE_SECONDS)
            browser = await console.somebody("admin")
            paths = ["/console/", "/console/hypervisor", "/console/expiry", "/console/tasks", "/console/health"]
            paths += [f"/console/vms/{vm}", f"/console/vms/{other}", f"/console/tasks/{task_id}"]
            paths += [f"/console/tasks?vm={vm}", "/console/health/checks/ngt_link_check", "/console/health/alerts"]
            paths += [f"/console/?name={HOSTILE}&filter={HOSTILE}&sort={HOSTILE}", f"/console/vms/{HOSTILE}"]
            shown = 0
            for path in paths:
                answer = await browser.open(path)
                shown += HOSTILE in browser.page.get_text()
                assert not browser.page.select("img, [onerror], body script, style, [style]"), path
                assert all(ord(c) >= 32 or c == "\n" for c in answer.text) and "\u202e" not in answer.text, path
                assert "49" not in str(browser.page.select("h1")), path
            assert shown >= 6

    play(scenario)


def test_a_huge_guest_makes_no_huge_page(play: Play) -> None:
    async def scenario(console: Console) -> None:
        async with agents_of(console.workshop) as agents:
            vm = console.add_vm("web1")
            session = await agents.install(vm, "web1")
            status = {"hostname": "h" * 30_000, **{f"field-{number}": number for number in range(2000)}}
            await console.workshop.links.status(session, status)
            browser = await console.somebody("viewer")
            answer = await browser.open(f"/console/vms/{vm}")
            assert answer.status_code == 200 and len(answer.text) < 60_000

    play(scenario)


def test_a_body_that_is_too_long_is_refused(play: Play) -> None:
    async def scenario(console: Console) -> None:
        browser = await console.somebody("operator")
        answer = await browser.forge("/console/health/run", check="x" * 70_000)
        assert (answer.status_code, browser.problem()) == (413, "INVALID_INPUT")

    play(scenario)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_file_has_inline_script_or_style_or_fetches_from_elsewhere(path: Path) -> None:
    text = path.read_text()
    places = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", text.replace("http://www.w3.org/2000/svg", ""))
    assert places == []
    assert "@import" not in text and "url(" not in text and "innerHTML" not in text and "|safe" not in text
    if path.suffix == ".html":
        parsed = BeautifulSoup(text, "html.parser")
        assert all(script.has_attr("src") and not script.get_text() for script in parsed.select("script"))
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)


def test_without_names_there_is_no_console(play: Play) -> None:
    async def scenario(console: Console) -> None:
        off = dataclasses.replace(console.context, console_names=frozenset(), metrics=CollectorRegistry())
        console.app = create_api(off)
        browser = console.browser()
        for path in ("/", "/console", "/console/", "/console/login", "/console/static/live.js"):
            answer = await browser.open(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")

    play(scenario)
