# SPDX-License-Identifier: GPL-3.0-or-later
"""What the routes work with, handed to them once when the application is built."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from openngt.pki.issue_log import IssueLog

from ..health.runner import HealthRunner
from ..store.audit import AuditLog
from ..store.task_rows import RequestKey
from ..store.tokens import Tokens

__all__ = ["ApiContext", "Context", "Operations"]

Json = dict[str, Any]


class Operations(Protocol):
    """The work behind the calls. Answers are in the form of ARCHITECTURE.md section 6, times as aware datetimes."""

    async def hypervisor_vms(self, reference: str | None = None) -> list[Json]: ...

    async def vms(self, references: Sequence[str], *, limit: int, page_token: str | None) -> Json: ...

    async def vm(self, reference: str) -> Json: ...

    async def enable(self, reference: str, capabilities: Mapping[str, bool], *, actor: str) -> tuple[Json, bool]:
        """The VM record, and whether the VM is newly enrolled."""
        ...

    async def disable(self, reference: str, *, actor: str) -> Json: ...

    async def mount(
        self,
        reference: str,
        *,
        holder: str,
        lease_seconds: int | None,
        config_only: bool,
        holder_is_dead: str | None,
        actor: str,
        key: RequestKey | None,
    ) -> Json: ...

    async def eject(self, reference: str, *, holder: str, force: bool, actor: str, key: RequestKey | None) -> Json: ...

    async def task(self, task_id: str, *, wait: float = 0.0) -> Json: ...

    async def tasks(self, reference: str | None, *, limit: int, page_token: str | None) -> Json: ...

    async def issue_batch(self, items: Sequence[Mapping[str, Any]], *, actor: str) -> list[Json]: ...

    async def adopt(self, issue_log: IssueLog, *, actor: str) -> Json: ...


@dataclass(frozen=True)
class ApiContext:
    operations: Operations
    tokens: Tokens
    audit: AuditLog
    health: HealthRunner
    ca: Callable[[], Json]
    ready: Callable[[], Mapping[str, bool]]
    """Part -> whether it works; must not wait for anything."""
    metrics: CollectorRegistry
    metrics_public: bool = False
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the service ends: whoever waits in a call answers at once."""


def context_of(request: Request) -> ApiContext:
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(context_of)]
