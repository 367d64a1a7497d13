# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation site: every page is in a table of contents, every link and every plugin's page can be built."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.fakes.chromium import Viewer

ROOT = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages() -> Path:
    done = subprocess.run(
        [ROOT / "scripts/docs"],
        env={key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return ROOT / "build/docs/html"


def test_the_site_builds_without_a_warning(pages: Path) -> None:
    assert (pages / "guide.html").exists()
    assert "guest_agent_lease_seconds" in (pages / "collections/guest_agent_role.html").read_text(encoding="utf-8")


def test_the_front_page_asks_for_nothing_from_elsewhere(pages: Path, tmp_path: Path) -> None:
    """What it looked like lies in build/records/docs-*.png afterwards."""
    viewer = Viewer(tmp_path)
    try:
        grounds = set()
        for scheme in ("light", "dark"):
            viewer.look(pages / "index.html", scheme)
            viewer.picture(f"docs-{scheme}")
            grounds.add(viewer.background())
            assert viewer.complaints() == []
            strangers = {url for url in viewer.asked() if not url.startswith((f"{pages.as_uri()}/", "data:"))}
            assert strangers == set()
        assert len(grounds) == 2, "it follows the reader's scheme"
    finally:
        viewer.driver.quit()
