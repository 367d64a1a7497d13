# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt upgrade`: another agent for guests that run."""

from typing import Annotated

import typer

from openngt.client import Client

from .connect import connect
from .fleet import FleetCommand, MaxInFlight, WaitForEnd
from .output import Column, Form, Output, show_list
from .refresh import Spread, StepSeconds, Via

__all__ = ["app"]

app = typer.Typer(help="Another agent for guests that run.", no_args_is_help=True)

Vms = Annotated[list[str] | None, typer.Argument(metavar="[VM]...", help="UUIDs or names; none: all enrolled VMs.")]
Version = Annotated[str | None, typer.Option("--version", help="Default: the service's own.")]
Downgrade = Annotated[bool, typer.Option("--allow-downgrade", help="Also take an older agent than the one that runs.")]
Batch = Annotated[int | None, typer.Option("--batch", help="So many VMs, then the next so many.")]
MaxFail = Annotated[
    float, typer.Option("--max-fail-percentage", help="Begin no more when more than so many of a batch failed.")
]
RollBack = Annotated[
    int,
    typer.Option("--rollback-seconds", help="How long a new agent may take to hold its link before it is taken back."),
]

COLUMNS = [
    Column("VM Name", lambda row: row["vm_name"]),
    Column("VM Id", lambda row: row["vm_uuid"]),
    Column("State", lambda row: row["state"]),
    Column("Reason", lambda row: row["reason"]),
    Column("Via", lambda row: row["via"]),
    Column("Old Version", lambda row: row["old_version"]),
    Column("New Version", lambda row: row["new_version"]),
    Column("Reboot Required", lambda row: row["reboot_required"]),
    Column("Code", lambda row: row["code"]),
    Column("Message", lambda row: row["message"]),
    Column("Remedy", lambda row: row["remedy"]),
]


FLEET = FleetCommand("openngt upgrade show", Client.upgrade_rows, COLUMNS)


@app.command()
def plan(
    context: typer.Context,
    vm: Vms = None,
    version: Version = None,
    allow_downgrade: Downgrade = False,
    via: Via = "auto",
    output: Output = Form.table,
) -> None:
    """Show whose agent would be changed over, and what stands in the way. Changes nothing."""
    with connect(context) as client:
        rows = client.plan_upgrade(vm=vm or None, version=version, allow_downgrade=allow_downgrade, via=via)
    show_list(rows, FLEET.columns, output)


@app.command()
def run(
    context: typer.Context,
    vm: Vms = None,
    version: Version = None,
    allow_downgrade: Downgrade = False,
    via: Via = "auto",
    max_in_flight: MaxInFlight = 8,
    batch: Batch = None,
    max_fail_percentage: MaxFail = 20.0,
    rollback_seconds: RollBack = 120,
    spread_seconds: Spread = 0.0,
    wait_seconds: StepSeconds = 180.0,
    wait: WaitForEnd = True,
    output: Output = Form.table,
) -> None:
    """Change agents over while their guests run; exit status 1 when one of them was not upgraded."""
    with connect(context) as client:
        task = client.upgrade(
            vm=vm or None,
            version=version,
            allow_downgrade=allow_downgrade,
            via=via,
            max_in_flight=max_in_flight,
            batch=batch,
            max_fail_percentage=max_fail_percentage,
            rollback_seconds=rollback_seconds,
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
    """Show how far an upgrade is with each VM."""
    with connect(context) as client:
        FLEET.follow(client, task_id, output, wait=wait)
