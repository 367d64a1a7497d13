# SPDX-License-Identifier: GPL-3.0-or-later
"""An upgrade of one VM's agent or of a fleet's: who is meant, to which version, and what became of each."""

import random
import uuid
from typing import Any

from openngt import effects
from openngt.version import __version__

from ..store.task_rows import RequestKey, TaskRecord
from .candidates import Candidates
from .engine import Progress
from .fleets import FleetKind, FleetRow, Fleets, until_back
from .links import Links
from .packages import Packages
from .parts import Parts
from .upgrade import UpgradeRequest, upgrade
from .upgrade_plan import Planned, UpgradeAsk, check_ask, plan_upgrade, row_of

__all__ = ["Upgrades"]

Json = dict[str, Any]


class Upgrades:
    def __init__(self, parts: Parts, links: Links, fleets: Fleets) -> None:
        self._parts = parts
        self._links = links
        self._candidates = Candidates(parts, links)
        self._packages = Packages(parts.settings.state_dir / "agents")
        self._fleets = fleets
        self._kind = FleetKind(
            "fleet_upgrade",
            "upgrade",
            done="upgraded",
            rows="openngt upgrade show",
            perform=self._perform,
            before_again=until_back(links),
        )
        fleets.add(self._kind)
        self._random = random.Random()  # noqa: S311  spreads load, no secret

    async def plan(self, ask: UpgradeAsk) -> list[Json]:
        """What `submit` would do, a row for each VM that was named or is enrolled; changes nothing.

        INVALID_INPUT, NOT_FOUND and VERSION_UNSUPPORTED for the version; VM_NOT_FOUND or VM_AMBIGUOUS with every such
        name in `details.problems`.
        """
        version, planned = await self._decide(ask)
        return [row_of(row, version, self._reboot_required(row.candidate.vm_uuid)) for row in planned]

    async def submit(self, ask: UpgradeAsk, *, actor: str, key: RequestKey | None = None) -> TaskRecord:
        """The fleet's task. It fails when a VM was not upgraded; after too many failures the others are not begun."""
        version, planned = await self._decide(ask)
        chosen = [row for row in planned if row.upgrade]
        self._random.shuffle(chosen)  # so that one host of the hypervisor does not get all at once
        request = {
            "version": version,
            "allow_downgrade": ask.allow_downgrade,
            "via": ask.via,
            "max_in_flight": ask.max_in_flight,
            "batch": ask.batch,
            "max_fail_percentage": ask.max_fail_percentage,
            "rollback_seconds": ask.rollback_seconds,
            "spread_seconds": ask.spread_seconds,
            "wait_seconds": ask.wait_seconds,
            "targets": [_target(row) for row in chosen],
        }
        return await self._fleets.submit(self._kind, request, actor=actor, key=key)

    async def rows(self, task_id: str, *, limit: int = 500, page_token: str | None = None) -> Json:
        """The fleet's task and a row for each of its VMs, as they are now. NOT_FOUND for another kind of task."""
        record, rows, next_page_token = await self._fleets.look(self._kind, task_id, limit, page_token)
        return {"task": record, "items": [self._row(row) for row in rows], "next_page_token": next_page_token}

    async def _decide(self, ask: UpgradeAsk) -> tuple[str, list[Planned]]:
        check_ask(ask, own_version=__version__)
        version = (await self._packages.get(ask.version)).version
        candidates = await self._candidates.of(ask.vm, drives=ask.via != "link" and version == __version__)
        return version, plan_upgrade(candidates, ask, version, __version__, effects.now())

    def _reboot_required(self, vm_uuid: str) -> bool | None:
        required = (self._links.view(vm_uuid).row.status or {}).get("reboot_required")
        return required if isinstance(required, bool) else None

    async def _perform(self, request: Json, target: Json, actor: str, progress: Progress) -> Json:
        wanted = UpgradeRequest(
            target["vm_uuid"],
            target["id"],
            target["old_version"],
            await self._packages.get(request["version"]),
            request["allow_downgrade"],
            request["via"],
            request["rollback_seconds"],
            request["wait_seconds"],
        )
        return await upgrade(self._parts, self._links, wanted, __version__, actor, progress)

    def _row(self, row: FleetRow) -> Json:
        """Of a VM's part of the fleet; the same fields as a row of the plan (`upgrade_plan.row_of`)."""
        target, result = row.target, (row.task.result if row.task else None) or {}
        return {
            "vm_uuid": target["vm_uuid"],
            "vm_name": target["vm_name"],
            "state": row.state,
            "reason": target["reason"],
            "via": result.get("via"),
            "tasks": row.tasks(),
            "code": row.error.get("code"),
            "message": row.error.get("message"),
            "remedy": row.error.get("remedy"),
            "old_version": target["old_version"],
            "new_version": result.get("new_version"),
            "reboot_required": self._reboot_required(target["vm_uuid"]),
        }


def _target(row: Planned) -> Json:
    return {
        "id": str(uuid.uuid4()),
        "vm_uuid": row.candidate.vm_uuid,
        "vm_name": row.candidate.vm_name,
        "reason": row.reason,
        "old_version": row.candidate.agent_version,
    }
