# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt vm power VERB VM…`, and how far it is."""

import enum
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from openngt import powering

from .connect import connect
from .fleet import MaxInFlight, WaitForEnd, leaving
from .output import Column, Form, Output, say, show_list
from .vm import Wait

__all__ = ["Fallback", "Verb", "power", "show"]


class Verb(enum.StrEnum):
    """Those of `openngt.powering`, as a type for the command line."""

    on = "on"
    off = "off"
    shutdown = "shutdown"
    reset = "reset"
    power_cycle = "power_cycle"
    guest_shutdown = "guest_shutdown"
    guest_reboot = "guest_reboot"


class Fallback(enum.StrEnum):
    none = "none"
    acpi = "acpi"
    off = "off"


def word_of(row: Mapping[str, Any]) -> str:
    if row["code"] is not None:
        return str(row["code"])
    if row["state"] in ("due", "switched", "unchanged"):
        return "changed" if row["changed"] else "unchanged"
    return str(row["state"])


COLUMNS = [
    Column("VM", lambda row: row["vm"]),
    Column("Outcome", word_of),
    Column("Before", lambda row: row["before"]),
    Column("Power State", lambda row: row["power_state"]),
    Column("Stopped By", lambda row: row["stopped_by"]),
]


SHOW = "openngt vm power-show"


def tell(row: Mapping[str, Any]) -> None:
    """The VM's task as it is now, on stderr."""
    for task in row["tasks"]:
        say(f"{row['vm']}: {task['progress']:3d} %  {task['step']}")


def power(
    context: typer.Context,
    verb: Annotated[Verb, typer.Argument(help="What to do.")],
    vm: Annotated[list[str], typer.Argument(metavar="VM...", help="UUIDs or names.")],
    fallback: Annotated[
        Fallback, typer.Option(help="How far to go when the guest does not shut down; off tries ACPI before.")
    ] = Fallback.none,
    force: Annotated[bool, typer.Option("--force", help="Also while a tools ISO is mounted.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be done.")] = False,
    max_in_flight: MaxInFlight = 16,
    wait: Wait = True,
    wait_seconds: Annotated[int, typer.Option(min=1, max=3600, help="How long the guest may take.")] = 300,
    output: Output = Form.table,
) -> None:
    """Switch VMs on, off or over; done when the hypervisor, or the guest's next boot, shows it."""
    ask = {
        "vm": vm,
        "verb": verb,
        "fallback": fallback,
        "wait_seconds": wait_seconds,
        "force": force,
        "max_in_flight": max_in_flight,
    }
    with connect(context) as client:
        if check:
            finish(powering.predict(client, ask), output)
            return
        begun = powering.begin(client, ask)
        with leaving(str(begun.task_id), SHOW):
            if len(begun.rows) > 1 or not wait:
                say(f"follow it: {SHOW} {begun.task_id}")
            finish(powering.wait(client, begun, tell) if wait else begun, output)


def show(
    context: typer.Context,
    task_id: str,
    wait: WaitForEnd = False,
    output: Output = Form.table,
) -> None:
    """Show how far a `vm power` is with each VM."""
    with connect(context) as client:
        now = powering.look(client, task_id)
        with leaving(task_id, SHOW):
            finish(powering.wait(client, now, tell) if wait else now, output)


def finish(outcome: powering.Outcome, output: Form) -> None:
    """Show the rows; what failed is raised after that."""
    show_list(outcome.rows, COLUMNS, output)
    failure = powering.failure_of(outcome)
    if failure is not None:
        raise failure
