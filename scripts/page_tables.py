# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of a page that are written from the source, each between its markers."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["Table", "write"]

ROOT = Path(__file__).resolve().parents[1]


class Table(NamedTuple):
    name: str
    writer: str
    """For the marker: who writes it from what."""
    text: str


def write(page: Path, tables: Iterable[Table]) -> None:
    """Write them; with `--check` on the command line, fail when the page has drifted from them."""
    before = page.read_text(encoding="utf-8")
    after = _with_tables(before, tables, str(page.relative_to(ROOT)))
    if "--check" not in sys.argv[1:]:
        page.write_text(after, encoding="utf-8")
    elif after != before:
        sys.exit(f"{page.relative_to(ROOT)} has drifted from its tables; run scripts/generated")


def _with_tables(text: str, tables: Iterable[Table], page: str) -> str:
    for table in tables:
        begin = f"<!-- begin of the table of {table.name}: written by {table.writer} -->\n"
        end = f"<!-- end of the table of {table.name} -->\n"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            sys.exit(f"{page} lacks the markers of the table of {table.name}")
        text = before + begin + table.text + end + after
    return text
