# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt fleet install` and `fleet check`: the agent in many guests at once, without Ansible on the way."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from openngt.errors import OpenNGTError
from openngt.install.fleet.report import Options, Report

from .connect import Connection
from .fleet import MaxInFlight
from .install_progress import progress
from .output import Column, Form, Output, print_json, say, show_list
from .targets import Guests, limited, read_credentials, read_inventory

__all__ = ["app"]

app = typer.Typer(help="Install in many guests at once.", no_args_is_help=True)

MOST_NAMES = 10

Credentials = Annotated[
    str | None,
    typer.Option(
        "--credentials",
        metavar="FILE",
        help="JSON list of VMs and their logins: a file of yours with mode 0600, or - for standard input.",
    ),
]
Inventory = Annotated[
    Path | None, typer.Option("--inventory", "-i", metavar="FILE", help="Inventory, read by ansible-inventory.")
]
Limit = Annotated[
    str | None,
    typer.Option("--limit", "-l", help="Only these: names, patterns, groups, @FILE; ! before one: not this."),
]
HostSeconds = Annotated[float, typer.Option("--host-seconds", min=1, help="How long one guest may take.")]
TrustNew = Annotated[
    bool,
    typer.Option(
        "--trust-new-host-keys", help="Trust host keys and certificates that are seen first, and record them."
    ),
]
Prerequisites = Annotated[
    bool, typer.Option("--install-prerequisites", help="Install Python and tar where a guest lacks them.")
]
AnyDistribution = Annotated[
    bool, typer.Option("--allow-unsupported-distribution", help="Also where the support table has no row.")
]
LimitFile = Annotated[
    Path | None, typer.Option("--limit-file", help="Where the names go that need another run, for --limit @FILE.")
]
Resume = Annotated[bool, typer.Option("--resume/--no-resume", help="Go on where the same run was interrupted before.")]
Delete = Annotated[
    bool, typer.Option("--delete-credentials", help="Overwrite and remove the list's file at the end of the run.")
]


def seconds_of(row: Mapping[str, Any]) -> str:
    return f"{sum(row['seconds'].values()):.1f}" if row["seconds"] else ""


COLUMNS = [
    Column("Name", lambda row: row["name"]),
    Column("VM Name", lambda row: row["vm_name"]),
    Column("VM Id", lambda row: row["vm_uuid"]),
    Column("State", lambda row: row["state"]),
    Column("Phase", lambda row: row["phase"]),
    Column("Seconds", seconds_of),
    Column("Code", lambda row: row["code"]),
    Column("Message", lambda row: row["message"]),
]
CSV_COLUMNS = [*COLUMNS, Column("Remedy", lambda row: row["remedy"])]


@app.command()
def install(
    context: typer.Context,
    credentials: Credentials = None,
    inventory: Inventory = None,
    limit: Limit = None,
    max_in_flight: MaxInFlight = 20,
    host_seconds: HostSeconds = 900.0,
    check: Annotated[bool, typer.Option("--check", help="Only say what each guest would need.")] = False,
    trust_new_host_keys: TrustNew = False,
    install_prerequisites: Prerequisites = False,
    allow_unsupported_distribution: AnyDistribution = False,
    limit_file: LimitFile = None,
    resume: Resume = True,
    delete_credentials: Delete = False,
    output: Output = Form.table,
) -> None:
    """Install the agent and prove its link in each guest; exit status 1 when one of them failed."""
    options = Options(
        check=check,
        max_in_flight=max_in_flight,
        host_seconds=host_seconds,
        install_prerequisites=install_prerequisites,
        allow_unsupported_distribution=allow_unsupported_distribution,
        limit_file=limit_file,
        resume=resume,
    )
    connection = connection_of(context)
    require_one_source(credentials, inventory)
    if delete_credentials and (check or credentials in (None, "-")):
        raise OpenNGTError("INVALID_INPUT", "delete_credentials is for a run that installs from a file (--credentials)")
    guests = limited(read(connection, credentials, inventory, trust_new_host_keys), limit)
    report = run(connection, guests, options)
    finish(report, output, guests if delete_credentials else None)


@app.command("check")
def check_only(
    context: typer.Context,
    credentials: Credentials = None,
    inventory: Inventory = None,
    limit: Limit = None,
    max_in_flight: MaxInFlight = 20,
    host_seconds: HostSeconds = 900.0,
    trust_new_host_keys: TrustNew = False,
    limit_file: LimitFile = None,
    output: Output = Form.table,
) -> None:
    """Say what each guest would need, and change nothing; exit status 1 when one of them could not be installed."""
    options = Options(check=True, max_in_flight=max_in_flight, host_seconds=host_seconds, limit_file=limit_file)
    connection = connection_of(context)
    require_one_source(credentials, inventory)
    guests = limited(read(connection, credentials, inventory, trust_new_host_keys), limit)
    finish(run(connection, guests, options), output, None)


def connection_of(context: typer.Context) -> Connection:
    connection = context.find_object(Connection)
    assert connection is not None, "the root command has set it"
    return connection


def require_one_source(credentials: str | None, inventory: Path | None) -> None:
    if (credentials is None) == (inventory is None):
        message = "credentials and inventory: give one of them, which says the guests and how to log in to them"
        raise OpenNGTError("INVALID_INPUT", message, remedy="--credentials FILE (or -), or --inventory FILE")


def read(connection: Connection, credentials: str | None, inventory: Path | None, trust_new: bool) -> Guests:
    if credentials is not None:
        return read_credentials(credentials, connection.open, trust_new=trust_new)
    assert inventory is not None, "one of the two is given"
    return read_inventory(inventory, os.environ, trust_new=trust_new)


def run(connection: Connection, guests: Guests, options: Options) -> Report:
    # What logs in to guests takes half a second to load, which no other command should wait for.
    from openngt.install.fleet.runner import install as install_fleet

    with progress(check=options.check) as shown:
        return install_fleet(
            guests.targets,
            options,
            connection.open,
            shown.tell,
            refused=guests.refused,
            on_signal=shown.interrupted,
        )


def finish(report: Report, output: Form, delete: Guests | None) -> None:
    """Show the rows, group the failures, and raise the run's own failure after that."""
    rows = [row.to_dict() for row in report.rows]
    if output is Form.json:
        print_json({"rows": rows, "summary": report.summary, "limit_file": report.limit_file})
    else:
        show_list(rows, CSV_COLUMNS if output is Form.csv else COLUMNS, output)
    for code, group in sorted(report.summary["failures"].items()):
        names = group["names"]
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        say(f"{code} ({len(names)}): {', '.join(names[:MOST_NAMES])}{more}; remedy: {group['remedy']}")
    for warning in report.warnings:
        say(f"warning: {warning}")
    say(", ".join(f"{count} {state}" for state, count in sorted(report.summary["counts"].items())))
    if report.limit_file is not None:
        say(f"for these alone: --limit @{report.limit_file}")
    if report.interrupted:
        say("interrupted; the same command goes on where it was")
        raise KeyboardInterrupt
    if delete is not None and delete.file is not None:
        done = delete.file.delete()
        say(f"{delete.file.path} is deleted" if done else f"{delete.file.path} was exchanged meanwhile; it stays")
    if report.error is not None:
        raise report.error
