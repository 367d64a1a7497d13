# SPDX-License-Identifier: GPL-3.0-or-later
"""Three forms of one answer: a table for people, JSON as the API has it, CSV for spreadsheets."""

import enum
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from openngt.cells import as_csv, text
from openngt.errors import OpenNGTError

__all__ = [
    "Column",
    "Form",
    "Output",
    "print_json",
    "printable",
    "rich_table",
    "say",
    "show",
    "show_list",
    "tell_failure",
]

Json = Mapping[str, Any]
PADDING = 2


def tell_failure(error: OpenNGTError) -> None:
    """One line with the code, one with the remedy, on stderr. A message may quote what a guest has said."""
    say(f"error: {error.message} [{error.code}]")
    say(f"remedy: {error.remedy}")


def say(line: str) -> None:
    """To the person at the terminal, beside the answer."""
    sys.stderr.write(f"{printable(line)}\n")


class Form(enum.StrEnum):
    table = "table"
    json = "json"
    csv = "csv"


Output = Annotated[Form, typer.Option("--output", "-o", help="Form of the answer.")]


class Column(NamedTuple):
    title: str
    value: Callable[[Json], Any]


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
        sys.stdout.write(as_csv(titles, rows))
        return
    rich_table(titles, [[printable(cell) for cell in row] for row in rows])


def rich_table(titles: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Into a pipe the whole width of each line, so that grep and awk see it. On a terminal that is too narrow for a
    table in which no word is broken, a block of lines for each row: half a UUID can be neither read nor copied.
    """
    console = Console(width=None if sys.stdout.isatty() else 10_000, markup=False, highlight=False, soft_wrap=True)
    cells = [[title, *(row[number] for row in rows)] for number, title in enumerate(titles)]
    widths = fitted([room_of(column) for column in cells], console.width - PADDING * (len(titles) - 1))
    if widths is None:
        label = max(map(cell_len, titles))
        for row in rows:
            console.print(
                *(Text.assemble(f"{t:<{label}} : ", c) for t, c in zip(titles, row, strict=True)), "", sep="\n"
            )
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, PADDING, 0, 0))
    for title, width in zip(titles, widths, strict=True):
        table.add_column(title, width=width)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def room_of(column: Sequence[str | Text]) -> tuple[int, int]:
    """The least width, in which no word is broken, and the one in which every cell is one line."""
    words = (word for cell in column for word in str(cell).split())
    return max(map(cell_len, words), default=0), max(cell_len(str(cell)) for cell in column)


def fitted(rooms: Sequence[tuple[int, int]], width: int) -> list[int] | None:
    """Widths of the columns, those that lack least served first; None where not even the least fit."""
    widths = [least for least, _ in rooms]
    spare = width - sum(widths)
    if spare < 0:
        return None
    waiting = sorted(range(len(rooms)), key=lambda number: rooms[number][1] - rooms[number][0])
    for served, number in enumerate(waiting):
        more = min(rooms[number][1] - rooms[number][0], spare // (len(waiting) - served))
        widths[number] += more
        spare -= more
    return widths


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
