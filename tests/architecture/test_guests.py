# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the Makefile looks for the tests that need a guest: in one folder, so that no worker reads all the others."""

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
MARK = "mark." + "guest"


def test_what_needs_a_guest_is_in_its_folder() -> None:
    marked = {path for path in TESTS.rglob("*.py") if MARK in path.read_text(encoding="utf-8")}
    assert marked and all(path.is_relative_to(TESTS / "e2e") for path in marked)
