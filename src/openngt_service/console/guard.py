# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way to a page or an action of the console, and what its code is handed.

Each names the call of the API that it stands for: its role, its verb in the audit log and its refusals are that call's.
The order for each request: host, session, origin, form, role, the work.
"""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from openngt.errors import OpenNGTError

from ..api.access import RULES, audit_failure, authorise
from ..api.context import ApiContext
from ..health.health import Health
from ..store.task_rows import RequestKey
from ..tasks.operations import Operations
from .forms import Form, read_form
from .logins import Logins
from .rendering import address
from .security import SESSION_COOKIE, LoginForms, require_host, require_same_origin, require_token_of_form
from .sessions import Session, Sessions

__all__ = ["Call", "Desk", "Visit", "action", "desk_of", "page", "rendered", "session_of", "show"]

Call = tuple[str, str]
"""A key of the API's RULES."""

LIVE = "x-openngt-live"
"""The header by which a page that follows a task asks for itself."""


@dataclass(frozen=True)
class Desk:
    """What the console works with, in `app.state.desk`."""

    context: ApiContext
    sessions: Sessions
    logins: Logins
    login_forms: LoginForms
    templates: jinja2.Environment


@dataclass(frozen=True)
class Visit:
    """One request of somebody who is logged in and may do what it asks for."""

    request: Request
    desk: Desk
    session: Session
    form: Form

    @property
    def actor(self) -> str:
        return self.session.token.name

    @property
    def holder(self) -> str:
        """In whose name a disc is mounted from here."""
        return f"{self.actor} (console)"

    @property
    def key(self) -> RequestKey | None:
        """Of the form: sent twice, it is one request."""
        return self.form.key(self.actor, self.request.url.path)

    @property
    def operations(self) -> Operations:
        return self.desk.context.operations

    @property
    def health(self) -> Health:
        return self.desk.context.health

    def render(self, template: str, status: int = 200, **model: Any) -> Response:
        return rendered(self.request, self.session, template, status, **model)

    def go(self, to: str, notice: str = "") -> Response:
        """To a page by GET, so that reloading it sends nothing again. `notice` is what it says once."""
        self.session.notice = notice
        return RedirectResponse(to, 303)


Work = Callable[[Visit], Awaitable[Response]]


def desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def session_of(request: Request) -> Session | None:
    session_id = request.cookies.get(SESSION_COOKIE)
    if session_id is None:
        return None
    return desk_of(request).sessions.get(session_id, touch=LIVE not in request.headers)


def rendered(request: Request, session: Session | None, template: str, status: int, **model: Any) -> Response:
    """A page with what all pages show: who is logged in, what may be done, and the notice of the action before."""
    notice = ""
    if session is not None:
        notice, session.notice = session.notice, ""
    text = (
        desk_of(request)
        .templates.get_template(template)
        .render(
            path=request.url.path,
            who=None if session is None else session.token,
            csrf="" if session is None else session.csrf,
            may=functools.partial(may, session),
            notice=notice,
            **model,
        )
    )
    return HTMLResponse(text, status)


def may(session: Session | None, method: str, path: str) -> bool:
    """Whether the token's role allows that call of the API: what it does not is not offered."""
    return session is not None and session.token.allows(RULES[method, path].role)


def show(path: str, work: Callable[[Request], Awaitable[Response]], method: str = "GET") -> Route:
    """A page for everybody; a POST must come from a page of ours."""

    async def shown(request: Request) -> Response:
        require_host(request.headers, desk_of(request).context.console_names)
        if method == "POST":
            require_same_origin(request.headers)
        return await work(request)

    return Route(path, shown, methods=[method], name=work.__name__)


def page(path: str, call: Call, work: Work) -> Route:
    """What a GET shows to a role that may make `call`. KeyError at once when the API has no such call."""
    rule = RULES[call]

    async def shown(request: Request) -> Response:
        session = session_of(request)
        if session is None:
            return to_login(request)
        request.state.actor = session.token.name
        authorise(session.token, rule.role)
        return await work(Visit(request, desk_of(request), session, Form({})))

    return show(path, functools.wraps(work)(shown))


def action(path: str, call: Call, work: Work) -> Route:
    """What a form does, for a role that may make `call`; a failed attempt is audited as the API does it."""
    rule = RULES[call]

    async def done(request: Request) -> Response:
        session, desk = session_of(request), desk_of(request)
        if session is None:
            return to_login(request)
        form = await read_form(request)
        require_token_of_form(form.text("csrf"), session.csrf)
        request.state.actor = session.token.name
        try:
            authorise(session.token, rule.role)
            return await work(Visit(request, desk, session, form))
        except OpenNGTError as error:
            if rule.verb is not None:
                await audit_failure(desk.context.audit, rule.verb, session.token.name, request, error)
            raise

    return show(path, functools.wraps(work)(done), "POST")


def to_login(request: Request) -> Response:
    """And back to the page that was asked for; after a form, to the fleet."""
    asked = f"{request.url.path}?{request.url.query}".rstrip("?") if request.method == "GET" else None
    return RedirectResponse(address("login", next=asked), 303)
