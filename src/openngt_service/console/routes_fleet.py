# SPDX-License-Identifier: GPL-3.0-or-later
"""All VMs: the enrolled ones with the API's filters, the hypervisor's, and the grid of their certificates by day."""

from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from openngt.errors import OpenNGTError

from ..api.errors import status_of
from .fleet_query import COLUMNS, FleetQuery, counts_of, parse_query
from .guard import Visit, page
from .views import LEGEND, expiry_badge, grid_rows, link_badge

__all__ = ["routes"]

VMS_OF_A_PAGE = 100
EXPIRY_CHECK = "ngt_client_cert_expiry_check"
ALL_CHECKS = "all"
DAYS = (7, 14, 30)
URGENT_FIRST = "days_left"
NO_PAGE: dict[str, Any] = {"items": [], "next_page_token": None}


def routes() -> list[BaseRoute]:
    return [
        page("/", ("GET", "/v1/vms"), fleet),
        page("/hypervisor", ("GET", "/v1/hypervisor/vms"), hypervisor),
        page("/expiry", ("GET", "/v1/health/history"), expiry),
    ]


async def fleet(visit: Visit) -> Response:
    """A filter that cannot be leaves the form as it was, with the reason above it."""
    query, found, error = FleetQuery(), NO_PAGE, None
    try:
        query = parse_query(visit.request.query_params.multi_items())
        found = await visit.operations.vms(
            filters=query.all_filters, sort=query.sort, limit=VMS_OF_A_PAGE, page_token=query.page_token
        )
        tally = await visit.operations.tally(query.all_filters)
    except OpenNGTError as exc:
        if exc.code != "INVALID_INPUT":
            raise
        error, tally = exc, await visit.operations.tally()
    return visit.render(
        "fleet.html",
        200 if error is None else status_of(error.code),
        query=query,
        columns=COLUMNS,
        rows=[(vm, link_badge(vm), expiry_badge(vm["certificate"])) for vm in found["items"]],
        next_page=next_of(query, found),
        tally=tally,
        counts=counts_of(tally),
        error=error,
    )


async def hypervisor(visit: Visit) -> Response:
    """Those that could be enrolled; with `all` also those that are."""
    vms = await visit.operations.hypervisor_vms()
    everyone = "all" in visit.request.query_params
    wanted = visit.request.query_params.get("name", "").strip().casefold()
    shown = [vm for vm in vms if (everyone or not vm["enrolled"]) and wanted in vm["vm_name"].casefold()]
    start = whole_number(visit, "start", 0, 10**7)
    return visit.render(
        "hypervisor.html",
        vms=shown[start : start + VMS_OF_A_PAGE],
        found=len(shown),
        next_start=start + VMS_OF_A_PAGE if len(shown) > start + VMS_OF_A_PAGE else None,
        everyone=everyone,
        name=wanted,
    )


async def expiry(visit: Visit) -> Response:
    """The VMs whose certificate ends first on top; the colours are the history's, by the thresholds of the check."""
    params = visit.request.query_params
    check, days = params.get("check", EXPIRY_CHECK), whole_number(visit, "days", DAYS[0], 366) or DAYS[0]
    query = parse_query(params.multi_items(), URGENT_FIRST)
    found = await visit.operations.vms(
        filters=query.all_filters, sort=query.sort, limit=VMS_OF_A_PAGE, page_token=query.page_token
    )
    uuids = [vm["vm_uuid"] for vm in found["items"]]
    names = [] if check == ALL_CHECKS else [check]
    history = await visit.health.history(names, uuids, days=days, limit=VMS_OF_A_PAGE)
    return visit.render(
        "expiry.html",
        query=query,
        rows=grid_rows(found["items"], history) if uuids else [],
        days=history["days"],
        chosen_days=days,
        all_days=DAYS,
        check=check,
        checks=visit.health.checks(),
        next_page=next_of(query, found, "expiry", check=check, days=str(days)),
        legend=LEGEND,
    )


def next_of(query: FleetQuery, found: dict[str, Any], *place: str, **more: str) -> str | None:
    return query.at(found["next_page_token"]).href(*place, **more) if found["next_page_token"] else None


def whole_number(visit: Visit, name: str, default: int, most: int) -> int:
    """INVALID_INPUT names the field."""
    text = visit.request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) <= most):
        raise OpenNGTError("INVALID_INPUT", f"{name}: give a whole number from 0 to {most}", {"field": name})
    return int(text)
