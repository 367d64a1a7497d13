# SPDX-License-Identifier: GPL-3.0-or-later
"""Switching many VMs: what would be done, doing it, and how far it is with each."""

from typing import Any

from fastapi import APIRouter, Request

from ..tasks.fleet_power import PowerAsk
from . import models, models_power
from .access import GuardedRoute
from .context import Context
from .routes_vms import IdempotencyKey, Limit, PageToken, TaskId

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)


def ask_of(body: models_power.PowerFleetRequest) -> PowerAsk:
    return PowerAsk(**{**body.model_dump(), "vm": tuple(body.vm)})


@router.post("/v1/power/plan", response_model=models_power.PowerPlan, tags=["Power"])
async def plan_power(context: Context, body: models_power.PowerFleetRequest) -> Any:
    """What the verb would do with each VM, and what it would be refused for. Changes nothing."""
    return await context.operations.plan_power(ask_of(body))


@router.post("/v1/power", response_model=models.Task, status_code=202, tags=["Power"])
async def power_many(
    context: Context, request: Request, body: models_power.PowerFleetRequest, idempotency_key: IdempotencyKey = None
) -> Any:
    """Switch VMs of the hypervisor, `max_in_flight` at a time in their order. Its parts are a `power` task for each VM.

    Its result is `{"switched": n}`. It fails when a VM was not switched, after each was tried.
    """
    return await context.operations.power_many(ask_of(body), actor=request.state.actor, key=request.state.request_key)


@router.get("/v1/power/{task_id}", response_model=models_power.PowerProgress, tags=["Power"])
async def show_power(context: Context, task_id: TaskId, limit: Limit = 500, page_token: PageToken = None) -> Any:
    """Such a task with a row for each of its VMs, a page at a time."""
    return await context.operations.power_rows(task_id, limit=limit, page_token=page_token)
