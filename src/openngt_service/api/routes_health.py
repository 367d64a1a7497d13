# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks: their results, runs, reports, policies, history and alerts."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from ..health.report import as_text
from . import models, models_health
from .access import GuardedRoute
from .context import Context
from .ids import ID, Plain
from .routes_vms import IdempotencyKey, Limit, PageToken, QueryVm, QueryVms, VmPageToken

__all__ = ["report_answer", "router"]

router = APIRouter(route_class=GuardedRoute)

CheckNames = Annotated[list[models_health.CheckName], Query(max_length=64, description="names; none: all")]
TaskId = Annotated[str | None, Query(max_length=64, pattern=ID, description="of a run; none: the last results")]
AlertId = Annotated[str, Path(max_length=64, pattern=ID), Plain]
Days = Annotated[int, Query(ge=1, le=366)]
AlertStates = Annotated[
    list[models_health.AlertState], Query(max_length=3, description="none: those that are not resolved")
]


@router.get("/v1/health", response_model=models_health.CheckList, tags=["Health"])
async def show_health(context: Context) -> Any:
    """The last result of each check."""
    return {"checks": await context.health.last()}


@router.post("/v1/health/run", response_model=models.Task, status_code=202, tags=["Health"])
async def run_health(
    context: Context,
    request: Request,
    body: models_health.CheckRequest | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Run the named checks, or all, now. The task's result is `{"state", "counts", "checks"}`, without their items."""
    names = body.checks if body else []
    return await context.health.submit(names, actor=request.state.actor, key=request.state.request_key)


@router.get(
    "/v1/health/report",
    response_class=Response,
    tags=["Health"],
    responses={200: {"content": {"text/plain": {}, "application/json": {"schema": {"type": "object"}}}}},
)
async def download_report(
    context: Context, task_id: TaskId = None, format: Literal["text", "json"] = "text"
) -> Response:
    """All that a run has found, as a file to download. Those of the newest 20 runs are kept."""
    return report_answer(await context.health.report(task_id), format)


def report_answer(report: dict[str, Any], format: Literal["text", "json"]) -> Response:
    """The report as a file with its time in the name."""
    name = f"openngt-health-{report['finished_at'].replace(':', '')}"
    if format == "json":
        headers = {"Content-Disposition": f'attachment; filename="{name}.json"'}
        return JSONResponse(report, headers=headers)
    headers = {"Content-Disposition": f'attachment; filename="{name}.txt"'}
    return PlainTextResponse(as_text(report), headers=headers)


@router.get("/v1/health/checks", response_model=models_health.CheckDefinitions, tags=["Health"])
async def list_checks(context: Context) -> Any:
    """What there is to check: descriptions, causes, resolutions, and what is set."""
    return {"items": context.health.checks()}


@router.put("/v1/health/checks/{check}", response_model=models_health.CheckDefinition, tags=["Health"])
async def set_check(
    context: Context,
    request: Request,
    check: Annotated[models_health.CheckName, Path()],
    body: models_health.CheckPolicy,
) -> Any:
    """Turn a check on or off, set its thresholds (null: the default again) and the state from which it alerts."""
    return await context.health.set_policy(
        check,
        actor=request.state.actor,
        enabled=body.enabled,
        alert_from=body.alert_from,
        thresholds=body.thresholds,
        check=body.check,
    )


@router.get("/v1/health/history", response_model=models_health.History, tags=["Health"])
async def show_history(
    context: Context,
    check: CheckNames = [],  # noqa: B006  FastAPI copies it, as the next
    vm: QueryVms = [],  # noqa: B006
    days: Days = 7,
    limit: Limit = 500,
    page_token: VmPageToken = None,
) -> Any:
    """For each VM, by name, and each day (UTC) the worst state; null where nothing is known of that day."""
    return await context.health.history(check, vm, days=days, limit=limit, page_token=page_token)


@router.get("/v1/health/alerts", response_model=models_health.AlertList, tags=["Health"])
async def list_alerts(
    context: Context,
    state: AlertStates = [],  # noqa: B006  FastAPI copies it, as the next
    check: CheckNames = [],  # noqa: B006
    vm: QueryVm = None,
    limit: Limit = 500,
    page_token: PageToken = None,
) -> Any:
    """Newest first."""
    return await context.health.alerts(
        states=state or ("raised", "acknowledged"), names=check, reference=vm, limit=limit, page_token=page_token
    )


@router.post("/v1/health/alerts/{alert_id}/acknowledge", response_model=models_health.Alert, tags=["Health"])
async def acknowledge_alert(
    context: Context,
    request: Request,
    alert_id: AlertId,
    body: models_health.Acknowledgement | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Say that somebody knows. One that gets worse, or is raised anew, has to be acknowledged again."""
    note = body.note if body else None
    return await context.health.acknowledge(alert_id, note=note, actor=request.state.actor)
