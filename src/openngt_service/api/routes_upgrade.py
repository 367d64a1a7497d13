# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrade of agents: what would be done, doing it, how far it is with each VM; and what works with what."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from openngt.version import __version__

from ..compatibility.judge import distributions, lines
from ..tasks.upgrade_plan import UpgradeAsk
from . import models, models_upgrade
from .access import GuardedRoute
from .context import Context
from .routes_vms import IdempotencyKey, Limit, PageToken

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)


def ask_of(body: models_upgrade.UpgradeRequest) -> UpgradeAsk:
    given = body.model_dump()
    return UpgradeAsk(**{**given, "vm": None if body.vm is None else tuple(body.vm)})


@router.post("/v1/upgrade/plan", response_model=models_upgrade.UpgradePlan, tags=["Upgrade"])
async def plan_upgrade(context: Context, body: models_upgrade.UpgradeRequest) -> Any:
    """Whose agent would be changed over and to which version, and what stands in the way. Changes nothing."""
    return await context.operations.plan_upgrade(ask_of(body))


@router.post("/v1/upgrade", response_model=models.Task, status_code=202, tags=["Upgrade"])
async def upgrade(
    context: Context, request: Request, body: models_upgrade.UpgradeRequest, idempotency_key: IdempotencyKey = None
) -> Any:
    """Change agents over while their guests run. The task goes on after a restart of the service.

    Its result is `{"upgraded": n}`. It fails when a VM was not upgraded; when more than `max_fail_percentage` of a
    batch failed, the VMs that are left are not begun.
    """
    return await context.operations.upgrade(ask_of(body), actor=request.state.actor, key=request.state.request_key)


@router.get("/v1/upgrade/{task_id}", response_model=models_upgrade.UpgradeProgress, tags=["Upgrade"])
async def show_upgrade(
    context: Context,
    task_id: Annotated[str, Path(max_length=64, pattern=r"^[0-9a-f-]+$")],
    limit: Limit = 500,
    page_token: PageToken = None,
) -> Any:
    """An upgrade with a row for each of its VMs, a page at a time."""
    return await context.operations.upgrade_rows(task_id, limit=limit, page_token=page_token)


@router.get("/v1/compatibility", response_model=models_upgrade.CompatibilityAnswer, tags=["Upgrade"])
async def compatibility() -> Any:
    """The tables of versions and of guests' operating systems that this service goes by."""
    versions = [vars(line) for line in lines()]
    return {"service_version": __version__, "versions": versions, "distributions": list(distributions())}
