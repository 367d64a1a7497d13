# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt refresh`: new certificates for agents that run."""

from typing import Annotated

import typer

from openngt.client import Client

from .connect import connect
from .fleet import FleetCommand, MaxInFlight, WaitForEnd
from .output import Column, Form, Output, show_list

__all__ = ["app"]

app = typer.Typer(help="New certificates for agents that run.", no_args_is_help=True)

Vms = Annotated[list[str] | None, typer.Argument(metavar="[VM]...", help="UUIDs or names; none: by --threshold-days.")]
Threshold = Annotated[
    int | None, typer.Option("--threshold-days", help="Only VMs whose certificate ends within so many days.")
]
Validity = Annotated[
    int | None, typer.Option("--validity-days", help="Life of the new certificate; default: the service's setting.")
]
Via = Annotated[str, typer.Option("--via", help="link, iso, or auto: over a live link, else by ISO.")]
Jitter = Annotated[
    int | None,
    typer.Option(
        "--jitter-days",
        help="Each certificate lives up to so many days less, at random, so that a fleet does not end in one night; "
        "default: a twentieth of the life for several VMs, 0 with --validity-days.",
    ),
]
Spread = Annotated[float, typer.Option("--spread-seconds", help="Begin each VM at a random time within so long.")]
StepSeconds = Annotated[float, typer.Option("--wait-seconds", help="How long an agent may take for a step.")]

COLUMNS = [
    Column("VM Name", lambda row: row["vm_name"]),
    Column("VM Id", lambda row: row["vm_uuid"]),
    Column("State", lambda row: row["state"]),
    Column("Reason", lambda row: row["reason"]),
    Column("Via", lambda row: row["via"]),
    Column("Old Serial", lambda row: row["old_serial"]),
    Column("New Serial", lambda row: row["new_serial"]),
    Column("Old Not After", lambda row: row["old_not_after"]),
    Column("New Not After", lambda row: row["new_not_after"]),
    Column("Code", lambda row: row["code"]),
    Column("Message", lambda row: row["message"]),
    Column("Remedy", lambda row: row["remedy"]),
]


FLEET = FleetCommand("openngt refresh show", Client.refresh_rows, COLUMNS)


@app.command()
def plan(
    context: typer.Context,
    vm: Vms = None,
    threshold_days: Threshold = None,
    validity_days: Validity = None,
    via: Via = "auto",
    jitter_days: Jitter = None,
    output: Output = Form.table,
) -> None:
    """Show whose certificate would be refreshed, why, and what stands in the way. Changes nothing."""
    with connect(context) as client:
        rows = client.plan_refresh(
            vm=vm or None,
            threshold_days=threshold_days,
            validity_days=validity_days,
            via=via,
            jitter_days=jitter_days,
        )
    show_list(rows, FLEET.columns, output)


@app.command()
def run(
    context: typer.Context,
    vm: Vms = None,
    threshold_days: Threshold = None,
    validity_days: Validity = None,
    via: Via = "auto",
    max_in_flight: MaxInFlight = 8,
    jitter_days: Jitter = None,
    spread_seconds: Spread = 0.0,
    wait_seconds: StepSeconds = 180.0,
    wait: WaitForEnd = True,
    output: Output = Form.table,
) -> None:
    """Give VMs new certificates while their agents run; exit status 1 when one of them did not get it."""
    with connect(context) as client:
        task = client.refresh(
            vm=vm or None,
            threshold_days=threshold_days,
            validity_days=validity_days,
            via=via,
            max_in_flight=max_in_flight,
            jitter_days=jitter_days,
            spread_seconds=spread_seconds,
            wait_seconds=wait_seconds,
        )
        FLEET.follow(client, task["task_id"], output, wait=wait, begun=True)


@app.command()
def show(
    context: typer.Context,
    task_id: str,
    wait: WaitForEnd = False,
    output: Output = Form.table,
) -> None:
    """Show how far a refresh is with each VM."""
    with connect(context) as client:
        FLEET.follow(client, task_id, output, wait=wait)
