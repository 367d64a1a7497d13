# SPDX-License-Identifier: GPL-3.0-or-later
"""What the routes work with, handed to them once when the application is built."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from ..health.health import Health
from ..store.audit import AuditLog
from ..store.tokens import Tokens
from ..tasks.ca_rollover import CaRollover
from ..tasks.operations import Operations

__all__ = ["ApiContext", "Context"]

Json = dict[str, Any]


@dataclass(frozen=True)
class ApiContext:
    operations: Operations
    tokens: Tokens
    audit: AuditLog
    health: Health
    ca: Callable[[], Json]
    payload: Callable[[], Json]
    """What tools ISOs carry."""
    rollover: CaRollover
    ready: Callable[[], Awaitable[Mapping[str, bool]]]
    """Part -> whether it works now."""
    metrics: CollectorRegistry
    vm_metrics: Callable[[], Awaitable[bytes]]
    """Of each VM by name, in Prometheus' text."""
    metrics_public: bool = False
    console_names: frozenset[str] = frozenset()
    """Names and addresses under which the console answers; empty: there is no console."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the service ends: whoever waits in a call answers at once."""


def context_of(request: Request) -> ApiContext:
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(context_of)]
