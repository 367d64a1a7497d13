# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down what a test on real VMs has seen: each step, when it was done, and what both sides said about the VM."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from openngt_service.lab.demo_views import Row

__all__ = ["Record"]


class Record:
    """A Markdown file that grows with the test, so that a failed one ends with the step that failed."""

    def __init__(self, path: Path, title: str) -> None:
        self._path = path
        self._began = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {title}\n", encoding="utf-8")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        self._write(f"\n## {title}\n\n")
        began = time.monotonic()
        try:
            yield
        except BaseException as exc:
            self._write(f"\nFailed after {time.monotonic() - began:.1f} s: {exc}\n")
            raise
        self._write(f"\nDone after {time.monotonic() - began:.1f} s, {time.monotonic() - self._began:.0f} s in all.\n")

    def saw(self, what: str) -> None:
        self._write(f"- {what}\n")

    def both_sides(self, rows: Sequence[Row]) -> None:
        """A table of facts; fails where service and guest differ."""
        self._write("\n| VM | fact | service | guest |\n| --- | --- | --- | --- |\n")
        for row in rows:
            self._write(f"| {row.vm} | {row.fact} | {row.service} | {row.guest} |\n")
        differing = [row for row in rows if not row.agrees]
        assert not differing, differing

    def _write(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)
