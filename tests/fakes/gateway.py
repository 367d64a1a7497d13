# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway without sockets, and the agents behind it: they judge by the real ledger and tell the real listeners."""

import datetime
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from openngt.errors import OpenNGTError
from openngt.pki.inspect import inspect_certificate
from openngt_service.ports import GatewayEvents, LedgerPort, Refused, SessionInfo

__all__ = ["FakeGateway"]


@dataclass
class FakeGateway:
    """Implements `ports.GatewayPort`. `ledger` and `events` are set once both are built."""

    port: int = 2074

    ledger: LedgerPort | None = None
    events: GatewayEvents | None = None
    sessions: dict[str, SessionInfo] = field(default_factory=dict)
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    cuts: list[tuple[str, str]] = field(default_factory=list)
    failure: OpenNGTError | None = None
    """What the next calls end with."""
    obey: Callable[[str, str], None] = lambda vm_uuid, method: None
    """Called with each call that is answered: what the guest does because of it."""
    answers: Callable[[str, str, dict[str, Any]], Awaitable[dict[str, Any]]] | None = None
    """How agents answer; without it they are of the first release and do what they are told."""
    counter: "itertools.count[int]" = field(default_factory=itertools.count)

    async def connect(
        self,
        client_pem: bytes,
        boot_id: str | None = None,
        *,
        agent_version: str = "0.1.0",
        status: dict[str, Any] | None = None,
    ) -> SessionInfo | Refused:
        """An agent comes with this identity: judged, promoted, greeted."""
        assert self.ledger is not None and self.events is not None, "wired by the test"
        now = datetime.datetime.now(datetime.UTC)
        serial = int(inspect_certificate(client_pem).serial, 16)
        verdict = self.ledger.judge(serial, now)
        if isinstance(verdict, Refused):
            self.events.refused(verdict.reason, "198.51.100.7:40000", verdict.vm_uuid, serial)
            return verdict
        # Retired or revoked meanwhile: the real one ends a connection also before its session is up.
        try:
            accepted = await self.ledger.promote(serial)
        except OpenNGTError:
            verdict = self.ledger.judge(serial, now)
            if isinstance(verdict, Refused):
                return verdict
            raise
        verdict = self.ledger.judge(serial, now)
        if isinstance(verdict, Refused):
            return verdict
        session = SessionInfo(
            accepted.vm_uuid,
            accepted.ngt_uuid,
            f"{next(self.counter):016x}",
            serial,
            accepted.generation,
            accepted.kind,
            "198.51.100.7:40000",
            "tls",
            now,
            agent_version,
            boot_id,
        )
        self.sessions[accepted.vm_uuid] = session
        await self.events.link_up(session, {"guest_os_type": "linux", **(status or {})})
        return session

    def session(self, vm_uuid: str) -> SessionInfo | None:
        return self.sessions.get(vm_uuid)

    async def call(self, vm_uuid: str, method: str, params: dict[str, Any], *, timeout: float = 30.0) -> dict[str, Any]:
        if vm_uuid not in self.sessions:
            raise OpenNGTError("LINK_NOT_ACTIVE", "the agent is not connected")
        if self.answers is not None:
            self.calls.append((vm_uuid, method, params))
            return await self.answers(vm_uuid, method, params)
        if method == "identity.request":
            raise OpenNGTError("AGENT_FAILED", "the agent refused it: method not found", {"agent_code": -32601})
        self.calls.append((vm_uuid, method, params))
        if self.failure is not None:
            raise self.failure
        self.obey(vm_uuid, method)
        return {"generation": params["generation"]} if "generation" in params else {}

    def cut(self, vm_uuid: str, reason: str) -> bool:
        self.cuts.append((vm_uuid, reason))
        return self.sessions.pop(vm_uuid, None) is not None
