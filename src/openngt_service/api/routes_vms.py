# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs as the hypervisor has them, enrolment, mounting, and the tasks that come of it."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response

from ..tasks.listing import DEFAULT_SORT
from . import models
from .access import GuardedRoute
from .context import Context
from .ids import ID, Plain

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)

PathVm = Annotated[models.VmReference, Path()]
QueryVm = Annotated[models.VmReference | None, Query()]
QueryVms = Annotated[list[models.VmReference], Query(max_length=1000)]
Limit = Annotated[int, Query(ge=1, le=1000)]
PageToken = Annotated[str | None, Query(max_length=64, pattern=ID)]
Filters = Annotated[
    list[Annotated[str, Query(max_length=1024)]],
    Query(max_length=32, description="FIELD=VALUE[,VALUE…]; also != < <= > >=. May repeat: all must hold"),
]
Sort = Annotated[str, Query(max_length=64, description="a field's name; - before it reverses the order")]
TaskId = Annotated[str, Path(max_length=64, pattern=ID), Plain]
VmPageToken = Annotated[str | None, Query(max_length=4096, pattern=r"^[A-Za-z0-9_-]+$")]
# Read by the guard; named here so that OpenAPI has it.
IdempotencyKey = Annotated[str | None, Header(description="Same key, same request: same answer, the work done once")]


@router.get("/v1/hypervisor/vms", response_model=models.HypervisorVmList, tags=["VMs"])
async def list_hypervisor_vms(context: Context, vm: QueryVm = None) -> Any:
    """What the adapter sees: all VMs, or those whose UUID or name is `vm` (none, one or several)."""
    return {"items": await context.operations.hypervisor_vms(vm)}


@router.get("/v1/vms", response_model=models.VmList, tags=["VMs"], responses={200: {"content": {"text/csv": {}}}})
async def list_vms(
    context: Context,
    vm: QueryVms = [],  # noqa: B006  FastAPI copies it, as the next
    filter: Filters = [],  # noqa: B006
    sort: Sort = DEFAULT_SORT,
    limit: Limit = 500,
    page_token: VmPageToken = None,
    vm_info: Annotated[bool, Query(description="false leaves the guests' own records out: half of the answer")] = True,
    format: Annotated[Literal["json", "csv"], Query(description="csv: a column for each field of filter")] = "json",
) -> Any:
    """Enrolled VMs, a page at a time, by name unless `sort` says otherwise; `vm` may repeat. There is no cap.

    As CSV the next page's token is in the header `X-Next-Page-Token`.
    """
    if format == "csv":
        text, token = await context.operations.vm_table(
            vm, filters=filter, sort=sort, limit=limit, page_token=page_token
        )
        return Response(text, media_type="text/csv", headers={"X-Next-Page-Token": token} if token else {})
    page = await context.operations.vms(vm, filters=filter, sort=sort, limit=limit, page_token=page_token)
    if not vm_info:
        page["items"] = [{**item, "vm_info": None} for item in page["items"]]
    return page


@router.get("/v1/vms/{vm}", response_model=models.Vm, tags=["VMs"])
async def show_vm(context: Context, vm: PathVm) -> Any:
    return await context.operations.vm(vm)


@router.get("/v1/vms/{vm}/diagnosis", response_model=models.Diagnosis, tags=["VMs"])
async def diagnose_vm(context: Context, vm: PathVm) -> Any:
    """Why the link is not active, by the service's own evidence; the checks that only the guest can make are named."""
    return await context.operations.diagnosis(vm)


@router.put("/v1/vms/{vm}", response_model=models.Vm, tags=["VMs"], responses={201: {"model": models.Vm}})
async def enable_vm(
    context: Context, request: Request, response: Response, vm: PathVm, body: models.CapabilitiesRequest
) -> Any:
    """Enrol the VM (201), or bring the capabilities of an enrolled one up to date (200)."""
    wanted = body.capabilities.model_dump(exclude_none=True)
    record, created = await context.operations.enable(vm, wanted, actor=request.state.actor)
    response.status_code = 201 if created else 200
    return record


@router.delete("/v1/vms/{vm}", response_model=models.DisableAnswer, tags=["VMs"])
async def disable_vm(context: Context, request: Request, vm: PathVm, idempotency_key: IdempotencyKey = None) -> Any:
    """Revoke the VM's certificates, cut its session, eject its ISO, end its enrolment."""
    return await context.operations.disable(vm, actor=request.state.actor)


@router.post("/v1/vms/{vm}/mount", response_model=models.Task, status_code=202, tags=["VMs"])
async def mount(
    context: Context,
    request: Request,
    vm: PathVm,
    body: models.MountRequest,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Issue a bootstrap certificate and put the VM's own ISO into an empty CD-ROM drive.

    The task's result is `{"drive", "generation", "serial", "ca_sha256", "expires"}`.
    """
    return await context.operations.mount(
        vm,
        holder=body.holder,
        lease_seconds=body.lease_seconds,
        config_only=body.config_only,
        holder_is_dead=body.holder_is_dead,
        actor=request.state.actor,
        key=request.state.request_key,
    )


@router.post("/v1/vms/{vm}/eject", response_model=models.Task, status_code=202, tags=["VMs"])
async def eject(
    context: Context,
    request: Request,
    vm: PathVm,
    body: models.EjectRequest,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Take the VM's ISO out and delete its file. The task's result is `{"ejected": bool}`."""
    return await context.operations.eject(
        vm, holder=body.holder, force=body.force, actor=request.state.actor, key=request.state.request_key
    )


@router.post("/v1/vms/{vm}/power", response_model=models.Task, status_code=202, tags=["VMs"])
async def power(
    context: Context,
    request: Request,
    vm: PathVm,
    body: models.PowerRequest,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Switch any VM of the hypervisor on, off or over; done when the hypervisor or the guest's next boot shows it.

    The task's result is
    `{"vm_uuid", "verb", "changed", "before", "power_state", "stopped_by", "failed_before", "boot_id"}`.
    """
    return await context.operations.power(
        vm, **body.model_dump(), actor=request.state.actor, key=request.state.request_key
    )


@router.get("/v1/tasks", response_model=models.TaskList, tags=["Tasks"])
async def list_tasks(context: Context, vm: QueryVm = None, limit: Limit = 100, page_token: PageToken = None) -> Any:
    """Newest first."""
    return await context.operations.tasks(vm, limit=limit, page_token=page_token)


@router.get("/v1/tasks/{task_id}", response_model=models.Task, tags=["Tasks"])
async def show_task(
    context: Context,
    task_id: TaskId,
    wait: Annotated[int, Query(ge=0, le=30, description="seconds to wait for the task's end")] = 0,
) -> Any:
    waiting = asyncio.ensure_future(context.operations.task(task_id, wait=wait))
    stopping = asyncio.ensure_future(context.stopping.wait())
    try:
        await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else await context.operations.task(task_id)
    finally:
        waiting.cancel()
        stopping.cancel()
