# SPDX-License-Identifier: GPL-3.0-or-later
"""What health keeps: policies that somebody set, history as spans, alerts with their life, reports to download.

What is open now is mirrored in memory, so a round of checks that finds what the last one found writes nothing.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, tuple_, update

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.expiry import ExpiryState

from . import audit, schema
from .database import Database
from .pages import foreign_page_token

__all__ = ["SAME_AGAIN", "Alert", "AlertPage", "AlertState", "Changes", "HealthRows", "Place", "PolicyRow", "Span"]

AlertState = Literal["raised", "acknowledged", "resolved"]
Place = tuple[str, str]
"""Check and entity: the UUID of a VM, or `service:` and a name."""
SAME_AGAIN = datetime.timedelta(hours=1)
"""For so long a resolved alert is remembered, to be raised again as itself."""
GROUP = 500
"""Databases limit the number of parameters of one statement."""
REPORTS_KEPT = 20


@dataclass(frozen=True)
class PolicyRow:
    check_name: str
    enabled: bool
    alert_from: str
    thresholds: Mapping[str, int]
    updated: datetime.datetime
    actor: str


@dataclass(frozen=True)
class Span:
    """A time in which a check found an entity in this state, which is never PASS. `until` is None while it lasts."""

    check_name: str
    entity: str
    since: datetime.datetime
    state: ExpiryState
    until: datetime.datetime | None = None

    @property
    def place(self) -> Place:
        return self.check_name, self.entity


@dataclass(frozen=True)
class Alert:
    alert_id: str
    check_name: str
    entity: str
    vm_uuid: str | None
    vm_name: str | None
    severity: ExpiryState
    message: str
    state: AlertState
    occurrences: int
    """How often it was raised: one that comes back soon is the same alert."""
    raised_at: datetime.datetime
    changed_at: datetime.datetime
    acknowledged_at: datetime.datetime | None = None
    acknowledged_by: str | None = None
    note: str | None = None
    resolved_at: datetime.datetime | None = None

    @property
    def place(self) -> Place:
        return self.check_name, self.entity


@dataclass(frozen=True)
class AlertPage:
    items: list[Alert]
    next_page_token: str | None


@dataclass(frozen=True)
class Changes:
    """What a round of checks has changed, written in one transaction."""

    opened: Sequence[Span] = ()
    closed: Sequence[Span] = ()
    """With their `until`."""
    alerts: Sequence[Alert] = ()
    """New ones, and known ones as they are now."""
    ran: frozenset[str] = field(default_factory=frozenset)
    """Checks that ran, for the first time on this day."""

    def __bool__(self) -> bool:
        return bool(self.opened or self.closed or self.alerts or self.ran)


class HealthRows:
    """`load` once before use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.policies: dict[str, PolicyRow] = {}
        self.spans: dict[Place, Span] = {}
        """The open ones."""
        self.alerts: dict[Place, Alert] = {}
        """The newest of each place that is not resolved, or was not an hour ago."""

    async def load(self) -> None:
        """Read policies, and what is open, from the database."""
        recently = effects.now() - SAME_AGAIN
        policies, spans, alerts = await self._database.read(lambda connection: _load(connection, recently))
        self.policies = {row.check_name: row for row in policies}
        self.spans = {span.place: span for span in spans}
        self.alerts = {alert.place: alert for alert in alerts}

    async def apply(self, changes: Changes, now: datetime.datetime) -> None:
        """Write what a round has changed; the mirror shows it once it is durable."""
        if changes:
            await self._database.write(
                lambda connection: _write(connection, changes, now), committed=lambda _: self._remember(changes)
            )

    async def set_policy(self, row: PolicyRow, entry: audit.AuditEntry) -> None:
        def write(connection: Connection) -> None:
            table = schema.health_policies
            connection.execute(delete(table).where(table.c.check_name == row.check_name))
            connection.execute(insert(table), {**vars(row), "thresholds": dict(row.thresholds)})
            audit.append(connection, [entry])

        def remember(_: None) -> None:
            self.policies[row.check_name] = row

        await self._database.write(write, committed=remember)

    async def save_alert(self, alert: Alert, entry: audit.AuditEntry) -> None:
        """What an operator did with an alert, and its trace."""

        def write(connection: Connection) -> None:
            _save_alerts(connection, [alert])
            audit.append(connection, [entry])

        await self._database.write(write, committed=lambda _: self._remember(Changes(alerts=[alert])))

    async def alert(self, alert_id: str) -> Alert:
        """NOT_FOUND."""
        found = next((alert for alert in self.alerts.values() if alert.alert_id == alert_id), None)
        found = found or await self._database.read(lambda connection: _alert(connection, alert_id))
        if found is None:
            raise OpenNGTError("NOT_FOUND", f"there is no alert {alert_id}")
        return found

    async def alert_page(
        self, where: Mapping[str, str | Sequence[str]], *, limit: int, page_token: str | None
    ) -> AlertPage:
        """Newest first. `where`: column -> value, or values of which one must hold. The token is the last one's id."""
        return await self._database.read(lambda connection: _alert_page(connection, where, limit, page_token))

    async def history(
        self, checks: Sequence[str], entities: Sequence[str], since: datetime.datetime
    ) -> tuple[list[Span], set[tuple[str, datetime.date]]]:
        """Spans that reach beyond `since`, and the days (with their check) from then on, on which a check ran."""
        return await self._database.read(lambda connection: _history(connection, checks, entities, since))

    async def save_report(self, task_id: str, report: Mapping[str, Any], now: datetime.datetime) -> None:
        """Keep it for a download; the newest 20 are kept."""

        def write(connection: Connection) -> None:
            table = schema.health_reports
            connection.execute(insert(table), {"task_id": task_id, "created": now, "report": dict(report)})
            kept = select(table.c.task_id).order_by(table.c.created.desc()).limit(REPORTS_KEPT)
            connection.execute(delete(table).where(table.c.task_id.not_in(kept)))

        await self._database.write(write)

    async def report(self, task_id: str) -> dict[str, Any]:
        """NOT_FOUND for a task that made none, failed, or is not among the newest 20."""
        table = schema.health_reports
        query = select(table.c.report).where(table.c.task_id == task_id)
        found = await self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())
        if found is None:
            raise OpenNGTError("NOT_FOUND", f"task {task_id} has no report; the newest {REPORTS_KEPT} are kept")
        return dict(found)

    async def forget_before(self, moment: datetime.datetime, now: datetime.datetime) -> None:
        """Delete history and resolved alerts that ended before `moment`; what is open stays."""
        spans, days, alerts = schema.health_spans, schema.health_days, schema.health_alerts

        def write(connection: Connection) -> None:
            connection.execute(delete(spans).where(spans.c.until < moment))
            connection.execute(delete(days).where(days.c.day < moment.date()))
            connection.execute(delete(alerts).where(alerts.c.state == "resolved", alerts.c.resolved_at < moment))

        await self._database.write(write)
        self.alerts = {
            place: alert
            for place, alert in self.alerts.items()
            if alert.resolved_at is None or now - alert.resolved_at <= SAME_AGAIN
        }

    def _remember(self, changes: Changes) -> None:
        for span in changes.closed:
            self.spans.pop(span.place, None)
        self.spans |= {span.place: span for span in changes.opened}
        self.alerts |= {alert.place: alert for alert in changes.alerts}


def _write(connection: Connection, changes: Changes, now: datetime.datetime) -> None:
    spans, days = schema.health_spans, schema.health_days
    for span in changes.closed:
        mine = and_(spans.c.check_name == span.check_name, spans.c.entity == span.entity, spans.c.until.is_(None))
        connection.execute(update(spans).where(mine).values(until=span.until))
    if changes.opened:
        connection.execute(insert(spans), [vars(span) for span in changes.opened])
    _save_alerts(connection, changes.alerts)
    for name in changes.ran:
        connection.execute(delete(days).where(days.c.check_name == name, days.c.day == now.date()))
        connection.execute(insert(days), {"check_name": name, "day": now.date()})


def _save_alerts(connection: Connection, alerts: Sequence[Alert]) -> None:
    table = schema.health_alerts
    for start in range(0, len(alerts), GROUP):
        group = alerts[start : start + GROUP]
        connection.execute(delete(table).where(table.c.alert_id.in_([alert.alert_id for alert in group])))
        connection.execute(insert(table), [vars(alert) for alert in group])


def _load(connection: Connection, recently: datetime.datetime) -> tuple[list[PolicyRow], list[Span], list[Alert]]:
    policies, spans, alerts = schema.health_policies, schema.health_spans, schema.health_alerts
    remembered = or_(alerts.c.state != "resolved", alerts.c.resolved_at >= recently)
    query = select(alerts).where(remembered).order_by(alerts.c.changed_at)
    return (
        [PolicyRow(**row._mapping) for row in connection.execute(select(policies))],
        [Span(**row._mapping) for row in connection.execute(select(spans).where(spans.c.until.is_(None)))],
        [_alert_of(row) for row in connection.execute(query)],
    )


def _alert_of(row: Row[Any]) -> Alert:
    return Alert(**row._mapping)


def _alert(connection: Connection, alert_id: str) -> Alert | None:
    table = schema.health_alerts
    row = connection.execute(select(table).where(table.c.alert_id == alert_id)).one_or_none()
    return None if row is None else _alert_of(row)


def _alert_page(
    connection: Connection, where: Mapping[str, str | Sequence[str]], limit: int, page_token: str | None
) -> AlertPage:
    table = schema.health_alerts
    query = select(table).order_by(table.c.raised_at.desc(), table.c.alert_id.desc()).limit(limit + 1)
    for column, wanted in where.items():
        query = query.where(table.c[column].in_([wanted] if isinstance(wanted, str) else list(wanted)))
    if page_token is not None:
        last = _alert(connection, page_token)
        if last is None:
            raise foreign_page_token()
        query = query.where(tuple_(table.c.raised_at, table.c.alert_id) < tuple_(last.raised_at, last.alert_id))
    items = [_alert_of(row) for row in connection.execute(query)]
    return AlertPage(items[:limit], items[limit - 1].alert_id if len(items) > limit else None)


def _history(
    connection: Connection, checks: Sequence[str], entities: Sequence[str], since: datetime.datetime
) -> tuple[list[Span], set[tuple[str, datetime.date]]]:
    spans, days = schema.health_spans, schema.health_days
    reaches = or_(spans.c.until.is_(None), spans.c.until >= since)
    found: list[Span] = []
    for start in range(0, len(entities), GROUP):
        mine = and_(spans.c.entity.in_(entities[start : start + GROUP]), spans.c.check_name.in_(list(checks)))
        found += [Span(**row._mapping) for row in connection.execute(select(spans).where(mine, reaches))]
    query = select(days).where(days.c.check_name.in_(list(checks)), days.c.day >= since.date())
    return found, {(row.check_name, row.day) for row in connection.execute(query)}
