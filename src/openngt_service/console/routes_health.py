# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks: their states, running them, what they found, alerts, and the report to download."""

from starlette.responses import Response
from starlette.routing import BaseRoute

from openngt.errors import OpenNGTError

from ..api.routes_health import report_answer
from .guard import Visit, action, page
from .rendering import address
from .views import LEGEND, state_badge, worst_first

__all__ = ["routes"]

MOST_ITEMS = 500
ALERTS_OF_A_PAGE = 100
OPEN = ("raised", "acknowledged")
LONGEST_NOTE = 1024
ACKNOWLEDGE = ("POST", "/v1/health/alerts/{alert_id}/acknowledge")


def routes() -> list[BaseRoute]:
    return [
        page("/health", ("GET", "/v1/health"), show_health),
        page("/health/report", ("GET", "/v1/health/report"), download),
        page("/health/alerts", ("GET", "/v1/health/alerts"), show_alerts),
        page("/health/checks/{check}", ("GET", "/v1/health/checks"), show_check),
        action("/health/run", ("POST", "/v1/health/run"), run),
        action("/health/alerts/{alert_id}/acknowledge", ACKNOWLEDGE, acknowledge),
    ]


async def show_health(visit: Visit) -> Response:
    checks = [(check, state_badge(check["state"])) for check in await visit.health.last()]
    alerts = await visit.health.alerts(states=("raised",), limit=ALERTS_OF_A_PAGE)
    return visit.render(
        "health.html", checks=checks, legend=LEGEND, raised=len(alerts["items"]), more=alerts["next_page_token"]
    )


async def show_check(visit: Visit) -> Response:
    name: str = visit.request.path_params["check"]
    described = {check["name"]: check for check in visit.health.checks()}
    if name not in described:
        raise OpenNGTError("NOT_FOUND", f"there is no check {name}", {"known": list(described)})
    [last] = [check for check in await visit.health.last() if check["name"] == name]
    items = worst_first(last["items"])
    return visit.render(
        "check.html",
        check=described[name],
        last=last,
        badge=state_badge(last["state"]),
        items=[(item, state_badge(item["state"])) for item in items[:MOST_ITEMS]],
        left_out=max(0, len(items) - MOST_ITEMS),
    )


async def run(visit: Visit) -> Response:
    """One check by name, or all."""
    name = visit.form.text("check", longest=64)
    task = await visit.health.submit([name] if name else [], actor=visit.actor, key=visit.key)
    return visit.go(address("tasks", task["task_id"]))


async def download(visit: Visit) -> Response:
    params = visit.request.query_params
    report = await visit.health.report(params.get("task_id") or None)
    return report_answer(report, "json" if params.get("format") == "json" else "text")


async def show_alerts(visit: Visit) -> Response:
    params = visit.request.query_params
    everyone, page_token = "all" in params, params.get("page_token") or None
    found = await visit.health.alerts(states=() if everyone else OPEN, limit=ALERTS_OF_A_PAGE, page_token=page_token)
    more = found["next_page_token"]
    return visit.render(
        "alerts.html",
        alerts=[(one, state_badge(one["severity"]), state_badge(one["state"])) for one in found["items"]],
        everyone=everyone,
        next_page=address("health", "alerts", all="1" if everyone else None, page_token=more) if more else None,
    )


async def acknowledge(visit: Visit) -> Response:
    note = visit.form.text("note", longest=LONGEST_NOTE) or None
    alert_id: str = visit.request.path_params["alert_id"]
    await visit.health.acknowledge(alert_id, note=note, actor=visit.actor)
    return visit.go(address("health", "alerts"), "The alert is acknowledged.")
