# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate refresh: what would be done, doing it, and how far it is with each VM."""

from typing import Any

from fastapi import APIRouter, Request

from ..tasks.refresh_plan import Ask
from . import models
from .access import GuardedRoute
from .context import Context
from .routes_vms import IdempotencyKey, Limit, PageToken, TaskId

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)


def ask_of(body: models.RefreshRequest) -> Ask:
    given = body.model_dump()
    return Ask(**{**given, "vm": None if body.vm is None else tuple(body.vm)})


@router.post("/v1/refresh/plan", response_model=models.RefreshPlan, tags=["Refresh"])
async def plan_refresh(context: Context, body: models.RefreshRequest) -> Any:
    """Whose certificate would be refreshed and why, what stands in the way, and the dates. Changes nothing."""
    return await context.operations.plan_refresh(ask_of(body))


@router.post("/v1/refresh", response_model=models.Task, status_code=202, tags=["Refresh"])
async def refresh(
    context: Context, request: Request, body: models.RefreshRequest, idempotency_key: IdempotencyKey = None
) -> Any:
    """Give VMs new certificates. The task goes on after a restart of the service; its parts are a task for each VM.

    Its result is `{"refreshed": n}`. It fails when a VM was not refreshed, after each was tried.
    """
    return await context.operations.refresh(ask_of(body), actor=request.state.actor, key=request.state.request_key)


@router.get("/v1/refresh/{task_id}", response_model=models.RefreshProgress, tags=["Refresh"])
async def show_refresh(
    context: Context,
    task_id: TaskId,
    limit: Limit = 500,
    page_token: PageToken = None,
) -> Any:
    """A refresh with a row for each of its VMs, a page at a time."""
    return await context.operations.refresh_rows(task_id, limit=limit, page_token=page_token)
