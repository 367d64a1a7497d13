# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for work of the service that is about many VMs, and hear of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .client import FINISHED, PROGRESS_SECONDS, Client
from .client_transport import BACKOFF_CAP
from .errors import OpenNGTError

__all__ = ["follow_fleet"]

Json = dict[str, Any]
RESTART_SECONDS = 120.0


def follow_fleet(
    client: Client,
    task_id: str,
    rows_of: Callable[[str], list[Json]],
    on_row: Callable[[Json], None] = lambda row: None,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[Json, list[Json]]:
    """Wait for the end of a task for many VMs -> (task, rows); that a VM came to nothing raises nothing.

    `rows_of` is the client's call for the rows of such a task. `on_row` gets a row each time it has changed. There is
    no limit but those of the VMs' own steps; a service that restarts meanwhile is waited for, ENDPOINT_UNREACHABLE
    after two minutes.
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
