# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks: the list, and one of them as it goes on."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from openngt.errors import OpenNGTError

from .guard import Visit, page
from .rendering import address
from .views import TaskView, state_badge, task_view

__all__ = ["routes"]

TASKS_OF_A_PAGE = 50
ROWS_OF_A_PAGE = 200
FLEET = "fleet_refresh"
HEALTH = "health"


def routes() -> list[BaseRoute]:
    return [
        page("/tasks", ("GET", "/v1/tasks"), show_tasks),
        page("/tasks/{task_id}", ("GET", "/v1/tasks/{task_id}"), show_task),
    ]


async def show_tasks(visit: Visit) -> Response:
    params = visit.request.query_params
    vm, page_token = params.get("vm") or None, params.get("page_token") or None
    found = await visit.operations.tasks(vm, limit=TASKS_OF_A_PAGE, page_token=page_token)
    tasks = viewed(visit, found["items"])
    more = found["next_page_token"]
    return visit.render(
        "tasks.html",
        tasks=tasks,
        live=any(task.live for task in tasks),
        vm=vm,
        next_page=address("tasks", vm=vm, page_token=more) if more else None,
    )


async def show_task(visit: Visit) -> Response:
    """With its parts: of a refresh of the fleet a row for each VM, of another one the tasks that it is made of."""
    task_id: str = visit.request.path_params["task_id"]
    task = await visit.operations.task(task_id)
    rows, parts, more = [], [], None
    if task["kind"] == FLEET:
        token = visit.request.query_params.get("page_token") or None
        found = await visit.operations.refresh_rows(task_id, limit=ROWS_OF_A_PAGE, page_token=token)
        rows, more = found["items"], found["next_page_token"]
    else:
        parts = await visit.operations.parts(task_id)
    [view] = viewed(visit, [task])
    return visit.render(
        "task.html",
        view=view,
        rows=[(row, state_badge(row["state"])) for row in rows],
        parts=viewed(visit, parts),
        next_page=address("tasks", task_id, page_token=more) if more else None,
        report=await has_report(visit, task_id) if task["kind"] == HEALTH and task["result"] else False,
        checks=[(check, state_badge(check["state"])) for check in (task["result"] or {}).get("checks", ())],
    )


def viewed(visit: Visit, tasks: Sequence[Mapping[str, Any]]) -> list[TaskView]:
    names = visit.operations.names(task["vm_uuid"] for task in tasks)
    return [task_view(task, names) for task in tasks]


async def has_report(visit: Visit, task_id: str) -> bool:
    """Those of the newest runs alone are kept."""
    try:
        await visit.health.report(task_id)
    except OpenNGTError as exc:
        if exc.code != "NOT_FOUND":
            raise
        return False
    return True
