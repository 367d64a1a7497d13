# SPDX-License-Identifier: GPL-3.0-or-later
"""Logging in with a token of the API, and out again."""

import re

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from openngt.errors import OpenNGTError

from ..api.errors import status_of
from ..store.audit import AuditEntry
from ..store.tokens import Token
from .forms import read_form
from .guard import desk_of, rendered, session_of, show
from .rendering import address
from .security import LOGIN_COOKIE, SESSION_COOKIE, require_token_of_form

__all__ = ["routes"]

log = structlog.get_logger(__name__)

LONGEST_TOKEN = 256
PAGE = re.compile(r"/console/[A-Za-z0-9_./-]*(\?[A-Za-z0-9_.~%&=+*-]*)?\Z")
"""Where somebody may be sent after the login: pages of our own."""


def routes() -> list[BaseRoute]:
    return [show("/login", login_page), show("/login", log_in, "POST"), show("/logout", log_out, "POST")]


async def login_page(request: Request) -> Response:
    return login_form(request, request.query_params.get("next", ""))


async def log_in(request: Request) -> Response:
    """A new session in any case, whatever the browser brought along."""
    desk, form = desk_of(request), await read_form(request)
    wanted = form.text("next", longest=2048)
    try:
        desk.logins.attempt(request.client.host if request.client else "::")
        desk.login_forms.require(request.cookies.get(LOGIN_COOKIE, ""), form.text("csrf"))
        token = desk.context.tokens.authenticate(form.text("token", longest=LONGEST_TOKEN))
        if token is None:
            raise OpenNGTError("AUTHENTICATION_FAILED", "the token is not known here", remedy="give a valid token")
    except OpenNGTError as error:
        return login_form(request, wanted, error)
    before = request.cookies.get(SESSION_COOKIE)
    if before is not None:
        desk.sessions.end(before)
    await record(request, token, "console.login")
    answer = RedirectResponse(page_or_fleet(wanted), 303)
    set_cookie(answer, SESSION_COOKIE, desk.sessions.begin(token))
    delete_cookie(answer, LOGIN_COOKIE)
    return answer


async def log_out(request: Request) -> Response:
    session, desk, form = session_of(request), desk_of(request), await read_form(request)
    if session is not None:
        require_token_of_form(form.text("csrf"), session.csrf)
        desk.sessions.end(request.cookies[SESSION_COOKIE])
        await record(request, session.token, "console.logout")
    answer = RedirectResponse(address("login"), 303)
    delete_cookie(answer, SESSION_COOKIE)
    return answer


def login_form(request: Request, wanted: str, error: OpenNGTError | None = None) -> Response:
    cookie, sealed = desk_of(request).login_forms.new()
    status = 200 if error is None else status_of(error.code)
    model = {"error": error, "sealed": sealed, "next": page_or_fleet(wanted)}
    answer = rendered(request, None, "login.html", status, **model)
    set_cookie(answer, LOGIN_COOKIE, cookie)
    return answer


def page_or_fleet(wanted: str) -> str:
    return wanted if PAGE.match(wanted) else address()


def set_cookie(answer: Response, name: str, value: str) -> None:
    """`__Host-`: from this host alone, over TLS, for no other path. It ends with the browser, or before it."""
    answer.set_cookie(name, value, path="/", secure=True, httponly=True, samesite="strict")


def delete_cookie(answer: Response, name: str) -> None:
    answer.delete_cookie(name, path="/", secure=True, httponly=True, samesite="strict")


async def record(request: Request, token: Token, verb: str) -> None:
    details = {"address": request.client.host if request.client else None}
    try:
        await desk_of(request).context.audit.record(AuditEntry(token.name, verb, details=details))
    except OpenNGTError as exc:  # a full disk is what somebody may want to look at
        log.error("audit_not_written", verb=verb, actor=token.name, code=exc.code)
