# SPDX-License-Identifier: GPL-3.0-or-later
"""One CA follows another: how far it is, and the steps."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from .access import GuardedRoute
from .context import Context
from .models import Answer, Body, Time, Uuid
from .routes_vms import IdempotencyKey

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)

Step = Literal["prepare", "activate", "retire", "abort"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RolloverRequest(Body):
    step: Step
    force: bool = False
    replaces: Sha256 | None = None
    check: bool = False


class RolloverCa(Answer):
    ca_sha256: str
    not_before: Time
    not_after: Time


class RolloverAdvice(Answer):
    step: Step
    state: Literal["INFO", "WARN"]
    message: str


class VmBehind(Answer):
    vm_uuid: Uuid
    vm_name: str
    linked: bool
    message: str
    remedy: str


class RolloverStatus(Answer):
    phase: Literal["none", "prepared", "activated"]
    since: Time | None
    signing: RolloverCa
    next: RolloverCa | None
    old: RolloverCa | None
    advice: RolloverAdvice | None
    vms_behind: list[VmBehind]


class RolloverOutcome(RolloverStatus):
    changed: bool
    reason: str


@router.get("/v1/ca/rollover", response_model=RolloverStatus, tags=["Certificates"])
async def show_rollover(context: Context) -> Any:
    """How far one CA has followed another, and which VMs the next step waits for."""
    return context.rollover.status()


@router.post("/v1/ca/rollover", response_model=RolloverOutcome, tags=["Certificates"])
async def roll_over(
    context: Context, request: Request, body: RolloverRequest, idempotency_key: IdempotencyKey = None
) -> Any:
    """Do a step. One that is done already changes nothing; one that agents are not ready for is refused, naming them.

    `replaces` names the CA that `prepare` shall let another follow; without it, one that has half of its life before it
    is left alone unless `force`. `check` says what would be done.
    """
    return await context.rollover.step(
        body.step, actor=request.state.actor, force=body.force, replaces=body.replaces, check=body.check
    )
