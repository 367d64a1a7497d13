# SPDX-License-Identifier: GPL-3.0-or-later
"""Customization of VMs at their first boot: judge it, give it to a VM, see what became of it, take it back."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from ..tasks.operations import task_record
from . import models, models_customization
from .access import GuardedRoute
from .context import Context
from .ids import ID
from .routes_vms import IdempotencyKey, Limit

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)

PathVm = Annotated[models.VmReference, Path()]
PageToken = Annotated[str | None, Query(max_length=64, pattern=ID)]
SETTINGS = {"power_on", "wait_seconds"}


def spec_of(body: models_customization.CustomizationSpec) -> dict[str, Any]:
    return body.model_dump(exclude_none=True, exclude=SETTINGS)


@router.post(
    "/v1/customizations/validate", response_model=models_customization.CustomizationVerdict, tags=["Customization"]
)
async def validate_customization(
    context: Context, body: models_customization.CustomizationRequest, idempotency_key: IdempotencyKey = None
) -> Any:
    """What is wrong with it, and what would be written, secrets masked; for no VM in particular."""
    return await context.operations.customizations.validate(spec_of(body))


@router.post(
    "/v1/customizations/{vm}/plan", response_model=models_customization.CustomizationPlan, tags=["Customization"]
)
async def plan_customization(
    context: Context,
    vm: PathVm,
    body: models_customization.CustomizationRequest,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """What would be done with the VM, and what it would be refused for. Changes nothing."""
    return await context.operations.customizations.plan(vm, spec_of(body), power_on=body.power_on)


@router.put("/v1/customizations/{vm}", response_model=models.Task, status_code=202, tags=["Customization"])
async def customize(
    context: Context, request: Request, vm: PathVm, body: models_customization.CustomizationRequest
) -> Any:
    """Put the VM's customization disc into an empty CD-ROM drive, for its next boot. What the VM has already stays.

    The task's result is `{"changed", "state", "instance_id", "digest", "drive"}`, once the disc is there.
    """
    record = await context.operations.customizations.apply(
        vm, spec_of(body), power_on=body.power_on, wait_seconds=body.wait_seconds, actor=request.state.actor
    )
    return task_record(record)


@router.get("/v1/customizations", response_model=models_customization.CustomizationList, tags=["Customization"])
async def list_customizations(context: Context, limit: Limit = 500, page_token: PageToken = None) -> Any:
    """A page at a time, in the order of the VMs' UUIDs."""
    return context.operations.customizations.list(limit=limit, page_token=page_token)


@router.get("/v1/customizations/{vm}", response_model=models_customization.Customization, tags=["Customization"])
async def show_customization(context: Context, vm: PathVm) -> Any:
    """How far the VM is with it; an end is told once its drive is empty and the disc's file deleted."""
    return await context.operations.customizations.show(vm)


@router.delete("/v1/customizations/{vm}", response_model=models.Task, status_code=202, tags=["Customization"])
async def withdraw_customization(
    context: Context, request: Request, vm: PathVm, idempotency_key: IdempotencyKey = None
) -> Any:
    """Take its disc out, delete it and forget the customization. The task's result is `{"withdrawn": bool}`."""
    record = await context.operations.customizations.withdraw(
        vm, actor=request.state.actor, key=request.state.request_key
    )
    return task_record(record)
