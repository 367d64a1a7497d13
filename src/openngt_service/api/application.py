# SPDX-License-Identifier: GPL-3.0-or-later
"""The FastAPI application of port 2073."""

from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPBearer

from openngt.version import __version__

from ..console.application import create_console
from ..console.rendering import BASE
from . import (
    models,
    routes_admin,
    routes_customization,
    routes_health,
    routes_open,
    routes_power,
    routes_refresh,
    routes_rollover,
    routes_upgrade,
    routes_vms,
)
from .access import Access
from .context import ApiContext
from .errors import install_error_handlers
from .middleware import RequestFrame
from .replay import Replays

__all__ = ["create_api"]

DESCRIPTION = "Identity, tools ISO and link of every enrolled VM. Roles: viewer < operator < admin."

# For the document alone: the guard has judged the token before FastAPI looks at the request.
BEARER = HTTPBearer(auto_error=False, description="a token of `openngt token create`")
ANY_ERROR: dict[int | str, dict[str, Any]] = {
    "default": {"model": models.ErrorAnswer, "description": "Any failure; `code` says which"}
}


def create_api(context: ApiContext) -> FastAPI:
    """Pages of interactive documentation are left out: they would load scripts from elsewhere."""
    app = FastAPI(
        title="openngt guest tools service",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        responses=ANY_ERROR,
        redirect_slashes=False,
    )
    app.state.context = context
    app.state.access = Access(context.tokens, context.audit, Replays())
    app.add_middleware(RequestFrame, registry=context.metrics)
    install_error_handlers(app)
    app.include_router(routes_open.router)
    guarded_routers = (
        routes_vms.router,
        routes_power.router,
        routes_refresh.router,
        routes_upgrade.router,
        routes_customization.router,
        routes_health.router,
        routes_admin.router,
        routes_rollover.router,
    )
    for guarded in guarded_routers:
        app.include_router(guarded, dependencies=[Depends(BEARER)])
    if context.console_names:
        for path in ("/", BASE):
            app.add_route(path, to_console, include_in_schema=False)
        app.mount(BASE, create_console(context))
    return app


async def to_console(request: Request) -> RedirectResponse:
    return RedirectResponse(f"{BASE}/")
