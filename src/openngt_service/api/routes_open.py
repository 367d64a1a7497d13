# SPDX-License-Identifier: GPL-3.0-or-later
"""What load balancers, supervisors and Prometheus ask without a token."""

import ipaddress
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from openngt.errors import OpenNGTError

from . import models
from .access import authenticate, authorise
from .context import Context

__all__ = ["router"]

router = APIRouter()


@router.get("/healthz", tags=["Open"])
async def healthz() -> dict[str, str]:
    """The process is up and its loop turns."""
    return {"status": "ok"}


@router.get("/readyz", response_model=models.Readiness, tags=["Open"], responses={503: {"model": models.Readiness}})
async def readyz(context: Context, response: Response) -> Any:
    """Whether work can be done: the database, the gateway, the CA and the hypervisor, each by name."""
    parts = await context.ready()
    ready = all(parts.values()) and not context.stopping.is_set()
    response.status_code = 200 if ready else 503
    return {"ready": ready, "parts": {name: "ok" if works else "failed" for name, works in parts.items()}}


def is_loopback(request: Request) -> bool:
    return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback


@router.get("/metrics", tags=["Open"], response_class=Response)
async def metrics(context: Context, request: Request) -> Response:
    """Prometheus text. With a viewer's token each VM by name, too; without one numbers alone, and those for callers on
    this host only unless `metrics_public` is set.
    """
    text = generate_latest(context.metrics)
    if "authorization" in request.headers:
        authorise(authenticate(request, context.tokens), "viewer")
        text += await context.vm_metrics()
    elif not (context.metrics_public or is_loopback(request)):
        remedy = "give a viewer's token, or set metrics_public"
        raise OpenNGTError("FORBIDDEN", "without a token metrics are served on loopback only", remedy=remedy)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
