# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a check found now and what was open before to what changes: spans of history, and the life of alerts. Pure.

An alert is raised once, gets worse or better as one and the same, and is resolved when its cause is gone. One that
comes back within the hour is that alert again, acknowledged if it was: a link that comes and goes is one entry.
"""

import datetime
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from openngt.pki.expiry import ExpiryState

from ..store.health_rows import SAME_AGAIN, Alert, Changes, Place, Span
from .policy import Policy, worse

__all__ = ["Finding", "changes_of", "findings_of", "next_alert"]

LONGEST_MESSAGE = 1024
LONGEST_ENTITY = 64


@dataclass(frozen=True)
class Finding:
    """The worst that a check says of one entity."""

    entity: str
    vm_uuid: str | None
    vm_name: str | None
    state: ExpiryState
    message: str


def findings_of(items: Iterable[Mapping[str, Any]]) -> dict[str, Finding]:
    """By entity; what is PASS is not among them."""
    found: dict[str, Finding] = {}
    for item in items:
        vm_uuid = item.get("vm_uuid")
        entity = (vm_uuid or f"service:{item['name']}")[:LONGEST_ENTITY]
        one = Finding(entity, vm_uuid, item.get("vm_name"), item["state"], item["message"][:LONGEST_MESSAGE])
        if one.state != "PASS" and (entity not in found or worse(one.state, found[entity].state)):
            found[entity] = one
    return found


def changes_of(
    check_name: str,
    found: Mapping[str, Finding],
    policy: Policy,
    spans: Mapping[Place, Span],
    alerts: Mapping[Place, Alert],
    now: datetime.datetime,
) -> Changes:
    """`spans` and `alerts` are the open ones of all checks (resolved alerts may be among them)."""
    closed, opened = _span_changes(check_name, found, spans, now)
    entities = {entity for name, entity in alerts if name == check_name} | set(found)
    changed = (
        next_alert(alerts.get((check_name, entity)), found.get(entity), check_name, policy, now) for entity in entities
    )
    return Changes(opened=opened, closed=closed, alerts=[alert for alert in changed if alert is not None])


def _span_changes(
    check_name: str, found: Mapping[str, Finding], spans: Mapping[Place, Span], now: datetime.datetime
) -> tuple[Sequence[Span], Sequence[Span]]:
    mine = {entity: span for (name, entity), span in spans.items() if name == check_name}
    closed = [
        replace(span, until=now)
        for entity, span in mine.items()
        if entity not in found or found[entity].state != span.state
    ]
    opened = [
        Span(check_name, entity, now, one.state)
        for entity, one in found.items()
        if entity not in mine or mine[entity].state != one.state
    ]
    return closed, opened


def next_alert(
    known: Alert | None, finding: Finding | None, check_name: str, policy: Policy, now: datetime.datetime
) -> Alert | None:
    """The alert as it is from now on; None when nothing changes."""
    is_open = known is not None and known.state != "resolved"
    wanted = finding is not None and not worse(policy.alert_from, finding.state)
    if known is not None and is_open and not wanted:
        return replace(known, state="resolved", resolved_at=now, changed_at=now)
    if finding is None or not wanted:
        return None
    if known is not None and is_open:
        return _went_on(known, finding, now)
    if known is not None and known.resolved_at is not None and now - known.resolved_at <= SAME_AGAIN:
        return _again(known, finding, now)
    return Alert(
        alert_id=uuid.uuid4().hex,
        check_name=check_name,
        entity=finding.entity,
        vm_uuid=finding.vm_uuid,
        vm_name=finding.vm_name,
        severity=finding.state,
        message=finding.message,
        state="raised",
        occurrences=1,
        raised_at=now,
        changed_at=now,
    )


def _went_on(known: Alert, finding: Finding, now: datetime.datetime) -> Alert | None:
    """What was acknowledged as INFO is news again as FAIL. Mere words (one day less) change nothing."""
    if finding.state == known.severity:
        return None
    changed = replace(known, severity=finding.state, message=finding.message, changed_at=now)
    if known.state == "acknowledged" and worse(finding.state, known.severity):
        return replace(changed, state="raised", acknowledged_at=None, acknowledged_by=None, note=None)
    return changed


def _again(known: Alert, finding: Finding, now: datetime.datetime) -> Alert:
    return replace(
        known,
        severity=finding.state,
        message=finding.message,
        state="acknowledged" if known.acknowledged_by is not None else "raised",
        occurrences=known.occurrences + 1,
        changed_at=now,
        resolved_at=None,
    )
