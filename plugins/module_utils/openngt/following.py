# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait for work of the service that is about many VMs, and hear of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .client import FINISHED, PROGRESS_SECONDS, Client
from .client_transport import BACKOFF_CAP
from .errors import OpenNGTError

__all__ = ["follow_refresh", "follow_upgrade"]

Json = dict[str, Any]
RESTART_SECONDS = 120.0


def follow_refresh(
    client: Client,
    task_id: str,
    on_row: Callable[[Json], None] = lambda row: None,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[Json, list[Json]]:
    """Wait for a refresh's end -> (task, rows); that a VM was not refreshed raises nothing. As `follow_upgrade`."""
    return _follow(client, client.refresh_rows, task_id, on_row, pause)


def follow_upgrade(
    client: Client,
    task_id: str,
    on_row: Callable[[Json], None] = lambda row: None,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[Json, list[Json]]:
    """Wait for an upgrade's end -> (task, rows); that a VM was not upgraded raises nothing.

    `on_row` gets a row each time it has changed. There is no limit but those of the VMs' own steps; a service that
    restarts meanwhile is waited for, ENDPOINT_UNREACHABLE after two minutes.
    """
    return _follow(client, client.upgrade_rows, task_id, on_row, pause)


def _follow(
    client: Client,
    rows_of: Callable[[str], list[Json]],
    task_id: str,
    on_row: Callable[[Json], None],
    pause: Callable[[float], None],
) -> tuple[Json, list[Json]]:
    seen: dict[str, Json] = {}
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
            if seen.get(row["vm_uuid"]) != row:
                seen[row["vm_uuid"]] = row
                on_row(row)
        if task["state"] in FINISHED:
            return task, rows
