# SPDX-License-Identifier: GPL-3.0-or-later
"""The seams between store, gateway and tasks: each side is written and tested against these alone."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = [
    "Accepted",
    "CertificateKind",
    "GatewayEvents",
    "GatewayPort",
    "LedgerPort",
    "Refusal",
    "Refused",
    "SerialState",
    "SessionInfo",
    "Transport",
]

CertificateKind = Literal["bootstrap", "link", "external"]
SerialState = Literal["next", "current", "retired", "revoked"]
Transport = Literal["tls", "serial"]
Refusal = Literal[
    # judged by TLS
    "no_certificate",
    "untrusted_certificate",
    "expired",
    "wrong_usage",
    "protocol_version",
    "handshake_failed",
    "handshake_timeout",
    # judged by the ledger
    "unknown_serial",
    "retired",
    "revoked",
    "vm_disabled",
    # judged by the port that it came over
    "identity_mismatch",
    # judged by the gateway's limits and rules
    "address_limit",
    "connection_limit",
    "accept_rate",
    "first_frame_timeout",
    "frame_timeout",
    "frame_rate",
    "bad_frame",
    "slow_consumer",
    # neither of them could answer
    "ledger_failed",
]


@dataclass(frozen=True)
class Accepted:
    vm_uuid: str
    ngt_uuid: str
    serial: int
    generation: int
    kind: CertificateKind
    state: SerialState


@dataclass(frozen=True)
class Refused:
    reason: Refusal
    vm_uuid: str | None = None


class LedgerPort(Protocol):
    def judge(self, serial: int, now: datetime.datetime) -> Accepted | Refused:
        """May this serial connect at this moment? In memory, no I/O: it stands in every handshake's way."""
        ...

    async def promote(self, serial: int) -> Accepted:
        """First use of a `next`: durable before it returns, the VM's former `current` is retired. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class SessionInfo:
    vm_uuid: str
    ngt_uuid: str
    session: str
    serial: int
    generation: int
    kind: CertificateKind
    peer: str
    transport: Transport
    since: datetime.datetime
    agent_version: str | None = None
    boot_id: str | None = None


class GatewayEvents(Protocol):
    """What the gateway tells. Called on the event loop; must not block.

    The awaited ones come one after the other for one VM, its earlier sessions included. An OpenNGTError from
    `link_up` cuts the session.
    """

    async def link_up(self, session: SessionInfo, status: dict[str, Any]) -> dict[str, Any]:
        """After `hello`; returns the capabilities that the agent is answered with.

        `GatewayPort.call` may be used from here on, but not awaited inside: calls go out after that answer.
        """
        ...

    async def link_down(self, session: SessionInfo, reason: str) -> None:
        """Exactly once for each `link_up`, also for one that raised. `reason`: one of docs/protocol.md, or `cut`'s."""
        ...

    async def status(self, session: SessionInfo, status: dict[str, Any]) -> None: ...

    def heartbeat(self, session: SessionInfo, disc_mounted: bool | None) -> None: ...

    def clock(self, session: SessionInfo, offset_seconds: float) -> None:
        """By how much the guest's clock is ahead of this host's, the message's way included. After `link_up`."""
        ...

    def used_twice(self, older: SessionInfo, newer: SessionInfo) -> None:
        """Two machines run with one serial: both were heard after both had come."""
        ...

    def foreign(self, vm_uuid: str, certificate_vm_uuid: str, serial: int, peer: str) -> None:
        """Who came over that VM's own port has another VM's certificate: it is a copy of that VM."""
        ...

    def recorded(self, vm_uuid: str, record: Mapping[str, Any]) -> None:
        """Somebody in the guest has written a record to that VM's own port, without an agent. It proves nothing."""
        ...

    def claimed(self, vm_uuid: str, generation: int, peer: str) -> None:
        """A certificate of our CA that the ledger does not know, and that is refused, says so of itself."""
        ...

    def refused(self, reason: Refusal, peer: str, vm_uuid: str | None, serial: int | None) -> None: ...


class GatewayPort(Protocol):
    @property
    def port(self) -> int:
        """The port that is listened on; 0 when none is."""
        ...

    def session(self, vm_uuid: str) -> SessionInfo | None:
        """The live session (from `hello` on) of a VM, if there is one; None while two machines have its identity."""
        ...

    async def call(self, vm_uuid: str, method: str, params: dict[str, Any], *, timeout: float = 30.0) -> dict[str, Any]:
        """One request to the agent.

        LINK_NOT_ACTIVE without a session or when it ends first (details.outcome says whether the agent may have
        acted: `not_sent` or `unknown`); AGENT_FAILED on an error reply; AGENT_TIMED_OUT after `timeout` seconds.
        """
        ...

    def cut(self, vm_uuid: str, reason: str) -> bool:
        """Abort the VM's sessions at once; True if there was one."""
        ...
