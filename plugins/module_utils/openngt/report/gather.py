# SPDX-License-Identifier: GPL-3.0-or-later
"""What a report is made of: the service's answers, asked for once, with a viewer's token."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from ..client import Client
from ..errors import OpenNGTError

__all__ = ["FAILURE_DAYS", "Answers", "gather"]

Json = dict[str, Any]
FAILURE_DAYS = 7
MOST_FAILURE_DAYS = 30
"""So long the service keeps tasks."""


@dataclass(frozen=True)
class Answers:
    """As the API has them; `tasks` newest first."""

    service_version: str
    ca: Json
    vms: list[Json]
    checks: list[Json]
    tasks: list[Json]
    customizations: list[Json]


def gather(client: Client, now: datetime.datetime, failure_days: int = FAILURE_DAYS) -> Answers:
    """Ask for the whole fleet, however large, and for the tasks of the last `failure_days` (1 to 30)."""
    if not 1 <= failure_days <= MOST_FAILURE_DAYS:
        raise OpenNGTError("INVALID_INPUT", f"failure_days: give 1 to {MOST_FAILURE_DAYS}, not {failure_days}")
    return Answers(
        service_version=client.compatibility()["service_version"],
        ca=client.ca(),
        vms=client.vms(),
        checks=client.health(),
        tasks=client.tasks_since(now - datetime.timedelta(days=failure_days)),
        customizations=client.customizations(),
    )
