# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrade agents: ask the service what would be done, have it done, and say it in Ansible's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .openngt.client import FINISHED, Client
from .openngt.errors import OpenNGTError
from .openngt.following import follow_fleet
from .refreshing import Outcome

__all__ = ["begin", "failure_of", "look", "predict", "result_of", "wait"]

Json = dict[str, Any]


def predict(client: Client, ask: Json) -> Outcome:
    """What `begin` would do; changes nothing."""
    return Outcome(None, True, client.plan_upgrade(**ask))


def begin(client: Client, ask: Json) -> Outcome:
    """Have the service begin, unless no VM is due."""
    planned = predict(client, ask)
    if all(row["state"] == "unchanged" for row in planned.rows):
        return planned
    task = client.upgrade(**ask)
    return Outcome(task["task_id"], False, [*client.upgrade_rows(task["task_id"]), *_unchanged(planned.rows)])


def look(client: Client, task_id: str) -> Outcome:
    """How far an earlier upgrade is."""
    task = client.task(task_id)  # first: the rows of a task that has ended are its last
    return Outcome(task_id, task["state"] in FINISHED, client.upgrade_rows(task_id), task["error"])


def wait(client: Client, begun: Outcome) -> Outcome:
    """The end of it; VMs that were not due stay in the rows."""
    if begun.task_id is None:
        return begun
    task, rows = follow_fleet(client, begun.task_id, client.upgrade_rows)
    return Outcome(begun.task_id, True, [*rows, *_unchanged(begun.rows)], task["error"])


def result_of(outcome: Outcome) -> Json:
    """The module's result. `changed`: a VM runs another agent, or would."""
    changed = [row for row in outcome.rows if row["state"] in ("due", "upgraded")]
    return {
        "changed": bool(changed),
        "finished": outcome.finished,
        "task_id": outcome.task_id,
        "vms": outcome.rows,
        "diff": {"before": _versions(changed, "old_version"), "after": _versions(changed, "new_version")},
    }


def failure_of(outcome: Outcome) -> OpenNGTError | None:
    """Why it failed, or would: the one VM's own reason, or TASK_FAILED with each VM's code in the message."""
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
        "TASK_FAILED", f"{len(bad)} VMs cannot be upgraded: {named}", {}, "follow the remedy of each row in vms"
    )


def _unchanged(rows: Sequence[Json]) -> list[Json]:
    return [row for row in rows if row["state"] == "unchanged"]


def _versions(rows: Sequence[Json], field: str) -> Json:
    """VM -> the agent that it runs."""
    return {row["vm_name"]: {"agent_version": row[field]} for row in rows}
