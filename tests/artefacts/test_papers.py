# SPDX-License-Identifier: GPL-3.0-or-later
"""What Galaxy and certification read of the collection, without building it."""

import re

import yaml

from ..conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = [
    "Description",
    "Requirements",
    "Installation",
    "Use cases",
    "Testing",
    "Contributing",
    "Support",
    "Release notes and roadmap",
    "Related information",
    "License information",
]
"""In the order of the certification's guide; the front page has one of its own before them."""


def test_the_readme_has_the_sections_of_the_certification_in_their_order() -> None:
    assert re.findall(r"^## (.+)$", README, re.M) == ["Try it", *SECTIONS]


def test_every_link_of_the_readme_is_absolute_and_leads_to_a_file_of_this_tree() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    defined = dict(re.findall(r"^\[(.+?)\]: (\S+)$", README, re.M))
    assert set(re.findall(r"\]\[(.+?)\]", README)) == set(defined)
    assert [url for url in re.findall(r"\]\((\S+?)\)", README) if not url.startswith("https://")] == []
    for name, url in defined.items():
        path, _, anchor = name.partition("#")
        assert url == f"{galaxy['repository']}/blob/main/{name}" and (ROOT / path).is_file(), url
        titles = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.M)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_no_body_stands_behind_a_colon() -> None:
    """`ansible-test sanity` of the oldest ansible-core refuses it (E704); `make sanity-all` finds the rest."""
    places = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "plugins").rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.match(r" *(def |\).*->).*: \.\.\.$", line)
    ]
    assert places == []
