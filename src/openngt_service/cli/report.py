# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt report`: the whole fleet in files, for people, spreadsheets and programs."""

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.report.files import FORMATS, Form, apply, mode_of, plan, targets_of
from openngt.report.gather import FAILURE_DAYS, gather
from openngt.report.model import headline, report_of

from .connect import connect
from .output import Column, say, show_list
from .output import Form as Shown

__all__ = ["report"]

Json = Mapping[str, Any]
STDOUT = "-"
COLUMNS = [
    Column("State", lambda one: one["state"]),
    Column("Cause", lambda one: one["cause"]),
    Column("Count", lambda one: one["count"]),
    Column("Title", lambda one: one["title"]),
    Column("Remedy", lambda one: " ".join(one["remedies"])),
]


def report(
    context: typer.Context,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write JSON; - is stdout.")] = None,
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Write CSV, one row for each VM.")] = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write one page of HTML that needs no other.")
    ] = None,
    mode: Annotated[str, typer.Option(help="Mode of the files.")] = "0640",
    failure_days: Annotated[int, typer.Option(help="Failed tasks of so many days count, 1 to 30.")] = FAILURE_DAYS,
) -> None:
    """Report on the whole fleet; without a file, show what is wrong, by cause. A file that says it already is left.

    openngt report --html fleet.html --csv fleet.csv

    openngt report --json - | jq .counts
    """
    paths: dict[Form, str | None] = {"json": json, "csv": csv, "html": html}
    to_stdout = [form for form, path in paths.items() if path == STDOUT]
    if len(to_stdout) > 1:
        raise OpenNGTError("INVALID_INPUT", f"--{' and --'.join(to_stdout)} cannot both go to stdout")
    files = {form: path for form, path in paths.items() if path != STDOUT}
    targets = targets_of(files, mode_of(mode))
    with connect(context) as client:
        now = effects.now()
        found = report_of(gather(client, now, failure_days), now)
    planned = plan(targets, found)
    apply(planned)
    for one in planned:
        say(f"{one.target.path}: {'written' if one.changed else 'unchanged'}")
    for form in to_stdout:
        sys.stdout.write(FORMATS[form](found))
    if not any(paths.values()):
        summarize(found)


def summarize(found: dict[str, Any]) -> None:
    say(headline(found))
    show_list(found["failures"], COLUMNS, Shown.table)
