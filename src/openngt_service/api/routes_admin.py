# SPDX-License-Identifier: GPL-3.0-or-later
"""CA, certificates, audit and tokens."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from openngt.errors import OpenNGTError
from openngt.pki.issue_log import parse_issue_log

from . import models
from .access import GuardedRoute
from .context import Context
from .routes_vms import IdempotencyKey, Limit

__all__ = ["router"]

router = APIRouter(route_class=GuardedRoute)


@router.post("/v1/certificates/batch", response_model=models.BatchAnswer, tags=["Certificates"])
async def issue_batch(
    context: Context, request: Request, body: models.BatchRequest, idempotency_key: IdempotencyKey = None
) -> Any:
    """One certificate for each item, in order; all are durable before the answer."""
    items = [item.model_dump(exclude_none=True) for item in body.items]
    return {"items": await context.operations.issue_batch(items, actor=request.state.actor)}


@router.get("/v1/ca", response_model=models.CaAnswer, tags=["Certificates"])
async def show_ca(context: Context) -> Any:
    return context.ca()


@router.get("/v1/payload", response_model=models.PayloadAnswer, tags=["Certificates"])
async def show_payload(context: Context) -> Any:
    """What the tools ISOs of this service carry, so that an installer can tell before it mounts one."""
    return context.payload()


@router.post("/v1/ca/adopt", response_model=models.AdoptAnswer, tags=["Certificates"])
async def adopt(
    context: Context, request: Request, body: models.AdoptRequest, idempotency_key: IdempotencyKey = None
) -> Any:
    """Take up certificates that this CA has signed without the service: the lines of its issue log."""
    content = "".join(f"{line}\n" for line in body.lines)
    return await context.operations.adopt(parse_issue_log(content.encode()), actor=request.state.actor)


@router.get("/v1/audit", response_model=models.AuditRows, tags=["Audit"])
async def show_audit(context: Context, after: Annotated[int, Query(ge=0, lt=2**63)] = 0, limit: Limit = 1000) -> Any:
    """Rows with a sequence above `after`, oldest first; each holds the hash of the one before."""
    head = await context.audit.head()
    rows = await context.audit.page(after=after, limit=limit)
    return {"items": [row.to_dict() for row in rows], "head": vars(head)}


@router.get("/v1/tokens", response_model=models.TokenList, tags=["Tokens"])
async def list_tokens(context: Context) -> Any:
    return {"items": [vars(token) for token in context.tokens.list()]}


@router.post("/v1/tokens", response_model=models.TokenCreated, status_code=201, tags=["Tokens"])
async def create_token(context: Context, request: Request, body: models.TokenRequest) -> Any:
    """The only time that the token is shown. A request that is repeated finds the name taken."""
    secret = await context.tokens.create(body.name, body.role, actor=request.state.actor)
    [token] = [token for token in context.tokens.list() if token.name == body.name]
    return {**vars(token), "token": secret}


@router.delete("/v1/tokens/{name}", response_model=models.TokenDeleted, tags=["Tokens"])
async def delete_token(
    context: Context,
    request: Request,
    name: Annotated[models.TokenName, Path()],
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """The next request with it is refused."""
    if not await context.tokens.revoke(name, actor=request.state.actor):
        raise OpenNGTError("NOT_FOUND", f"there is no token named {name}")
    return {"name": name}
