# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt compatibility`: which agents work with which service, and which guests the agent is installed on."""

from typing import Annotated, Any, Literal

import typer

from openngt.version import __version__

from ..compatibility.judge import distributions, lines
from .output import Column, Form, Output, print_json, show_list

__all__ = ["compatibility"]

VERSIONS = [
    Column("Service Version", lambda row: row["service"]),
    Column("Oldest Agent", lambda row: row["oldest_agent"]),
    Column("Newest Agent", lambda row: row["newest_agent"]),
]
GUESTS = [
    Column("Distribution", lambda row: row["name"]),
    Column("Versions", lambda row: ", ".join(row["versions"]) or "any"),
    Column("Tested", lambda row: ", ".join(row["tested"]) or "no"),
]

Type = Annotated[
    Literal["versions", "guests"],
    typer.Option("--type", help="versions: service and agents; guests: their operating systems."),
]


def compatibility(kind: Type = "versions", output: Output = Form.table) -> None:
    """Show what works with what, by the tables of this release; asks no service."""
    rows: list[dict[str, Any]] = (
        [vars(line) for line in lines()] if kind == "versions" else [dict(row) for row in distributions()]
    )
    if output is Form.json:
        print_json({"version": __version__, "items": rows})
    else:
        show_list(rows, VERSIONS if kind == "versions" else GUESTS, output)
