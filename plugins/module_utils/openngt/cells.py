# SPDX-License-Identifier: GPL-3.0-or-later
"""Values as cells of a table, and tables as CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["as_csv", "neutral", "text"]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def neutral(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula: VM names come from others."""
    # A return alone ends a line for who reads CSV, and Python's writer does not quote it.
    cell = text(value).replace("\r", "\\r")
    is_number = isinstance(value, int | float)
    return f"'{cell}" if text(value).startswith(FORMULA_STARTS) and not is_number else cell


def as_csv(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows([neutral(cell) for cell in row] for row in rows)
    return stream.getvalue()
