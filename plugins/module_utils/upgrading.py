# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrade agents: ask the service what would be done, have it done, and say it in Ansible's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .openngt import following
from .openngt.client import Client
from .openngt.errors import OpenNGTError
from .openngt.following import Outcome

__all__ = ["Outcome", "begin", "failure_of", "look", "predict", "result_of", "wait"]

Json = dict[str, Any]


def predict(client: Client, ask: Json) -> Outcome:
    """What `begin` would do; changes nothing."""
    return Outcome(None, True, client.plan_upgrade(**ask))


def begin(client: Client, ask: Json) -> Outcome:
    """Have the service begin, unless no VM is due."""
    planned = predict(client, ask)
    if all(row["state"] == "unchanged" for row in planned.rows):
        return planned
    unchanged = [row for row in planned.rows if row["state"] == "unchanged"]
    task = client.upgrade(**ask)
    return Outcome(task["task_id"], False, [*client.upgrade_rows(task["task_id"]), *unchanged])


def look(client: Client, task_id: str) -> Outcome:
    """How far an earlier upgrade is."""
    return following.look(client, task_id, client.upgrade_rows)


def wait(client: Client, begun: Outcome) -> Outcome:
    """The end of it; VMs that were not due stay in the rows."""
    return following.wait(client, begun, client.upgrade_rows)


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
    """Why it failed, or would."""
    return following.failure_of(outcome, "upgraded")


def _versions(rows: Sequence[Json], field: str) -> Json:
    """VM -> the agent that it runs."""
    return {row["vm_name"]: {"agent_version": row[field]} for row in rows}
