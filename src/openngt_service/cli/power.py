# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt vm power VERB VM…`"""

import enum
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from openngt.powering import Outcome, failure_of
from openngt.powering import power as power_all

from .connect import connect
from .output import Column, Form, Output, print_json, show_list
from .vm import Wait

__all__ = ["Fallback", "Verb", "power"]


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


COLUMNS = [
    Column("VM", lambda row: row["vm"]),
    Column("Outcome", lambda row: row["outcome"]),
    Column("Before", lambda row: row["before"]),
    Column("Power State", lambda row: row["power_state"]),
    Column("Stopped By", lambda row: row["stopped_by"]),
]


def power(
    context: typer.Context,
    verb: Annotated[Verb, typer.Argument(help="What to do.")],
    vm: Annotated[list[str], typer.Argument(metavar="VM...", help="UUIDs or names.")],
    fallback: Annotated[
        Fallback, typer.Option(help="How far to go when the guest does not shut down; off tries ACPI before.")
    ] = Fallback.none,
    force: Annotated[bool, typer.Option("--force", help="Also while a tools ISO is mounted.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be done.")] = False,
    wait: Wait = True,
    wait_seconds: Annotated[int, typer.Option(min=1, max=3600, help="How long the guest may take.")] = 300,
    output: Output = Form.table,
) -> None:
    """Switch VMs on, off or over; done when the hypervisor, or the guest's next boot, shows it."""

    def tell(name: str, task: Mapping[str, Any]) -> None:
        sys.stderr.write(f"{name}: {task['progress']:3d} %  {task['step']}\n")

    with connect(context) as client:
        outcomes = power_all(
            client,
            vm,
            verb,
            fallback=fallback,
            wait_seconds=wait_seconds,
            force=force,
            check=check,
            wait=wait,
            on_progress=tell,
        )
    if output is Form.json:
        print_json([outcome.task for outcome in outcomes if outcome.task is not None])
    else:
        show_list([row_of(outcome) for outcome in outcomes], COLUMNS, output)
    failure = failure_of(verb, outcomes)
    if failure is not None:
        raise failure


def row_of(outcome: Outcome) -> dict[str, Any]:
    result = outcome.result or {}
    names = ("before", "power_state", "stopped_by")
    return {"vm": outcome.vm, "outcome": word_of(outcome), **{name: result.get(name) for name in names}}


def word_of(outcome: Outcome) -> str:
    if outcome.error is not None:
        return outcome.error.code
    if outcome.result is None:
        return "asked"
    return "changed" if outcome.result["changed"] else "unchanged"
