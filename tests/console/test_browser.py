# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody at a browser: what they see is what the API says, and nothing is fetched from anywhere else."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tests.fakes.agent_process import AgentProcess

from .conftest import LIMIT_SECONDS, Browser, Fleet

# Chromium takes some seconds to start.
pytestmark = pytest.mark.slow

WEB1 = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"
EXPIRY = "ngt_client_cert_expiry_check"
DAYS = (91, 90, 45, 7, -1)
HUES = {"OFF": "grey", "PASS": "green", "INFO": "yellow", "WARN": "yellow", "FAIL": "red"}


def hue(colour: tuple[int, int, int]) -> str:
    red, green, blue = colour
    if max(colour) - min(colour) < 24:
        return "grey"
    if green == max(colour):
        return "yellow" if red > 0.9 * green else "green"
    return "yellow" if green > 0.6 * red and blue < 0.75 * red else "red"


@contextlib.contextmanager
def agent_of(fleet: Fleet, vm_uuid: str, folder: Path) -> Iterator[None]:
    """The real agent, linked."""
    folder.mkdir()
    agent = AgentProcess(folder)
    with fleet.service.client() as client:
        agent.install(fleet.service, client, vm_uuid)
        agent.start()
        try:
            end = time.monotonic() + LIMIT_SECONDS
            while not client.vm(vm_uuid)["communication_link_active"]:
                assert time.monotonic() < end, "the agent does not come"
                time.sleep(0.1)
            yield
        finally:
            agent.stop()


@pytest.fixture
def operator(fleet: Fleet, request: pytest.FixtureRequest) -> str:
    """A token of this test's own, by the test's name."""
    with fleet.service.client() as client:
        return str(client.create_token(request.node.name[:60], "operator")["token"])


def today_cells(browser: Browser) -> dict[str, tuple[str, str, tuple[int, int, int]]]:
    """Name -> state, words and colour of the last day's cell."""
    cells = {}
    for row in browser.all("#grid tr[data-vm]"):
        cell = row.find_elements(By.CSS_SELECTOR, "td.cell")[-1]
        name = row.find_element(By.CSS_SELECTOR, "th a").text
        cells[name] = (cell.get_dom_attribute("data-state"), cell.text, browser.colour(cell))
    return cells


def test_log_in_filter_enable_mount_and_refresh(fleet: Fleet, browser: Browser, operator: str, tmp_path: Path) -> None:
    fleet.service.hypervisor.add(WEB1, "web1", {"cd0": None})
    browser.open("/console/?sort=-vm_name")
    assert browser.path == "/console/login"
    browser.one("#token").send_keys("openngt_wrong")
    browser.click("form.card button")
    assert "AUTHENTICATION_FAILED" in browser.text(".problem")
    browser.one("#token").send_keys(operator)
    browser.click("form.card button")
    assert browser.path == "/console/" and "(operator)" in browser.text("#who")
    cookie = browser.driver.get_cookie("__Host-openngt_console")
    assert cookie and cookie["secure"] and cookie["httpOnly"] and cookie["sameSite"] == "Strict"
    assert browser.driver.execute_script("return document.cookie") == ""

    browser.one("#name").send_keys("vm9")
    browser.choose("#f-link", "link=inactive")
    browser.click("form.filters button")
    assert [row.text for row in browser.all("tr[data-vm] th")] == ["vm91", "vm90"], "in the order that was asked for"

    browser.open("/console/hypervisor")
    browser.click(f"tr[data-vm='{WEB1}'] a")
    browser.click("#enable button")
    assert "Guest tools are enabled." in browser.text(".notice")
    assert fleet.service.client().vm(WEB1)["ngt_enabled"]

    browser.click("#mount button")
    browser.wait(".summary", "succeeded")
    browser.open(f"/console/vms/{WEB1}")
    assert "ISO in cd0" in browser.text(".summary")
    browser.click("#eject button")
    browser.wait(".summary", "succeeded")
    assert fleet.service.hypervisor.media() == []

    with agent_of(fleet, WEB1, tmp_path / "web1"):
        browser.open(f"/console/vms/{WEB1}")
        assert "active" in browser.text(".summary") and "LINK_ACTIVE" in browser.text()
        before = fleet.service.client().vm(WEB1)["certificate"]["serial"]
        assert before in browser.text()
        browser.click("#refresh button")
        browser.wait(".summary", "succeeded")
        browser.wait(f"tr[data-vm='{WEB1}']", "refreshed")
        browser.click("tr[data-vm] th a")
        after = fleet.service.client().vm(WEB1)["certificate"]["serial"]
        assert after != before and after in browser.text()

    browser.click("form.who button")
    browser.driver.back()
    browser.driver.refresh()
    assert browser.path == "/console/login"
    wrong = [line for line in browser_complaints(browser) if "status of 401" in line]
    assert len(wrong) == 1, "the wrong token"
    browser.complaints = [line for line in browser.complaints if line not in wrong]


def browser_complaints(browser: Browser) -> list[str]:
    browser.listen()
    return browser.complaints


def test_running_the_check_changes_the_grid_to_the_apis_severities(
    fleet: Fleet, browser: Browser, operator: str
) -> None:
    """Certificates at 91, 90, 45, 7 and -1 days; all but the last come into use while somebody looks."""
    browser.log_in(operator)
    browser.open("/console/expiry")
    cells = today_cells(browser)
    assert {name: cells[name][0] for name in ("vm91", "vm90", "vm45", "vm7")} == dict.fromkeys(
        ("vm91", "vm90", "vm45", "vm7"), "PASS"
    )
    fleet.connect([one for one in DAYS if one > 0])

    browser.click("main p a[href*='health/checks']")
    browser.click("#run button")
    browser.wait(".summary", "succeeded")
    assert "A600103" in browser.text("table")
    for kind in ("text", "json"):
        browser.one(f"#{kind}").click()
    text, report = downloaded(browser.downloads, "txt"), json.loads(downloaded(browser.downloads, "json"))
    assert f"/health_checks/ngt_checks/{EXPIRY}" in text and "VM: vm-1 - NGT client certificate has expired" in text
    [check] = report["checks"]
    assert {item["vm_name"]: item["days_left"] for item in check["items"]} == {
        "vm90": 90,
        "vm45": 45,
        "vm7": 7,
        "vm-1": -1,
    }

    with fleet.service.client() as client:
        history = client.health_history([EXPIRY], days=7)
    api = {row["vm_name"]: row["days"][-1] for row in history["items"]}
    assert {name: api[name] for name in (f"vm{one}" for one in DAYS)} == {
        "vm91": "PASS",
        "vm90": "INFO",
        "vm45": "WARN",
        "vm7": "FAIL",
        "vm-1": "FAIL",
    }
    for scheme in ("light", "dark"):
        preference = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", preference)
        browser.open("/console/expiry")
        legend = {one.text: browser.colour(one) for one in browser.all(".legend .state")}
        assert len(set(legend.values())) == 5 and {state: hue(legend[state]) for state in legend} == HUES, scheme
        cells = today_cells(browser)
        for name, state in api.items():
            assert cells[name] == (state, state, legend[state]), (scheme, name)
        empty = browser.all("#grid td.cell")[0]
        assert (empty.text, browser.colour(empty)) == ("–", legend["OFF"])  # noqa: RUF001  before the first day


def downloaded(folder: Path, suffix: str) -> str:
    end = time.monotonic() + LIMIT_SECONDS
    while not (found := list(folder.glob(f"*.{suffix}"))):
        assert time.monotonic() < end, f"no .{suffix} in {folder}"
        time.sleep(0.05)
    assert len(found) == 1
    return found[0].read_text()


def test_a_viewer_is_offered_nothing_to_change(fleet: Fleet, browser: Browser) -> None:
    with fleet.service.client() as client:
        token = client.create_token("a-viewer", "viewer")["token"]
    browser.log_in(token)
    for path in ("", f"vms/{fleet.vms[7]}", "health", "health/alerts", f"health/checks/{EXPIRY}", "expiry", "tasks"):
        browser.open(f"/console/{path}")
        assert [form.get_dom_attribute("action") for form in browser.all("form[method=post]")] == ["/console/logout"]
    with fleet.service.client() as client:
        client.delete_token("a-viewer")
    browser.driver.refresh()
    assert browser.path == "/console/login", "the token is revoked"


def test_every_page_works_without_script_and_on_a_small_screen(fleet: Fleet, browser: Browser, operator: str) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.log_in(operator)
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    paths = ("", f"vms/{fleet.vms[91]}", "health", "health/alerts", "expiry?days=30", "tasks", "hypervisor")
    for path in paths:
        browser.open(f"/console/{path}")
        assert browser.one("body").size["width"] <= 360, path
        layout = browser.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})
        assert layout["cssContentSize"]["width"] <= 360, f"{path} scrolls sideways as a whole"
    browser.open(f"/console/tasks/{begin_slow_task(fleet, fleet.vms[91])}")
    assert browser.one("#live").get_dom_attribute("data-live") is not None
    browser.wait(".summary", "failed")
    assert "ACPI_IGNORED" in browser.text(".problem")


def begin_slow_task(fleet: Fleet, vm: str) -> str:
    """One that works for ten seconds, time for a busy browser: a guest does not heed its power button."""
    fleet.service.hypervisor.guest(vm, ignores_acpi=True)
    with fleet.service.client() as client:
        task = client.power(vm, "shutdown", wait_seconds=10)
    return str(task["task_id"])


def test_a_page_follows_its_task_in_place_until_the_session_ends(fleet: Fleet, browser: Browser) -> None:
    with fleet.service.client() as client:
        browser.log_in(client.create_token("a-follower", "viewer")["token"])
    browser.open(f"/console/tasks/{begin_slow_task(fleet, fleet.vms[90])}")
    browser.driver.execute_script("window.same = true")
    assert "running" in browser.text(".summary")
    browser.wait(".summary", "failed")
    assert "ACPI_IGNORED" in browser.text(".problem")
    assert browser.driver.execute_script("return window.same"), "it was not loaded anew"
    browser.open(f"/console/tasks/{begin_slow_task(fleet, fleet.vms[45])}")
    with fleet.service.client() as client:
        client.delete_token("a-follower")
    browser.wait("h1", "Log in")


def test_the_keyboard_is_enough(fleet: Fleet, browser: Browser, operator: str) -> None:
    browser.open("/console/")
    browser.driver.switch_to.active_element.send_keys(operator, Keys.ENTER)
    browser.wait("#who", "operator")
    browser.one("body").send_keys(Keys.TAB)
    skip = browser.driver.switch_to.active_element
    assert skip.text == "Skip to the page" and skip.is_displayed()
    skip.send_keys(Keys.ENTER)
    for _ in range(40):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        if browser.driver.switch_to.active_element.get_dom_attribute("id") == "name":
            break
    field = browser.driver.switch_to.active_element
    field.send_keys("vm45", Keys.ENTER)
    browser.wait("caption", "1 of ")
    assert [row.text for row in browser.all("tr[data-vm] th")] == ["vm45"]
