# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the checks, on schedule and on demand, keeps each one's last result and writes down what has changed."""

import asyncio
import dataclasses
import datetime
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import structlog
from prometheus_client import CollectorRegistry, Gauge

from openngt import effects
from openngt.errors import OpenNGTError

from ..store.audit import AuditEntry
from ..store.health_rows import HealthRows, PolicyRow
from .catalogue import CHECKS, Check, default_policy
from .checks import CheckResult, Facts
from .policy import SEVERITY, AlertFrom, Policy, changed
from .transitions import changes_of, findings_of

__all__ = ["HealthRunner", "Tell"]

log = structlog.get_logger(__name__)

Json = dict[str, Any]
Tell = Callable[[int, str], Awaitable[None]]
"""Called before a check runs with the per cent done and what begins."""
OFF = -1
"""In the metric, of a check that is turned off."""
FORGET_SECONDS = 3600.0


class HealthRunner:
    """`gather` says what there is to look at; it may raise OpenNGTError (the hypervisor does not answer)."""

    def __init__(
        self,
        gather: Callable[[], Awaitable[Facts]],
        rows: HealthRows,
        registry: CollectorRegistry,
        checks: Mapping[str, Check] = CHECKS,
        *,
        history: datetime.timedelta = datetime.timedelta(days=90),
    ) -> None:
        self.checks = checks
        self._gather = gather
        self._rows = rows
        self._history = history
        self._last: dict[str, Json] = {}
        self._ran: set[tuple[str, datetime.date]] = set()
        self._forgot: float | None = None
        self._one_at_a_time = asyncio.Lock()
        self._metrics = Metrics(registry)

    def names(self, wanted: Sequence[str]) -> list[str]:
        """The named checks, or all, in their order. INVALID_INPUT for a name that is no check."""
        unknown = sorted(set(wanted) - set(self.checks))
        if unknown:
            message = f"checks: there is no {', '.join(unknown)}; there are {', '.join(self.checks)}"
            raise OpenNGTError("INVALID_INPUT", message, {"unknown": unknown, "known": list(self.checks)})
        return [name for name in self.checks if not wanted or name in wanted]

    def policy(self, name: str) -> Policy:
        """What holds for a check: its defaults, and what somebody has set."""
        default, row = default_policy(self.checks[name]), self._rows.policies.get(name)
        if row is None:
            return default
        # A release may bring thresholds and drop others; what was set for those that stay holds.
        kept = {name: value for name, value in row.thresholds.items() if name in default.thresholds}
        return Policy(row.enabled, cast(AlertFrom, row.alert_from), {**default.thresholds, **kept})

    async def run(self, names: Sequence[str] = (), tell: Tell | None = None) -> list[Json]:
        """Run the named checks, or all. INVALID_INPUT for a name that is no check, before anything runs."""
        wanted = self.names(names)
        async with self._one_at_a_time:
            begin = time.monotonic()
            if tell is not None:
                await tell(0, "looking at the fleet")
            facts = await self._gather()
            for number, name in enumerate(wanted):
                if tell is not None:
                    await tell(10 + 85 * number // len(wanted), f"running {name}")
                await self._run_one(name, facts)
            if not names:
                self._metrics.round_ended(facts.now, time.monotonic() - begin)
                await self._forget(facts.now)
        return [self._last[name] for name in wanted]

    async def last(self) -> list[Json]:
        """The last result of each check; those that have never run are run now."""
        missing = [name for name in self.checks if name not in self._last]
        if missing:
            await self.run(missing)
        return [self._last[name] for name in self.checks]

    @property
    def results(self) -> list[Json]:
        """The last results as far as there are any; nothing is run."""
        return list(self._last.values())

    async def run_forever(self, seconds: float) -> None:
        """Until cancelled. A round that fails is logged; the next one tries again."""
        while True:
            try:
                await self.run()
            except OpenNGTError as exc:
                log.warning("health_not_checked", code=exc.code, reason=exc.message)
            await asyncio.sleep(seconds)

    def plan_policy(
        self,
        name: str,
        *,
        enabled: bool | None = None,
        alert_from: AlertFrom | None = None,
        thresholds: Mapping[str, int | None] | None = None,
    ) -> Policy:
        """What would hold; changes nothing. NOT_FOUND, INVALID_INPUT."""
        if name not in self.checks:
            message = f"there is no check {name}; there are {', '.join(self.checks)}"
            raise OpenNGTError("NOT_FOUND", message, {"known": list(self.checks)})
        return changed(
            self.policy(name),
            self.checks[name].limits,
            enabled=enabled,
            alert_from=alert_from,
            thresholds=thresholds,
        )

    async def set_policy(self, name: str, policy: Policy, *, actor: str) -> None:
        """What `plan_policy` has returned; the check is run by it at once."""
        if policy != self.policy(name):
            details = dataclasses.asdict(policy)
            entry = AuditEntry(actor, "health.policy", details={"check": name, **details})
            row = PolicyRow(name, policy.enabled, policy.alert_from, policy.thresholds, effects.now(), actor)
            await self._rows.set_policy(row, entry)
            try:
                await self.run([name])
            except OpenNGTError as exc:  # it is set; the next round judges by it
                log.warning("health_not_checked", check=name, code=exc.code, reason=exc.message)

    async def _run_one(self, name: str, facts: Facts) -> None:
        check, policy = self.checks[name], self.policy(name)
        if policy.enabled:
            result = check.judge(facts, policy.thresholds)
            self._keep(check, result.state, result, facts.now)
        else:
            row = self._rows.policies[name]
            result = CheckResult("PASS", f"turned off by {row.actor} at {row.updated:%Y-%m-%d %H:%M} UTC")
            self._keep(check, "OFF", result, facts.now)
        await self._record(name, result, policy, facts.now)
        self._metrics.alerts(self._rows)

    async def _record(self, name: str, result: CheckResult, policy: Policy, now: datetime.datetime) -> None:
        """On a full disk the result is still shown; the next round writes what differs then."""
        day = (name, now.date())
        changes = changes_of(name, findings_of(result.items), policy, self._rows.spans, self._rows.alerts, now)
        if policy.enabled and day not in self._ran:
            changes = dataclasses.replace(changes, ran=frozenset({name}))
        try:
            await self._rows.apply(changes, now)
        except OpenNGTError as exc:
            log.warning("health_not_recorded", check=name, code=exc.code, reason=exc.message)
            return
        if changes.ran:
            self._ran = {one for one in self._ran if one[1] == now.date()} | {day}
        for alert in changes.alerts:
            log.info("alert", check=name, state=alert.state, severity=alert.severity, reason=alert.message)

    async def _forget(self, now: datetime.datetime) -> None:
        if self._forgot is not None and time.monotonic() - self._forgot < FORGET_SECONDS:
            return
        try:
            await self._rows.forget_before(now - self._history, now)
        except OpenNGTError as exc:
            log.warning("health_not_forgotten", code=exc.code, reason=exc.message)
        else:
            self._forgot = time.monotonic()

    def _keep(self, check: Check, state: str, result: CheckResult, now: datetime.datetime) -> None:
        earlier = self._last.get(check.name)
        self._last[check.name] = {
            "name": check.name,
            "title": check.title,
            "state": state,
            "message": result.message,
            "items": list(result.items),
            "alert_code": check.alert_code,
            "resolutions": list(check.resolutions),
            "checked_at": now,
        }
        self._metrics.checked(check.name, state, result)
        if earlier is None or earlier["state"] != state:
            log.info("health_changed", check=check.name, state=state, reason=result.message, found=len(result.items))


class Metrics:
    """Prometheus' view: the state of each check, how many VMs are concerned, and the open alerts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(f"openngt_health_{name}", what, labels, registry=registry)

        self._state = gauge("check", "0 PASS, 1 INFO, 2 WARN, 3 FAIL; -1 turned off.", "check")
        self._items = gauge("items", "VMs and parts of the service in that state.", "check", "state")
        self._alerts = gauge("alerts", "Alerts that are not resolved.", "severity", "state")
        self._at = gauge("last_round_seconds", "When all checks were last run, Unix time.")
        self._took = gauge("round_duration_seconds", "How long that took.")

    def checked(self, name: str, state: str, result: CheckResult) -> None:
        self._state.labels(name).set(OFF if state == "OFF" else SEVERITY.index(result.state))
        for severity in SEVERITY[1:]:
            self._items.labels(name, severity).set(sum(item["state"] == severity for item in result.items))

    def alerts(self, rows: HealthRows) -> None:
        for severity in SEVERITY[1:]:
            for state in ("raised", "acknowledged"):
                found = (one for one in rows.alerts.values() if (one.severity, one.state) == (severity, state))
                self._alerts.labels(severity, state).set(sum(1 for _ in found))

    def round_ended(self, at: datetime.datetime, seconds: float) -> None:
        self._at.set(at.timestamp())
        self._took.set(seconds)
