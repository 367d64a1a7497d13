# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt health`: the named checks, their history and alerts.

What shows the state of the fleet ends as a monitoring plugin does: 0 PASS or INFO, 1 WARN, 2 FAIL, 3 not known.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from openngt.errors import OpenNGTError

from .connect import connect
from .output import Column, Form, Output, print_json, printable, rich_table, show, show_list, tell_failure
from .vm import Seconds, follow, require_enrolled

__all__ = ["app"]

app = typer.Typer(help="Named checks over the fleet.", invoke_without_command=True)

Json = Mapping[str, Any]
Check = Annotated[str, typer.Argument(metavar="CHECK", help="Name of the check.")]
Checks = Annotated[list[str] | None, typer.Option("--check", help="Only of this check; may repeat.")]
EXIT_STATUS = {"OFF": 0, "PASS": 0, "INFO": 0, "WARN": 1, "FAIL": 2}
NOT_KNOWN = 3
STYLES = {"PASS": "green", "INFO": "cyan", "WARN": "yellow", "FAIL": "red"}

COLUMNS = [
    Column("Check", lambda c: c["name"]),
    Column("State", lambda c: c["state"]),
    Column("Message", lambda c: c["message"]),
    Column("Checked At", lambda c: c["checked_at"]),
]
DEFINITIONS = [
    Column("Check", lambda c: c["name"]),
    Column("Title", lambda c: c["title"]),
    Column("On", lambda c: c["enabled"]),
    Column("Alert", lambda c: c["alert_code"]),
    Column("Alerts From", lambda c: c["alert_from"]),
    Column("Thresholds", lambda c: ", ".join(f"{one['name']}={one['value']}" for one in c["thresholds"])),
]
ALERTS = [
    Column("Alert", lambda a: a["alert_id"]),
    Column("Code", lambda a: a["code"]),
    Column("Severity", lambda a: a["severity"]),
    Column("State", lambda a: a["state"]),
    Column("Check", lambda a: a["check"]),
    Column("Message", lambda a: a["message"]),
    Column("Raised At", lambda a: a["raised_at"]),
    Column("Times", lambda a: a["occurrences"]),
    Column("Acknowledged By", lambda a: a["acknowledged_by"]),
    Column("Note", lambda a: a["note"]),
    Column("Resolved At", lambda a: a["resolved_at"]),
]


def report(checks: Sequence[Json], output: Form) -> None:
    show_list(checks, COLUMNS, output)
    if output is not Form.table:
        return
    for check in checks:
        if check["items"]:
            typer.echo(f"\nDetailed information for {check['name']}:\n{check['state']}: {check['message']}")
            for item in check["items"]:
                typer.echo(printable(item["message"]))
            for resolution in check["resolutions"]:
                typer.echo(f"Resolution: {resolution}")


def end_as(checks: Sequence[Json]) -> None:
    """With the exit status of the worst check."""
    status = max((EXIT_STATUS[check["state"]] for check in checks), default=0)
    if status:
        raise typer.Exit(status)


@contextlib.contextmanager
def or_not_known() -> Iterator[None]:
    """A service that does not answer must not look like a warning."""
    try:
        yield
    except OpenNGTError as error:
        tell_failure(error)
        raise typer.Exit(NOT_KNOWN) from error


@app.callback()
def last(context: typer.Context, output: Output = Form.table) -> None:
    """Show the last result of each check. Exit status: 0 PASS or INFO, 1 WARN, 2 FAIL, 3 not known."""
    if context.invoked_subcommand is not None:
        return
    with or_not_known(), connect(context) as client:
        checks = client.health()
    report(checks, output)
    end_as(checks)


@app.command()
def run(
    context: typer.Context,
    check: Annotated[list[str] | None, typer.Argument(metavar="[CHECK]...", help="Names; none: all.")] = None,
    wait_seconds: Seconds = 120,
    output: Output = Form.table,
) -> None:
    """Run checks now; progress goes to stderr. Exit status: 0 PASS or INFO, 1 WARN, 2 FAIL, 3 not known."""
    with or_not_known(), connect(context) as client:
        task = follow(client, client.run_health(check or ()), True, wait_seconds)
        checks = client.health_report(task["task_id"])["checks"]
    report(checks, output)
    end_as(checks)


@app.command("report")
def download(
    context: typer.Context,
    task: Annotated[
        str | None, typer.Option(help="Of this run (openngt task list); without: the last results.")
    ] = None,
    output: Annotated[
        Form, typer.Option("--output", "-o", help="table is the text of ncc health_checks.")
    ] = Form.table,
) -> None:
    """Write all that a run has found to stdout, as text or JSON."""
    if output is Form.csv:
        raise typer.BadParameter("a report is text (table) or json", param_hint="--output")
    with connect(context) as client:
        if output is Form.json:
            print_json(client.health_report(task))
        else:
            sys.stdout.write(client.health_text(task))


@app.command("checks")
def list_checks(context: typer.Context, output: Output = Form.table) -> None:
    """What there is to check, and how it is set."""
    with connect(context) as client:
        show_list(client.health_checks(), DEFINITIONS, output)


@app.command("show")
def show_check(context: typer.Context, check: Check, output: Output = Form.table) -> None:
    """One check: what it is for, causes, resolutions, thresholds with their limits."""
    with connect(context) as client:
        found = [one for one in client.health_checks() if one["name"] == check]
    if not found:
        raise OpenNGTError("NOT_FOUND", f"there is no check {check}", remedy="list them: openngt health checks")
    described(found[0], output)


def described(check: Json, output: Form) -> None:
    if output is not Form.table:
        show(check, DEFINITIONS, output)
        return
    show(check, [*DEFINITIONS[:5], Column("Description", lambda c: c["description"])], output)
    for title, texts in (("Causes", check["causes"]), ("Resolutions", check["resolutions"])):
        typer.echo(f"\n{title}")
        for text in texts:
            typer.echo(f"  {text}")
    if check["thresholds"]:
        typer.echo("\nThresholds")
    for one in check["thresholds"]:
        limits = f"default {one['default']}, {one['minimum']} to {one['maximum']}"
        typer.echo(f"  {one['name']} = {one['value']}  ({limits}): {one['means']}")


@app.command("set")
def set_check(
    context: typer.Context,
    check: Check,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Turn the check on or off.")] = None,
    alert_from: Annotated[str | None, typer.Option(help="INFO, WARN or FAIL: from which state on it alerts.")] = None,
    threshold: Annotated[
        list[str] | None, typer.Option(metavar="NAME=NUMBER", help="NAME=default: the default again. May repeat.")
    ] = None,
    output: Output = Form.table,
) -> None:
    """Turn a check on or off, set its thresholds; wants an administrator's token."""
    thresholds = dict(map(parsed, threshold or ()))
    with connect(context) as client:
        described(client.set_health_check(check, enabled=on, alert_from=alert_from, thresholds=thresholds), output)


def parsed(text: str) -> tuple[str, int | None]:
    name, _, value = text.partition("=")
    if value == "default":
        return name, None
    try:
        return name, int(value)
    except ValueError as exc:
        raise typer.BadParameter("give NAME=NUMBER or NAME=default", param_hint="--threshold") from exc


@app.command()
def history(
    context: typer.Context,
    vm: Annotated[list[str] | None, typer.Argument(metavar="[VM]...", help="UUIDs or names; none: all.")] = None,
    check: Checks = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="How many, the last of them today (UTC).")] = 7,
    output: Output = Form.table,
) -> None:
    """The worst state of each VM on each day, of the named checks or of all; status 1 for a VM that is not enrolled."""
    with connect(context) as client:
        answer = client.health_history(check or (), vm or (), days)
    show_history(answer, output)
    require_enrolled(vm or (), answer["items"])


def show_history(answer: Json, output: Form) -> None:
    if output is Form.json:
        print_json(answer)
        return
    columns = [Column("VM Id", lambda row: row["vm_uuid"]), Column("VM Name", lambda row: row["vm_name"])]
    for number, day in enumerate(answer["days"]):
        columns.append(Column(day, lambda row, number=number: row["days"][number]))  # type: ignore[misc]  # bound per turn
    if output is Form.table and sys.stdout.isatty():
        rich_table([column.title for column in columns[1:]], [grid_row(row) for row in answer["items"]])
    else:
        show_list(answer["items"], columns, output)


def grid_row(row: Json) -> list[Text]:
    """A coloured box for each day, as in the original's history of a check."""
    cells = [Text(f"██ {cell or 'none'}", style=STYLES.get(cell, "bright_black")) for cell in row["days"]]
    return [Text(printable(row["vm_name"])), *cells]


@app.command()
def alerts(
    context: typer.Context,
    state: Annotated[
        list[str] | None, typer.Option(help="raised, acknowledged or resolved; may repeat. Without: all unresolved.")
    ] = None,
    check: Checks = None,
    vm: Annotated[str | None, typer.Option(help="Only of this VM.")] = None,
    output: Output = Form.table,
) -> None:
    """Alerts, newest first."""
    with connect(context) as client:
        show_list(client.health_alerts(state or (), check or (), vm), ALERTS, output)


@app.command()
def acknowledge(
    context: typer.Context,
    alert: Annotated[list[str], typer.Argument(metavar="ALERT...", help="Ids of alerts.")],
    note: Annotated[str | None, typer.Option(help="What is done about it.")] = None,
    output: Output = Form.table,
) -> None:
    """Say that somebody knows: the alert stays until its cause is gone, and is news again when it gets worse."""
    with connect(context) as client:
        show_list([client.acknowledge_alert(one, note) for one in alert], ALERTS, output)
