# SPDX-License-Identifier: GPL-3.0-or-later
"""The page: complete, harmless, readable without eyes, colours or scripts. A browser meets it in tests/console."""

import datetime
import itertools
import re
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.fleet_answers import NOW, answers, check, finding, vm

from openngt.report.model import report_of
from openngt.report.page import page_text
from openngt.report.page_style import STYLE
from openngt.report.page_tables import row
from openngt.report.plot import bars_of, step_of, summary_of

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&</title></style>\u202egnp.exe\x1b[31m\ud800"


def page(*args: Any, **given_answers: Any) -> BeautifulSoup:
    return BeautifulSoup(page_text(report_of(answers(*args, **given_answers), NOW)), "lxml")


def test_every_vm_is_a_row_however_many_there_are() -> None:
    rows = page(1200).select("#fleet tbody tr")
    assert len(rows) == 1200
    assert {len(row.find_all(["td", "th"])) for row in rows} == {9}


def test_the_page_names_nothing_that_is_elsewhere() -> None:
    text = page_text(report_of(answers(100), NOW))
    assert re.findall(r"https?://|url\(|@import|\bsrc=", text) == []
    found = BeautifulSoup(text, "lxml")
    assert [link["href"] for link in found.select("[href]")] == ["data:,", "#vms"]
    [policy] = [str(meta["content"]) for meta in found.select('meta[http-equiv="Content-Security-Policy"]')]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    assert found.select("[style]") == [], "a style of its own would be against the policy"


def test_what_guests_and_owners_wrote_is_text() -> None:
    of = vm(1, name=HOSTILE, agent_version=HOSTILE, power_state=HOSTILE, vm_info={"guest_os_name": HOSTILE})
    of["link"]["last_refusal"] = {"reason": HOSTILE, "at": None}
    findings = [check(HOSTILE, HOSTILE, [finding(of, "FAIL", HOSTILE)], HOSTILE)]
    text = page_text(report_of(answers(vms=[of], checks=findings), NOW))
    found = BeautifulSoup(text, "lxml")
    assert len(found.select("script")) == 1
    assert found.select("img") == []
    assert "alert(1)" in found.text
    assert "\u202e" not in text and "\x1b" not in text and "\ud800" not in text
    assert "\\u202egnp.exe\\x1b" in found.select("#fleet tbody th")[0].text


@given(st.text(max_size=40))
def test_any_name_is_one_rows_heading(name: str) -> None:
    [of] = report_of(answers(vms=[vm(1, name=name)]), NOW)["vms"]
    [heading] = BeautifulSoup(f"<table>{row(of)}</table>", "lxml").select("th")
    assert all(isinstance(child, str) and not isinstance(child, Tag) for child in heading.children)
    if name.isprintable():
        assert heading.text == name


def test_it_is_readable_without_eyes() -> None:
    found = page(400)
    levels = [int(heading.name[1]) for heading in found.select("h1, h2, h3")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(head.get("scope") == "col" for head in found.select("thead th"))
    assert all(row.select('th[scope="row"]') for row in found.select("tbody tr"))
    assert all(head.text.strip() for head in found.select("thead th"))
    for drawing in found.select("svg"):
        if drawing.get("aria-hidden") == "true":
            continue
        labels = str(drawing["aria-labelledby"]).split()
        assert all(drawing.select(f"#{label}")[0].text for label in labels)
    assert all(found.select(f"#{label['for']}") for label in found.select("label"))
    assert found.html is not None and found.html["lang"] == "en"
    numbers = found.select("details.numbers tbody tr")
    assert sum(int(row.select("td")[0].text) for row in numbers) == 400, "the plot's numbers stand in a table, too"


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_all_text_has_the_contrast_that_wcag_asks_for(scheme: int) -> None:
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r":root \{[^}]*\}", STYLE)[scheme]))
    for text in ("text", "quiet", "link"):
        for ground in ("ground", "raised"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for state in ("none", "pass", "info", "warn", "fail"):
        assert contrast(colours["on-state"], colours[state]) >= 4.5, state


def test_months_without_an_end_are_there_and_distant_ones_share_a_bar() -> None:
    fleet = [vm(1, days=-40), vm(2, days=70), vm(3, days=3000), vm(4, days=4000)]
    report = report_of(answers(vms=fleet), NOW)
    bars = bars_of(report["expiry_months"], NOW)
    assert [(bars[0].title, bars[0].total), (bars[1].title, bars[1].total)] == [
        ("before this month", 1),
        ("Nov 2026", 0),
    ]
    assert (bars[3].title, bars[3].total) == ("Feb 2027", 1) or (bars[4].title, bars[4].total) == ("Feb 2027", 1)
    assert (bars[-1].label, bars[-1].total, len(bars)) == ("later", 2, 38)
    assert "4 certificates" in summary_of(bars)


@given(st.integers(0, 10**7))
def test_the_axis_holds_every_number_in_at_most_five_steps(most: int) -> None:
    step = step_of(most)
    assert step * 5 >= most
    assert step == 1 or (step // 2 if str(step)[0] != "5" else step * 2 // 5) * 5 < most


def test_a_fleet_of_nothing_has_a_page() -> None:
    found = page(0, vms=[])
    assert "No VM is enrolled yet." in found.text and "There is no certificate." in found.text
    assert "Nothing: every check passes" in found.text
    assert datetime.datetime.fromisoformat(str(found.select("#generated")[0]["datetime"])) == NOW
