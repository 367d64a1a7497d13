# SPDX-License-Identifier: GPL-3.0-or-later
"""Three forms of one answer: a table for people, JSON as the API has it, CSV for spreadsheets."""

import csv
import datetime
import enum
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

__all__ = ["Column", "Form", "Output", "neutral", "printable", "show", "show_list"]

Json = Mapping[str, Any]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class Form(enum.StrEnum):
    table = "table"
    json = "json"
    csv = "csv"


Output = Annotated[Form, typer.Option("--output", "-o", help="Form of the answer.")]


class Column(NamedTuple):
    title: str
    value: Callable[[Json], Any]


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
    cell = text(value)
    is_number = isinstance(value, int | float)
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) and not is_number else cell


def printable(value: Any) -> str:
    """For a terminal: control characters, which could move the cursor or change colours, are shown escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text(value))


def print_json(answer: Any) -> None:
    json.dump(answer, sys.stdout, indent=2, ensure_ascii=False, default=text)
    sys.stdout.write("\n")


def show_list(items: Sequence[Json], columns: Sequence[Column], form: Form) -> None:
    if form is Form.json:
        print_json(list(items))
        return
    rows = [[column.value(item) for column in columns] for item in items]
    titles = [column.title for column in columns]
    if form is Form.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(titles)
        writer.writerows([neutral(cell) for cell in row] for row in rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(printable(cell) for cell in row))
    # Into a pipe the whole width of each line, so that grep and awk see it.
    console = Console(width=None if sys.stdout.isatty() else 10_000, markup=False, highlight=False, soft_wrap=True)
    console.print(table)


def show(item: Json, columns: Sequence[Column], form: Form) -> None:
    """One thing: a line for each of its columns, as `ncli` did it; JSON and CSV as in a list of one."""
    if form is Form.json:
        print_json(item)
    elif form is Form.csv:
        show_list([item], columns, form)
    else:
        width = max(len(column.title) for column in columns)
        for column in columns:
            sys.stdout.write(f"{column.title:<{width}} : {printable(column.value(item))}\n")
