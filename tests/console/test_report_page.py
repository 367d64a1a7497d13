# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's page in a real browser: light and dark, with its script and without, on its own.

What it looked like lies in build/records/report-*.png afterwards.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait
from tests.fakes.chromium import LIMIT_SECONDS, Viewer
from tests.fakes.fleet_answers import NOW, answers, vm

from openngt.report.model import report_of
from openngt.report.page import page_text

# Chromium takes some seconds to start.
pytestmark = pytest.mark.slow

SHOWN = """return Array.from(document.querySelectorAll('#fleet tbody tr'))
    .filter(row => !row.hidden).map(row => row.cells[0].textContent)"""
HOSTILE = "<script>document.title='taken'</script><img src=https://example.com/x onerror=alert(1)>"


class Reader(Viewer):
    """Who reads a report."""

    def names(self) -> list[str]:
        """Of the VMs that are shown, in their order."""
        found: list[str] = self.driver.execute_script(SHOWN)  # type: ignore[no-untyped-call]
        return found


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    made = Reader(tmp_path_factory.mktemp("viewer"))
    yield made
    made.driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "fleet.html"
    path.write_text(page_text(report_of(answers(120), NOW)), encoding="utf-8")
    return path


def test_light_and_dark_without_a_complaint_and_without_a_request(viewer: Reader, page: Path) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        viewer.look(page, scheme)
        viewer.picture(f"report-{scheme}")
        grounds.add(viewer.background())
        assert viewer.complaints() == []
        assert viewer.asked() - {"data:,"} == {page.as_uri()}
    assert len(grounds) == 2, "it follows the reader's scheme"


def test_it_prints_in_black_on_white_without_its_controls(viewer: Reader, page: Path) -> None:
    viewer.look(page, "dark", "print")
    assert viewer.background() == "rgba(255, 255, 255, 1)"
    assert not viewer.driver.find_element(By.ID, "filters").is_displayed()
    viewer.picture("report-print")
    pdf = base64.b64decode(viewer.command("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 10_000


def test_the_table_sorts_and_filters(viewer: Reader, page: Path) -> None:
    viewer.look(page)
    assert len(viewer.names()) == 120
    heads = {head.text: head for head in viewer.driver.find_elements(By.CSS_SELECTOR, "#fleet thead button")}
    heads["Days left"].click()
    assert viewer.names()[0] == "web00000", "the one that ended first"
    heads["Days left"].click()
    assert viewer.names()[-1] == "web00000"
    Select(viewer.driver.find_element(By.ID, "only")).select_by_visible_text("FAIL")
    failing = viewer.names()
    assert 0 < len(failing) < 20
    viewer.driver.find_element(By.ID, "text").send_keys(failing[0])
    wait = WebDriverWait(viewer.driver, LIMIT_SECONDS, 0.05)
    wait.until(lambda _: viewer.names() == failing[:1])
    assert viewer.driver.find_element(By.ID, "shown").text == "1 of 120 shown"


def test_without_scripts_everything_is_there(viewer: Reader, page: Path) -> None:
    viewer.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        viewer.look(page)
        rows = viewer.driver.find_elements(By.CSS_SELECTOR, "#fleet tbody tr")
        assert len(rows) == 120 and rows[-1].is_displayed()
        assert not viewer.driver.find_element(By.ID, "filters").is_displayed()
        assert viewer.driver.find_element(By.CSS_SELECTOR, "details summary").is_displayed()
    finally:
        viewer.command("Emulation.setScriptExecutionDisabled", value=False)


def test_nothing_that_a_guest_says_does_anything(viewer: Reader, tmp_path: Path) -> None:
    hostile = vm(1, name=HOSTILE, agent_version=HOSTILE, vm_info={"guest_os_name": HOSTILE})
    path = tmp_path / "hostile.html"
    text = page_text(report_of(answers(vms=[hostile]), NOW))
    path.write_text(text, encoding="utf-8")
    viewer.look(path)
    assert viewer.driver.title == "Guest tools report"
    assert viewer.names() == [HOSTILE]
    viewer.asked(), viewer.complaints()
    # And if it were not escaped, the page's policy would stop it.
    path.write_text(text.replace("<main>", f"<main>{HOSTILE}<p style='color:red' id='styled'>x</p>"), encoding="utf-8")
    viewer.look(path)
    assert viewer.driver.title == "Guest tools report"
    colour = viewer.driver.find_element(By.ID, "styled").value_of_css_property("color")
    assert colour != "rgba(255, 0, 0, 1)"
    assert len([one for one in viewer.complaints() if "Content Security Policy" in one]) >= 3


def test_ten_thousand_vms_are_a_page_that_opens(viewer: Reader, tmp_path: Path) -> None:
    path = tmp_path / "large.html"
    path.write_text(page_text(report_of(answers(10_000), NOW)), encoding="utf-8")
    assert path.stat().st_size < 5_000_000
    viewer.look(path)
    assert len(viewer.names()) == 10_000
    assert viewer.complaints() == []
