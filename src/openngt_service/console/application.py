# SPDX-License-Identifier: GPL-3.0-or-later
"""The console, an application of its own below `/console/` of port 2073: pages for people, from the API's own work."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from openngt.errors import OpenNGTError

from ..api.context import ApiContext
from ..api.errors import FRAMEWORK_CODES, status_of
from . import routes_fleet, routes_health, routes_login, routes_tasks, routes_vm
from .guard import Desk, rendered, session_of
from .logins import Logins
from .rendering import STATIC, environment
from .security import LoginForms, SecurityHeaders
from .sessions import Sessions

__all__ = ["all_routes", "create_console"]


def create_console(context: ApiContext) -> ASGIApp:
    """Answers under the names of `context.console_names` alone."""
    app = Starlette(
        routes=all_routes(),
        exception_handlers={OpenNGTError: ours, HTTPException: framework, Exception: defect},  # type: ignore[dict-item]
    )
    app.state.desk = Desk(context, Sessions(context.tokens), Logins(), LoginForms(), environment())
    # Around it all, so that the page of a defect has the headers, too.
    return SecurityHeaders(app)


def all_routes() -> list[BaseRoute]:
    return [
        *routes_login.routes(),
        *routes_fleet.routes(),
        *routes_vm.routes(),
        *routes_tasks.routes(),
        *routes_health.routes(),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


async def ours(request: Request, error: OpenNGTError) -> Response:
    return error_page(request, error, status_of(error.code))


async def framework(request: Request, error: HTTPException) -> Response:
    code = FRAMEWORK_CODES.get(error.status_code, "INVALID_INPUT")
    return error_page(
        request, OpenNGTError(code, f"{request.method} {request.url.path}: {error.detail}"), error.status_code
    )


async def defect(request: Request, error: Exception) -> Response:
    """Starlette raises the exception again after this answer, so the server's log has the traceback."""
    message = f"{request.method} {request.url.path} failed: {type(error).__name__}"
    return error_page(request, OpenNGTError("INTERNAL", message), 500)


def error_page(request: Request, error: OpenNGTError, status: int) -> Response:
    request_id = getattr(request.state, "request_id", None)
    return rendered(request, session_of(request), "error.html", status, error=error, request_id=request_id)
