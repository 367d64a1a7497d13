# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation site: every page is in a table of contents, every link and every plugin's page can be built."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_site_builds_without_a_warning() -> None:
    done = subprocess.run(
        [ROOT / "scripts/docs"],
        env={key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    pages = ROOT / "build/docs/html"
    assert (pages / "guide.html").exists()
    assert "guest_agent_lease_seconds" in (pages / "collections/guest_agent_role.html").read_text(encoding="utf-8")
