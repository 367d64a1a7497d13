# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt health`: the named checks."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from .connect import connect
from .output import Column, Form, Output, show_list

__all__ = ["app"]

app = typer.Typer(help="Named checks over the fleet.", invoke_without_command=True)

COLUMNS = [
    Column("Check", lambda c: c["name"]),
    Column("State", lambda c: c["state"]),
    Column("Message", lambda c: c["message"]),
    Column("Checked At", lambda c: c["checked_at"]),
]


def report(checks: Sequence[Mapping[str, Any]], output: Form) -> None:
    show_list(checks, COLUMNS, output)
    if output is not Form.table:
        return
    for check in checks:
        if check["items"]:
            typer.echo(f"\nDetailed information for {check['name']}:\n{check['state']}: {check['message']}")
            for item in check["items"]:
                typer.echo(item["message"])


@app.callback()
def last(context: typer.Context, output: Output = Form.table) -> None:
    """Show the last result of each check."""
    if context.invoked_subcommand is None:
        with connect(context) as client:
            report(client.health(), output)


@app.command()
def run(
    context: typer.Context,
    check: Annotated[list[str] | None, typer.Argument(metavar="[CHECK]...", help="Names; none: all.")] = None,
    output: Output = Form.table,
) -> None:
    """Run checks now."""
    with connect(context) as client:
        report(client.run_health(check or ()), output)
