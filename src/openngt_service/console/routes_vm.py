# SPDX-License-Identifier: GPL-3.0-or-later
"""One VM: all that is known of it on one page, and what can be done with it."""

import re
from collections.abc import Awaitable
from typing import TypeVar

from starlette.responses import Response
from starlette.routing import BaseRoute

from openngt.errors import OpenNGTError

from ..api.models import TEXT
from ..tasks.refresh_plan import Ask
from .guard import Visit, action, page
from .rendering import address
from .views import cells_of, expiry_badge, facts_of, link_badge, state_badge, task_view

__all__ = ["routes"]

TASKS, ALERTS, DAYS = 10, 20, 14
LONGEST_NAME = 255
CAPABILITIES = ("vss_snapshot", "self_service_restore")
Value = TypeVar("Value")


def routes() -> list[BaseRoute]:
    return [
        page("/vms/{vm}", ("GET", "/v1/vms/{vm}"), show_vm),
        action("/vms/{vm}/enable", ("PUT", "/v1/vms/{vm}"), enable),
        action("/vms/{vm}/disable", ("DELETE", "/v1/vms/{vm}"), disable),
        action("/vms/{vm}/mount", ("POST", "/v1/vms/{vm}/mount"), mount),
        action("/vms/{vm}/eject", ("POST", "/v1/vms/{vm}/eject"), eject),
        action("/vms/{vm}/refresh", ("POST", "/v1/refresh"), refresh),
    ]


async def show_vm(visit: Visit) -> Response:
    """A VM that is not enrolled has a page too: what the hypervisor says, and a way to enable it."""
    reference = reference_of(visit)
    vm, refused = await attempt(visit.operations.vm(reference))
    if vm is None:
        assert refused is not None, "one of the two is there"
        return await show_stranger(visit, reference, refused)
    uuid = vm["vm_uuid"]
    diagnosis, not_diagnosed = await attempt(visit.operations.diagnosis(uuid))
    tasks = await visit.operations.tasks(uuid, limit=TASKS)
    alerts = await visit.health.alerts(states=("raised", "acknowledged"), reference=uuid, limit=ALERTS)
    history = await visit.health.history([], [uuid], days=DAYS, limit=1)
    return visit.render(
        "vm.html",
        vm=vm,
        link=link_badge(vm),
        expiry=expiry_badge(vm["certificate"]),
        facts=facts_of(vm["vm_info"]),
        diagnosis=diagnosis,
        not_diagnosed=not_diagnosed,
        checks=[(check, state_badge(check["state"])) for check in (diagnosis or {"checks": []})["checks"]],
        tasks=[task_view(task, {uuid: vm["vm_name"]}) for task in tasks["items"]],
        alerts=[(alert, state_badge(alert["severity"])) for alert in alerts["items"]],
        cells=cells_of(history["days"], history["items"][0]["days"]) if history["items"] else (),
    )


async def show_stranger(visit: Visit, reference: str, refused: OpenNGTError) -> Response:
    if refused.code != "NOT_ENROLLED":
        raise refused
    found = await visit.operations.hypervisor_vms(reference)
    if len(found) != 1:
        raise refused
    vm = found[0]
    return visit.render("stranger.html", vm=vm, was_enrolled=bool(visit.operations.names([vm["vm_uuid"]])))


async def enable(visit: Visit) -> Response:
    """Enrol, or bring the capabilities up to date: what is not ticked is off."""
    wanted = {name: visit.form.ticked(name) for name in CAPABILITIES}
    vm, created = await visit.operations.enable(reference_of(visit), wanted, actor=visit.actor)
    notice = "Guest tools are enabled." if created else "The capabilities are set."
    return visit.go(address("vms", vm["vm_uuid"]), notice)


async def disable(visit: Visit) -> Response:
    done = await visit.operations.disable(reference_of(visit), actor=visit.actor)
    notice = f"Guest tools are disabled, certificates revoked: {len(done['revoked'])}."
    return visit.go(address("vms", done["vm_uuid"]), notice)


async def mount(visit: Visit) -> Response:
    task = await visit.operations.mount(
        reference_of(visit),
        holder=visit.holder,
        config_only=visit.form.ticked("config_only"),
        actor=visit.actor,
        key=visit.key,
    )
    return visit.go(address("tasks", task["task_id"]))


async def eject(visit: Visit) -> Response:
    task = await visit.operations.eject(
        reference_of(visit),
        holder=visit.holder,
        force=visit.form.ticked("force"),
        actor=visit.actor,
        key=visit.key,
    )
    return visit.go(address("tasks", task["task_id"]))


async def refresh(visit: Visit) -> Response:
    task = await visit.operations.refresh(Ask(vm=(reference_of(visit),)), actor=visit.actor, key=visit.key)
    return visit.go(address("tasks", task["task_id"]))


def reference_of(visit: Visit) -> str:
    """The UUID or name in the address. INVALID_INPUT as the API has it."""
    reference: str = visit.request.path_params["vm"]
    if len(reference) > LONGEST_NAME or not re.match(TEXT, reference):
        raise OpenNGTError("INVALID_INPUT", "vm: give the UUID or name of a VM", {"field": "vm"})
    return reference


async def attempt(work: Awaitable[Value]) -> tuple[Value | None, OpenNGTError | None]:
    """For a part of a page that must not take the rest of it down."""
    try:
        return await work, None
    except OpenNGTError as exc:
        return None, exc
