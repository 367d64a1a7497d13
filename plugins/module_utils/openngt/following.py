# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for work of the service that is about many VMs, and hear of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from .client import FINISHED, PROGRESS_SECONDS, Client
from .client_transport import BACKOFF_CAP
from .errors import OpenNGTError

__all__ = ["Outcome", "Rows", "failure_of", "follow_fleet", "look", "wait"]

Json = dict[str, Any]
RESTART_SECONDS = 120.0
Rows = Callable[[str], list[Json]]
"""The client's call for the rows of a task of that kind, by the task's id."""


class Outcome(NamedTuple):
    """How far work on many VMs is, or what it would come to."""

    task_id: str | None
    """None where nothing was begun."""
    finished: bool
    rows: list[Json]
    """A row for each VM, as ARCHITECTURE.md section 6 has it."""
    error: Json | None = None
    """Of the service's task, when it did not succeed."""


def look(client: Client, task_id: str, rows_of: Rows) -> Outcome:
    """How far an earlier one is."""
    task = client.task(task_id)  # first: the rows of a task that has ended are its last
    return Outcome(task_id, task["state"] in FINISHED, rows_of(task_id), task["error"])


def wait(client: Client, begun: Outcome, rows_of: Rows, on_row: Callable[[Json], None] = lambda row: None) -> Outcome:
    """The end of it; rows of VMs for which nothing was begun stay."""
    if begun.task_id is None:
        return begun
    task, rows = follow_fleet(client, begun.task_id, rows_of, on_row)
    unchanged = [row for row in begun.rows if row["state"] == "unchanged"]
    return Outcome(begun.task_id, True, [*rows, *unchanged], task["error"])


def failure_of(outcome: Outcome, done: str) -> OpenNGTError | None:
    """Why it failed, or would: the one VM's own reason, or TASK_FAILED with each VM's code in the message.

    `done`: what VMs are that it succeeded with, for people: `refreshed`.
    """
    if outcome.error is not None:
        error = outcome.error
        return OpenNGTError(error["code"], error["message"], error["details"], error["remedy"])
    bad = [row for row in outcome.rows if row["state"] in ("failed", "blocked")]
    if not bad:
        return None
    if len(bad) == 1:
        return OpenNGTError(bad[0]["code"], bad[0]["message"], {"vm": bad[0]["vm_name"]}, bad[0]["remedy"])
    named = ", ".join(f"{row['vm_name']} ({row['code']})" for row in bad)
    return OpenNGTError(
        "TASK_FAILED", f"{len(bad)} VMs cannot be {done}: {named}", {}, "follow the remedy of each row in vms"
    )


def follow_fleet(
    client: Client,
    task_id: str,
    rows_of: Rows,
    on_row: Callable[[Json], None] = lambda row: None,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[Json, list[Json]]:
    """Wait for the end of a task for many VMs -> (task, rows); that a VM came to nothing raises nothing.

    `on_row` gets a row each time it has changed. There is no limit but those of the VMs' own steps; a service that
    restarts meanwhile is waited for, ENDPOINT_UNREACHABLE after two minutes.
    """
    seen: dict[tuple[str | None, str], Json] = {}
    gone_since: float | None = None
    while True:
        try:
            task = client.task(task_id, wait=PROGRESS_SECONDS)
            rows = rows_of(task_id)
        except OpenNGTError as exc:
            gone_since = time.monotonic() if gone_since is None else gone_since
            if exc.code != "ENDPOINT_UNREACHABLE" or time.monotonic() - gone_since > RESTART_SECONDS:
                raise
            pause(BACKOFF_CAP)
            continue
        gone_since = None
        for row in rows:
            vm = row["vm_uuid"], row["vm_name"]
            if seen.get(vm) != row:
                seen[vm] = row
                on_row(row)
        if task["state"] in FINISHED:
            return task, rows
