# SPDX-License-Identifier: GPL-3.0-or-later
"""What every answer of the console carries, and what every request must bring: our own name, our own page, a token."""

import hmac
import secrets
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openngt.errors import OpenNGTError

__all__ = [
    "HEADERS",
    "LOGIN_COOKIE",
    "SESSION_COOKIE",
    "LoginForms",
    "SecurityHeaders",
    "require_host",
    "require_same_origin",
    "require_token_of_form",
]

SESSION_COOKIE = "__Host-openngt_console"
LOGIN_COOKIE = "__Host-openngt_login"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    # Not no-referrer: browsers would then send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

AGAIN = "open the page again and send its form anew"


class SecurityHeaders:
    """ASGI middleware: the headers on every answer, errors and files included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def require_host(headers: Headers, names: Collection[str]) -> None:
    """FORBIDDEN unless the browser asked for a name that the service's certificate has (DNS rebinding)."""
    name = host_of(headers.get("host", ""))
    if name not in names:
        message = "Host: the service does not answer under this name"
        raise OpenNGTError("FORBIDDEN", message, remedy="use a name of its certificate, or add this one to api_names")


def host_of(header: str) -> str:
    """`[::1]:2073` -> `::1`, `Node.example:2073` -> `node.example`."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def require_same_origin(headers: Headers) -> None:
    """FORBIDDEN unless a page of this very address sent the form. Every browser of today says where a POST is from."""
    if headers.get("origin") != f"https://{headers.get('host', '')}":
        raise OpenNGTError("FORBIDDEN", "Origin: the form was not sent by a page of this console", remedy=AGAIN)


def require_token_of_form(given: str, expected: str) -> None:
    """FORBIDDEN when the form belongs to another session, or to none."""
    if not hmac.compare_digest(given.encode(), expected.encode()):
        raise OpenNGTError("FORBIDDEN", "csrf: the form does not belong to this session", remedy=AGAIN)


class LoginForms:
    """Ties a login form to the browser that asked for it, where there is no session yet.

    The key is made anew with each start of the service, which makes open login pages invalid.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def new(self) -> tuple[str, str]:
        """A cookie's value, and the hidden field that goes with it."""
        value = secrets.token_urlsafe(32)
        return value, self._sealed(value)

    def require(self, cookie: str, field: str) -> None:
        """FORBIDDEN unless both come from one login page of this service."""
        require_token_of_form(field, self._sealed(cookie))

    def _sealed(self, value: str) -> str:
        return hmac.new(self._key, value.encode("utf-8", "surrogateescape"), "sha256").hexdigest()
