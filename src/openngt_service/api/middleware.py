# SPDX-License-Identifier: GPL-3.0-or-later
"""Around every request: an id in log and answer, a limit on the body, a count and a line in the log."""

import secrets
import time
from collections.abc import MutableMapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["LARGE_BODY_PATHS", "LARGE_BODY_PREFIX", "MAX_BODY_BYTES", "MAX_LARGE_BODY_BYTES", "RequestFrame"]

MAX_BODY_BYTES = 64 * 1024
MAX_LARGE_BODY_BYTES = 32 * 1024 * 1024
LARGE_BODY_PATHS = frozenset(
    {
        "/v1/ca/adopt",
        "/v1/certificates/batch",
        "/v1/power",
        "/v1/power/plan",
        "/v1/refresh",
        "/v1/refresh/plan",
        "/v1/upgrade",
        "/v1/upgrade/plan",
    }
)

# These name a VM in their path: contents of scripts and files come in the body.
LARGE_BODY_PREFIX = "/v1/customizations/"

log = structlog.get_logger(__name__)


class RequestFrame:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "openngt_api_requests", "Answered calls.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "openngt_api_request_seconds", "Time to the end of the answer.", ("route",), registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        status, start = 500, time.monotonic()

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["Cache-Control"] = "no-store"
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, limited(scope, receive), numbered)
            finally:
                self._finish(scope, state, status, time.monotonic() - start)

    def _finish(self, scope: Scope, state: MutableMapping[str, Any], status: int, seconds: float) -> None:
        # The route's pattern, not the path: a label for each VM would grow without end.
        route = getattr(scope.get("route"), "path_format", "other")
        method = scope["method"] if scope["method"] in ("GET", "PUT", "POST", "DELETE") else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        quiet = scope["path"] in ("/healthz", "/readyz", "/metrics")
        (log.debug if quiet else log.info)(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            actor=state.get("actor"),
            milliseconds=round(seconds * 1000, 1),
        )


def limited(scope: Scope, receive: Receive) -> Receive:
    """`receive`, ending with 413 as soon as the body is announced or found to be too long."""
    is_large = scope["path"] in LARGE_BODY_PATHS or scope["path"].startswith(LARGE_BODY_PREFIX)
    limit = MAX_LARGE_BODY_BYTES if is_large else MAX_BODY_BYTES
    announced = Headers(scope=scope).get("content-length", "0")
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        if int(announced) > limit:  # the server has refused a length that is no number
            raise HTTPException(413, f"the body is longer than {limit} bytes")
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, f"the body is longer than {limit} bytes")
        return message

    return counted
