# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the checks, on schedule and on demand, and keeps each one's last result."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Gauge

from openngt.errors import OpenNGTError

from .checks import CHECKS, SEVERITY, CheckResult, Facts

__all__ = ["HealthRunner"]

log = structlog.get_logger(__name__)

Json = dict[str, Any]


class HealthRunner:
    """`gather` says what there is to look at; it may raise OpenNGTError (the hypervisor does not answer)."""

    def __init__(
        self,
        gather: Callable[[], Awaitable[Facts]],
        registry: CollectorRegistry,
        checks: Mapping[str, Callable[[Facts], CheckResult]] = CHECKS,
    ) -> None:
        self._gather = gather
        self._checks = checks
        self._last: dict[str, Json] = {}
        self._one_at_a_time = asyncio.Lock()
        self._gauge = Gauge("openngt_health_check", "0 PASS, 1 INFO, 2 WARN, 3 FAIL.", ("check",), registry=registry)

    async def run(self, names: Sequence[str] = ()) -> list[Json]:
        """Run the named checks, or all. INVALID_INPUT for a name that is no check, before anything runs."""
        unknown = sorted(set(names) - set(self._checks))
        if unknown:
            message = f"checks: there is no {', '.join(unknown)}; there are {', '.join(self._checks)}"
            raise OpenNGTError("INVALID_INPUT", message, {"unknown": unknown, "known": list(self._checks)})
        wanted = [name for name in self._checks if not names or name in names]
        async with self._one_at_a_time:
            facts = await self._gather()
            for name in wanted:
                self._keep(name, self._checks[name](facts), facts)
        return [self._last[name] for name in wanted]

    async def last(self) -> list[Json]:
        """The last result of each check; those that have never run are run now."""
        missing = [name for name in self._checks if name not in self._last]
        if missing:
            await self.run(missing)
        return [self._last[name] for name in self._checks]

    async def run_forever(self, seconds: float) -> None:
        """Until cancelled. A round that fails is logged; the next one tries again."""
        while True:
            try:
                await self.run()
            except OpenNGTError as exc:
                log.warning("health_not_checked", code=exc.code, reason=exc.message)
            await asyncio.sleep(seconds)

    def _keep(self, name: str, result: CheckResult, facts: Facts) -> None:
        earlier = self._last.get(name)
        self._last[name] = {
            "name": name,
            "state": result.state,
            "message": result.message,
            "items": list(result.items),
            "checked_at": facts.now,
        }
        self._gauge.labels(name).set(SEVERITY.index(result.state))
        if earlier is None or earlier["state"] != result.state:
            log.info("health_changed", check=name, state=result.state, reason=result.message, vms=len(result.items))
