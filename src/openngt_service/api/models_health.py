# SPDX-License-Identifier: GPL-3.0-or-later
"""The bodies of the API's calls about health; the rules are those of `models`."""

import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from .models import TEXT, Answer, Body, Expiry, Time, Uuid

__all__ = [
    "Acknowledgement",
    "Alert",
    "AlertList",
    "AlertState",
    "CheckDefinition",
    "CheckDefinitions",
    "CheckList",
    "CheckName",
    "CheckPolicy",
    "CheckRequest",
    "History",
]

Severity = Literal["INFO", "WARN", "FAIL"]
CheckState = Literal["OFF", "PASS", "INFO", "WARN", "FAIL"]
CheckName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9_]+$")]
AlertState = Literal["raised", "acknowledged", "resolved"]


class Check(Answer):
    name: str
    title: str
    state: CheckState
    message: str
    items: list[dict[str, Any]]
    alert_code: str | None
    resolutions: list[str]
    checked_at: Time


class CheckList(Answer):
    checks: list[Check]


class CheckRequest(Body):
    checks: list[Annotated[str, Field(max_length=64)]] = Field(default_factory=list)


class CheckThreshold(Answer):
    name: str
    value: int
    default: int
    minimum: int
    maximum: int
    means: str


class CheckDefinition(Answer):
    name: str
    title: str
    description: str
    causes: list[str]
    resolutions: list[str]
    alert_code: str | None
    enabled: bool
    alert_from: Severity
    thresholds: list[CheckThreshold]
    interval_seconds: float
    updated: Time | None
    updated_by: str | None


class CheckDefinitions(Answer):
    items: list[CheckDefinition]


class CheckPolicy(Body):
    """What is left out stays as it is."""

    enabled: bool | None = None
    alert_from: Severity | None = None
    thresholds: dict[Annotated[str, Field(max_length=64)], int | None] = Field(default_factory=dict)
    check: bool = False
    """Only say what would hold."""


class HistoryRow(Answer):
    vm_uuid: Uuid
    vm_name: str
    days: list[Expiry | None]
    """The worst of each day, in the order of the answer's `days`."""


class History(Answer):
    checks: list[str]
    days: list[datetime.date]
    items: list[HistoryRow]
    next_page_token: str | None


class Alert(Answer):
    alert_id: str
    check: str
    code: str | None
    """As the original product numbers it."""
    entity: str
    vm_uuid: str | None
    vm_name: str | None
    severity: Severity
    message: str
    state: AlertState
    occurrences: int
    raised_at: Time
    changed_at: Time
    acknowledged_at: Time | None
    acknowledged_by: str | None
    note: str | None
    resolved_at: Time | None
    resolutions: list[str]


class AlertList(Answer):
    items: list[Alert]
    next_page_token: str | None


class Acknowledgement(Body):
    note: Annotated[str, Field(min_length=1, max_length=1024, pattern=TEXT)] | None = None
