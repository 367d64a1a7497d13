# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands that work on many VMs have in common: following the work, and leaving it."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from openngt.errors import OpenNGTError

__all__ = ["MaxInFlight", "WaitForEnd", "leaving", "require_success"]

MaxInFlight = Annotated[int, typer.Option("--max-in-flight", help="How many VMs at a time.")]
WaitForEnd = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end.")]
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


@contextlib.contextmanager
def leaving(task_id: str, show: str) -> Iterator[None]:
    """Ctrl-C ends the watching, not the work, which is the service's: say how to come back, and how to end it.

    `show` is the command that shows the rows of such a task.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\nthe service goes on with it; follow it: {show} {task_id} --wait\n"
            f"begin with no further VM: openngt task cancel {task_id}\n"
        )
        raise typer.Exit(INTERRUPTED) from None


def require_success(task: Mapping[str, Any]) -> None:
    """Raises the error of a task that has ended otherwise."""
    if task["state"] != "succeeded":
        error = task["error"] or {"code": "TASK_FAILED", "message": f"it ended as {task['state']}", "remedy": None}
        raise OpenNGTError(error["code"], error["message"], {"task_id": task["task_id"]}, error["remedy"])
