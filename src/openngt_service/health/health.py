# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API can ask of health, in one place. Answers are those of ARCHITECTURE.md section 6."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from openngt import effects
from openngt.errors import OpenNGTError

from ..store.audit import AuditEntry
from ..store.health_rows import Alert, HealthRows
from ..store.registry import Registry
from ..store.task_rows import RequestKey
from ..tasks.engine import Progress, TaskEngine
from ..tasks.listing import next_page, order_of, parse_listing
from ..tasks.operations import task_record
from .catalogue import Check
from .history import days_until, grid
from .policy import AlertFrom, Policy
from .report import make_report, summary_of
from .runner import HealthRunner

__all__ = ["Health"]

Json = dict[str, Any]


class Health:
    """`node` names this service in reports. `actor` is the name of the token that asks."""

    def __init__(
        self,
        runner: HealthRunner,
        rows: HealthRows,
        registry: Registry,
        engine: TaskEngine,
        *,
        node: str,
        cluster_uuid: str,
        interval_seconds: float,
    ) -> None:
        self.runner = runner
        self._rows = rows
        self._registry = registry
        self._engine = engine
        self._node = node
        self._cluster_uuid = cluster_uuid
        self._interval_seconds = interval_seconds

    async def last(self) -> list[Json]:
        """The last result of each check."""
        return await self.runner.last()

    async def submit(self, names: Sequence[str], *, actor: str, key: RequestKey | None = None) -> Json:
        """The task that runs the named checks, or all. INVALID_INPUT for a name that is no check."""
        wanted = self.runner.names(names)

        async def work(progress: Progress) -> Json:
            checks = await self.runner.run(wanted if names else (), progress.step)
            await self._rows.save_report(progress.task_id, self._report(checks), effects.now())
            return summary_of(checks)

        return task_record(await self._engine.submit("health", None, work, actor=actor, key=key))

    async def report(self, task_id: str | None) -> Json:
        """Of a run on demand, or of the last results. NOT_FOUND."""
        if task_id is not None:
            return await self._rows.report(task_id)
        return self._report(await self.runner.last())

    def checks(self) -> list[Json]:
        """What there is to check, and what is set."""
        return [self._described(check) for check in self.runner.checks.values()]

    async def set_policy(
        self,
        name: str,
        *,
        actor: str,
        enabled: bool | None = None,
        alert_from: AlertFrom | None = None,
        thresholds: Mapping[str, int | None] | None = None,
        check: bool = False,
    ) -> Json:
        """The check as it is set now; with `check` as it would be. NOT_FOUND, INVALID_INPUT."""
        policy = self.runner.plan_policy(name, enabled=enabled, alert_from=alert_from, thresholds=thresholds)
        if not check:
            await self.runner.set_policy(name, policy, actor=actor)
        return self._described(self.runner.checks[name], policy)

    async def history(
        self,
        names: Sequence[str],
        references: Sequence[str],
        *,
        days: int,
        limit: int,
        page_token: str | None = None,
    ) -> Json:
        """A row for each VM, by name, and in it a cell for each day: the worst of the named checks, or of all."""
        wanted = self.runner.names(names)
        listing = parse_listing(references)
        order = order_of(listing, self._registry.all(), _unseen, effects.now())
        keys, next_page_token = next_page(listing, order, limit, page_token)
        shown = days_until(effects.now().astimezone(datetime.UTC).date(), days)
        vms = [vm for *_, vm_uuid in keys if (vm := self._registry.get(vm_uuid)) is not None]
        since = datetime.datetime.combine(shown[0], datetime.time(), datetime.UTC)
        spans, ran = await self._rows.history(wanted, [vm.vm_uuid for vm in vms], since)
        return {
            "checks": wanted,
            "days": [day.isoformat() for day in shown],
            "items": grid(vms, shown, spans, ran),
            "next_page_token": next_page_token,
        }

    async def alerts(
        self,
        *,
        states: Sequence[str] = (),
        names: Sequence[str] = (),
        reference: str | None = None,
        limit: int = 500,
        page_token: str | None = None,
    ) -> Json:
        """Newest first; INVALID_INPUT for a name that is no check."""
        where: dict[str, str | Sequence[str]] = {}
        if states:
            where["state"] = states
        if names:
            where["check_name"] = self.runner.names(names)
        if reference is not None:
            known = self._registry.known(reference.lower())
            where["vm_uuid"] = (known or self._registry.find(reference)).vm_uuid
        page = await self._rows.alert_page(where, limit=limit, page_token=page_token)
        return {"items": [self._shown(alert) for alert in page.items], "next_page_token": page.next_page_token}

    async def acknowledge(self, alert_id: str, *, note: str | None, actor: str) -> Json:
        """Somebody has seen it; a second time changes who and the note. NOT_FOUND; INVALID_INPUT for a resolved one."""
        alert = await self._rows.alert(alert_id)
        if alert.state == "resolved":
            raise OpenNGTError("INVALID_INPUT", f"alert_id: alert {alert_id} is resolved already")
        if (alert.state, alert.acknowledged_by, alert.note) != ("acknowledged", actor, note):
            now = effects.now()
            alert = dataclasses.replace(
                alert, state="acknowledged", acknowledged_at=now, acknowledged_by=actor, note=note, changed_at=now
            )
            details = {"alert_id": alert_id, "check": alert.check_name, "severity": alert.severity, "note": note}
            await self._rows.save_alert(alert, AuditEntry(actor, "health.acknowledge", alert.vm_uuid, details=details))
        return self._shown(alert)

    def _report(self, checks: Sequence[Mapping[str, Any]]) -> Json:
        return make_report(checks, node=self._node, cluster_uuid=self._cluster_uuid, at=effects.now())

    def _described(self, check: Check, planned: Policy | None = None) -> Json:
        policy, row = planned or self.runner.policy(check.name), self._rows.policies.get(check.name)
        return {
            "name": check.name,
            "title": check.title,
            "description": check.description,
            "causes": list(check.causes),
            "resolutions": list(check.resolutions),
            "alert_code": check.alert_code,
            "enabled": policy.enabled,
            "alert_from": policy.alert_from,
            "thresholds": [
                {
                    "name": threshold.name,
                    "value": policy.thresholds[threshold.name],
                    "default": threshold.default,
                    "minimum": threshold.minimum,
                    "maximum": threshold.maximum,
                    "means": threshold.means,
                }
                for threshold in check.thresholds
            ],
            "interval_seconds": self._interval_seconds,
            "updated": None if row is None else row.updated,
            "updated_by": None if row is None else row.actor,
        }

    def _shown(self, alert: Alert) -> Json:
        check = self.runner.checks.get(alert.check_name)
        values = vars(alert)
        return {
            "check": alert.check_name,
            "code": None if check is None else check.alert_code,
            **{name: value for name, value in values.items() if name != "check_name"},
            "resolutions": [] if check is None else list(check.resolutions),
        }


def _unseen(_: object) -> Any:
    raise AssertionError("the order by name needs no look at a VM")
