# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands that work on many VMs have in common: following the work, leaving it, and its rows."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any, NamedTuple

import typer

from openngt.client import Client
from openngt.errors import OpenNGTError
from openngt.following import follow_fleet

from .endings import no_longer_waiting
from .output import Column, Form, print_json, say, show_list

__all__ = ["FleetCommand", "MaxInFlight", "WaitForEnd", "leaving"]

MaxInFlight = Annotated[int, typer.Option("--max-in-flight", help="How many VMs at a time.")]
WaitForEnd = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end.")]


class FleetCommand(NamedTuple):
    """What is a command's own in following work on many VMs."""

    show: str
    """The command that shows the rows of such a task."""
    rows: Callable[[Client, str], list[dict[str, Any]]]
    columns: Sequence[Column]

    def follow(self, client: Client, task_id: str, output: Form, *, wait: bool, begun: bool = False) -> None:
        """Show the rows, with `wait` at the end of the work; the task's failure is raised after that.

        `begun` just now: say how to find it again.
        """
        with leaving(task_id, self.show):
            if begun:
                say(f"follow it: {self.show} {task_id}")
            if wait:
                task, rows = follow_fleet(client, task_id, lambda task_id: self.rows(client, task_id), tell)
            else:
                task, rows = client.task(task_id), self.rows(client, task_id)
            if output is Form.json:
                print_json({"task": task, "items": rows})
            else:
                show_list(rows, self.columns, output)
        if wait:
            require_success(task)


def leaving(task_id: str, show: str) -> AbstractContextManager[None]:
    """Ctrl-C ends the watching, not the work: say how to come back, and how to end it.

    `show` is the command that shows the rows of such a task.
    """
    cancel = f"begin with no further VM: openngt task cancel {task_id}"
    return no_longer_waiting(f"{show} {task_id} --wait\n{cancel}")


def tell(row: Mapping[str, Any]) -> None:
    """The VM's tasks as they are now, on stderr."""
    for task in row["tasks"]:
        say(f"{row['vm_name']}: {task['title']}  {task['progress']:3d} %  {task['step']}")


def require_success(task: Mapping[str, Any]) -> None:
    """Raises the error of a task that has ended otherwise."""
    if task["state"] != "succeeded":
        error = task["error"] or {"code": "TASK_FAILED", "message": f"it ended as {task['state']}", "remedy": None}
        raise OpenNGTError(error["code"], error["message"], {"task_id": task["task_id"]}, error["remedy"])
