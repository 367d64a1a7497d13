# SPDX-License-Identifier: GPL-3.0-or-later
"""A refresh of one VM or of many: whose it is, and what became of each. `fleets.py` runs it."""

import random
from typing import Any

from openngt import effects

from ..store.task_rows import RequestKey, TaskRecord
from .candidates import Candidates
from .engine import Progress
from .fleets import FleetKind, FleetRow, Fleets, until_back
from .links import Links
from .parts import Parts
from .refresh import RefreshRequest, refresh
from .refresh_plan import Ask, Lives, Planned, check_ask, plan_refresh, row_of

__all__ = ["Refreshes"]

Json = dict[str, Any]


class Refreshes:
    def __init__(self, parts: Parts, links: Links, fleets: Fleets) -> None:
        self._parts = parts
        self._links = links
        self._candidates = Candidates(parts, links)
        self._fleets = fleets
        self._kind = FleetKind(
            "fleet_refresh",
            "refresh",
            done="refreshed",
            rows="openngt refresh show",
            perform=self._perform,
            before_again=until_back(links),
        )
        fleets.add(self._kind)
        self._random = random.Random()  # noqa: S311  spreads load, no secret

    async def plan(self, ask: Ask) -> list[Json]:
        """What `submit` would do, a row for each VM that was named or is enrolled; changes nothing.

        INVALID_INPUT, and VM_NOT_FOUND or VM_AMBIGUOUS with every such name in `details.problems`.
        """
        planned, lives = await self._decide(ask)
        now = effects.now().replace(microsecond=0)
        return [row_of(row, lives.longest, now) for row in planned]

    async def submit(self, ask: Ask, *, actor: str, key: RequestKey | None = None) -> TaskRecord:
        """The fleet's task. It fails when a VM was not refreshed, after it has tried each."""
        planned, lives = await self._decide(ask)
        chosen = [row for row in planned if row.refresh]
        self._random.shuffle(chosen)  # so that one host of the hypervisor does not get all at once
        request = {
            "via": ask.via,
            "max_in_flight": ask.max_in_flight,
            "spread_seconds": ask.spread_seconds,
            "wait_seconds": ask.wait_seconds,
            "targets": [self._target(row, lives) for row in chosen],
        }
        return await self._fleets.submit(self._kind, request, actor=actor, key=key)

    async def rows(self, task_id: str, *, limit: int = 500, page_token: str | None = None) -> Json:
        """The fleet's task and a row for each of its VMs, as they are now. NOT_FOUND for another kind of task."""
        record, rows, next_page_token = await self._fleets.look(self._kind, task_id, limit, page_token)
        return {"task": record, "items": [_row(row) for row in rows], "next_page_token": next_page_token}

    async def _decide(self, ask: Ask) -> tuple[list[Planned], Lives]:
        now = effects.now()
        lives = check_ask(
            ask,
            default_days=self._parts.settings.validity_days,
            ca_ends=self._parts.store.ledger.authority.not_after,
            now=now,
            several=ask.vm is None or len(ask.vm) > 1,
        )
        return plan_refresh(await self._candidates.of(ask.vm, drives=ask.via != "link"), ask, now), lives

    def _target(self, row: Planned, lives: Lives) -> Json:
        old = row.candidate.certificate
        return {
            "vm_uuid": row.candidate.vm_uuid,
            "vm_name": row.candidate.vm_name,
            "reason": row.reason,
            "old_serial": None if old is None else old.serial_hex,
            "old_not_after": None if old is None else old.not_after.isoformat().replace("+00:00", "Z"),
            "validity_days": lives.longest - self._random.randint(0, lives.jitter),
        }

    async def _perform(self, request: Json, target: Json, actor: str, progress: Progress) -> Json:
        wanted = RefreshRequest(
            target["vm_uuid"], target["old_serial"], target["validity_days"], request["via"], request["wait_seconds"]
        )
        return await refresh(self._parts, self._links, wanted, actor, progress)


def _row(row: FleetRow) -> Json:
    """Of a VM's part of the fleet; the same fields as a row of the plan (`refresh_plan.row_of`)."""
    target, result = row.target, (row.task.result if row.task else None) or {}
    return {
        "vm_uuid": target["vm_uuid"],
        "vm_name": target["vm_name"],
        "state": row.state,
        "reason": target["reason"],
        "via": result.get("via"),
        "key": result.get("key"),
        "tasks": row.tasks(),
        "code": row.error.get("code"),
        "message": row.error.get("message"),
        "remedy": row.error.get("remedy"),
        "old_serial": target["old_serial"],
        "new_serial": result.get("new_serial"),
        "old_not_after": target["old_not_after"],
        "new_not_after": result.get("new_not_after"),
    }
