# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the service switch VMs, and tell for each how it ended. For the module and the CLI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import following
from .client import Client
from .errors import OpenNGTError
from .following import Outcome

__all__ = ["FALLBACKS", "VERBS", "Outcome", "begin", "failure_of", "look", "predict", "wait"]

Json = dict[str, Any]

VERBS = ("on", "off", "shutdown", "reset", "power_cycle", "guest_shutdown", "guest_reboot")
FALLBACKS = ("none", "acpi", "off")


def predict(client: Client, ask: Json) -> Outcome:
    """What `begin` would do, and what would be refused; changes nothing."""
    asked = {name: value for name, value in ask.items() if name != "max_in_flight"}
    return Outcome(None, True, client.plan_power(**asked))


def begin(client: Client, ask: Json) -> Outcome:
    """Have the service begin. `ask`: vm, verb, fallback, wait_seconds, force, max_in_flight, as the API has them."""
    task = client.power_many(**ask)
    return Outcome(task["task_id"], False, client.power_rows(task["task_id"]))


def look(client: Client, task_id: str) -> Outcome:
    """How far an earlier one is."""
    return following.look(client, task_id, client.power_rows)


def wait(client: Client, begun: Outcome, on_row: Callable[[Json], None] = lambda row: None) -> Outcome:
    """The end of it; `on_row` as of `follow_fleet`."""
    return following.wait(client, begun, client.power_rows, on_row)


def failure_of(outcome: Outcome) -> OpenNGTError | None:
    """One error for all that failed, None when none did. One VM's own, where only one was asked for."""
    error = outcome.error
    if error is not None and error["code"] == "TASK_CANCELLED":
        return OpenNGTError(error["code"], error["message"], error["details"], error["remedy"])
    failed = [(row["vm"], _error_of(row)) for row in outcome.rows if row["state"] in ("failed", "blocked")]
    if not failed:
        return None
    first = failed[0][1]
    if len(outcome.rows) == 1:
        return first
    listed = "; ".join(f"{vm}: {error.message} [{error.code}]" for vm, error in failed)
    details = {"failed": {vm: error.to_dict() for vm, error in failed}}
    message = f"{len(failed)} of {len(outcome.rows)} VMs were not switched: {listed}"
    return OpenNGTError(first.code, message, details, first.remedy)


def _error_of(row: Json) -> OpenNGTError:
    return OpenNGTError(row["code"], row["message"], dict(row["details"] or {}), row["remedy"])
