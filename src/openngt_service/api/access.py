# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may call what: one table for all calls, and the route class that holds every call to it.

The order for each request: token, role, idempotency, the body, the work. So nobody without a token gets a body parsed,
and a call that is not in the table cannot be added at all.
"""

import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from openngt.errors import OpenNGTError

from ..store.audit import AuditEntry, AuditLog
from ..store.task_rows import RequestKey, request_key
from ..store.tokens import Role, Token, Tokens
from .errors import invalid_input
from .models import UUID
from .replay import Replays

__all__ = ["OPEN_CALLS", "RULES", "Access", "GuardedRoute", "Rule"]

log = structlog.get_logger(__name__)

LONGEST_NAME = 255
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True)
class Rule:
    """The least role that may call, and the verb under which a failed attempt is audited (None: it changes nothing)."""

    role: Role
    verb: str | None = None


RULES: dict[tuple[str, str], Rule] = {
    ("GET", "/v1/hypervisor/vms"): Rule("viewer"),
    ("GET", "/v1/vms"): Rule("viewer"),
    ("GET", "/v1/vms/{vm}"): Rule("viewer"),
    ("GET", "/v1/vms/{vm}/diagnosis"): Rule("viewer"),
    ("PUT", "/v1/vms/{vm}"): Rule("operator", "vm.enable"),
    ("DELETE", "/v1/vms/{vm}"): Rule("operator", "vm.disable"),
    ("POST", "/v1/vms/{vm}/mount"): Rule("operator", "vm.mount"),
    ("POST", "/v1/vms/{vm}/eject"): Rule("operator", "vm.eject"),
    ("POST", "/v1/vms/{vm}/power"): Rule("operator", "vm.power"),
    ("POST", "/v1/power/plan"): Rule("viewer"),
    ("POST", "/v1/power"): Rule("operator", "vm.power"),
    ("GET", "/v1/power/{task_id}"): Rule("viewer"),
    ("POST", "/v1/refresh/plan"): Rule("viewer"),
    ("POST", "/v1/refresh"): Rule("operator", "certificate.refresh"),
    ("GET", "/v1/refresh/{task_id}"): Rule("viewer"),
    ("POST", "/v1/upgrade/plan"): Rule("viewer"),
    ("POST", "/v1/upgrade"): Rule("operator", "agent.upgrade"),
    ("GET", "/v1/upgrade/{task_id}"): Rule("viewer"),
    # A preview shows of the datastore's files what is no secret by its key.
    ("POST", "/v1/customizations/validate"): Rule("operator"),
    ("POST", "/v1/customizations/{vm}/plan"): Rule("operator"),
    ("PUT", "/v1/customizations/{vm}"): Rule("operator", "vm.customize"),
    ("GET", "/v1/customizations"): Rule("viewer"),
    ("GET", "/v1/customizations/{vm}"): Rule("viewer"),
    ("DELETE", "/v1/customizations/{vm}"): Rule("operator", "vm.customize.withdraw"),
    ("GET", "/v1/compatibility"): Rule("viewer"),
    ("GET", "/v1/tasks"): Rule("viewer"),
    ("GET", "/v1/tasks/{task_id}"): Rule("viewer"),
    ("POST", "/v1/tasks/{task_id}/cancel"): Rule("operator", "task.cancel"),
    ("POST", "/v1/certificates/batch"): Rule("admin", "certificate.issue"),
    ("GET", "/v1/payload"): Rule("viewer"),
    ("GET", "/v1/ca"): Rule("viewer"),
    ("POST", "/v1/ca/adopt"): Rule("admin", "ca.adopt"),
    ("GET", "/v1/ca/rollover"): Rule("viewer"),
    ("POST", "/v1/ca/rollover"): Rule("admin", "ca.rollover"),
    ("GET", "/v1/health"): Rule("viewer"),
    ("POST", "/v1/health/run"): Rule("operator"),
    ("GET", "/v1/health/report"): Rule("viewer"),
    ("GET", "/v1/health/checks"): Rule("viewer"),
    ("PUT", "/v1/health/checks/{check}"): Rule("admin", "health.policy"),
    ("GET", "/v1/health/history"): Rule("viewer"),
    ("GET", "/v1/health/alerts"): Rule("viewer"),
    ("POST", "/v1/health/alerts/{alert_id}/acknowledge"): Rule("operator", "health.acknowledge"),
    ("GET", "/v1/audit"): Rule("admin"),
    ("GET", "/v1/tokens"): Rule("admin"),
    ("POST", "/v1/tokens"): Rule("admin", "token.create"),
    ("DELETE", "/v1/tokens/{name}"): Rule("admin", "token.revoke"),
}

OPEN_CALLS = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})

# An answer that shows a new secret is kept nowhere, not even to be repeated.
NEVER_REPLAYED = frozenset({("POST", "/v1/tokens")})


@dataclass(frozen=True)
class Access:
    """What the guard needs, kept in `app.state.access`."""

    tokens: Tokens
    audit: AuditLog
    replays: Replays


def authenticate(request: Request, tokens: Tokens) -> Token:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise OpenNGTError("AUTHENTICATION_FAILED", "the request carries no bearer token")
    token = tokens.authenticate(secret.strip())
    if token is None:
        raise OpenNGTError("AUTHENTICATION_FAILED", "the token is not known here")
    return token


def authorise(token: Token, role: Role) -> None:
    if not token.allows(role):
        message = f"token {token.name} is a {token.role}, this call needs {role}"
        raise OpenNGTError("FORBIDDEN", message, {"token_name": token.name, "role": token.role, "needed": role})


async def key_of(request: Request, call: tuple[str, str], actor: str) -> RequestKey | None:
    """The request's Idempotency-Key with a digest of what it asks; None when it has none or needs none."""
    key = request.headers.get("idempotency-key")
    if key is None or request.method not in ("POST", "DELETE") or call in NEVER_REPLAYED:
        return None
    asked = {"path": request.url.path, "body": (await request.body()).decode("utf-8", "replace")}
    return request_key(actor, key, request.method, asked)


async def audit_failure(audit: AuditLog, verb: str, actor: str, request: Request, error: OpenNGTError) -> None:
    """The failed attempt's row. What succeeds is audited by whoever does it, in the same transaction."""
    reference = request.path_params.get("vm")
    vm_uuid = reference if reference is not None and re.match(UUID, reference) else None
    details = {"vm": reference[:LONGEST_NAME]} if reference is not None and vm_uuid is None else {}
    try:
        await audit.record(AuditEntry(actor, verb, vm_uuid, error.code, details))
    except OpenNGTError as exc:  # a full disk must not hide why the call failed
        log.error("audit_not_written", verb=verb, actor=actor, code=error.code, reason=exc.code)


class GuardedRoute(APIRoute):
    """A call of the API; KeyError while the application is built for one that RULES does not name."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        [method] = sorted(self.methods or {})
        call = (method, self.path_format)
        rule = RULES[call]

        async def guarded(request: Request) -> Response:
            access: Access = request.app.state.access
            token = authenticate(request, access.tokens)
            request.state.actor = token.name
            try:
                authorise(token, rule.role)
                request.state.request_key = key = await key_of(request, call, token.name)
                return await access.replays.run(key, lambda: handled(handler, request))
            except OpenNGTError as error:
                if rule.verb is not None:
                    await audit_failure(access.audit, rule.verb, token.name, request, error)
                raise

        return guarded


async def handled(handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except RequestValidationError as exc:
        raise invalid_input(exc) from None  # the original holds the values that were sent
