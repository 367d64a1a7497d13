# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt task`: what the service is doing and has done."""

from typing import Annotated

import typer

from .connect import connect
from .output import Column, Form, Output, show, show_list

__all__ = ["app"]

app = typer.Typer(help="Long work of the service.", no_args_is_help=True)

COLUMNS = [
    Column("Task", lambda t: t["task_id"]),
    Column("Kind", lambda t: t["kind"]),
    Column("Title", lambda t: t["title"]),
    Column("VM Id", lambda t: t["vm_uuid"]),
    Column("State", lambda t: t["state"]),
    Column("Progress", lambda t: t["progress"]),
    Column("Step", lambda t: t["step"]),
    Column("Error", lambda t: (t["error"] or {}).get("code")),
    Column("Created", lambda t: t["created"]),
    Column("Updated", lambda t: t["updated"]),
]
DETAILS = [
    *COLUMNS,
    Column("Part Of", lambda t: t["parent"]),
    Column("Message", lambda t: (t["error"] or {}).get("message")),
    Column("Remedy", lambda t: (t["error"] or {}).get("remedy")),
    Column("Result", lambda t: t["result"]),
]


@app.command("list")
def list_tasks(
    context: typer.Context,
    vm: Annotated[str | None, typer.Option(help="Only tasks of this VM.")] = None,
    output: Output = Form.table,
) -> None:
    """Newest first."""
    with connect(context) as client:
        show_list(client.tasks(vm), COLUMNS, output)


@app.command("cancel")
def cancel_task(context: typer.Context, task_id: str, output: Output = Form.table) -> None:
    """End a task for many VMs: no further VM is begun, and those at work come to their end."""
    with connect(context) as client:
        show(client.cancel_task(task_id), DETAILS, output)


@app.command("show")
def show_task(context: typer.Context, task_id: str, output: Output = Form.table) -> None:
    """One task in full."""
    with connect(context) as client:
        show(client.task(task_id), DETAILS, output)
