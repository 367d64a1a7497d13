# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection: carries bytes between the loop, the TLS channel and the session, and ends when a rule says so.

The loop's side is a TCP socket's, or a VM's serial port's (serial_port.py), which behaves like one.
"""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast, get_args

from openngt.errors import OpenNGTError
from openngt.pki.identity import VmIdentity

from ..ports import Accepted, Refusal, Refused, SessionInfo, Transport
from . import jsonrpc
from .claims import claim_of
from .jsonrpc import Violation
from .limits import DeadlineWheel, Limits, address_key
from .metrics import GatewayMetrics
from .session import Event, Reply, Session, State
from .tls import TlsChannel, refusal_of

__all__ = ["REFUSALS", "Connection", "Hub", "Line"]

REFUSALS: Final = frozenset(get_args(Refusal))
# How long a peer may take to fetch our last words before the socket is torn down under it.
LINGER_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Line:
    """What a connection came over, where that says more than a socket's address."""

    transport: Transport
    peer: str
    limits: Limits
    vm_uuid: str
    """The VM whose port it is: nobody else's certificate is accepted on it."""


class Hub(Protocol):
    """What a connection asks of the gateway, and tells it."""

    @property
    def context(self) -> ssl.SSLContext: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def stopping(self) -> bool:
        """Nobody new is wanted."""
        ...

    @property
    def metrics(self) -> GatewayMetrics: ...
    @property
    def wheel(self) -> "DeadlineWheel[Connection]": ...

    def admits(self, connection: "Connection", now: float) -> Refusal | None:
        """May this socket begin a handshake?"""
        ...

    def judge(self, serial: int) -> Accepted | Refused: ...

    def authenticated(self, connection: "Connection") -> None:
        """`connection.accepted` is set; calls `welcome` or `end`, now or, after `hold`, later."""
        ...

    def welcome(self, connection: "Connection") -> dict[str, Any]:
        """Sets `connection.session_id`; returns the params of `welcome`."""
        ...

    def happened(self, connection: "Connection", event: Event) -> None:
        """Hello, heartbeat, status or goodbye."""
        ...

    def recorded(self, vm_uuid: str, record: dict[str, Any]) -> None:
        """A record that came over that VM's own port without an agent."""
        ...

    def ended(self, connection: "Connection", reason: str) -> None:
        """Once, after the last event of the connection."""
        ...

    def lost(self, connection: "Connection") -> None:
        """The socket is closed."""
        ...


class Connection(asyncio.Protocol):
    """From the accepted socket to its end. All methods are called on the event loop."""

    __slots__ = (
        "_channel",
        "_ended",
        "_hub",
        "_linger",
        "_loop",
        "_opened",
        "_send_deadline",
        "_session",
        "_transport",
        "accepted",
        "certificate_vm_uuid",
        "claim",
        "info",
        "limits",
        "line",
        "origin",
        "peer",
        "serial",
        "session_id",
        "slot",
        "vm_uuid",
    )

    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop, line: Line | None = None) -> None:
        self.line = line
        self.limits = hub.limits if line is None else line.limits
        self._hub = hub
        self._loop = loop
        self._transport: asyncio.Transport
        self._channel: TlsChannel | None = None
        self._session: Session | None = None
        self._opened = 0.0
        self._send_deadline: float | None = None
        self._linger: float | None = None
        self._ended: str | None = None
        self.slot = 0
        self.peer = self.origin = self.session_id = ""
        self.serial: int | None = None
        self.vm_uuid = None if line is None else line.vm_uuid
        self.certificate_vm_uuid: str | None = None
        """Set where it is another VM's than the port's."""
        self.claim: VmIdentity | None = None
        """What a certificate says that the ledger does not know."""
        self.accepted: Accepted | None = None
        self.info: SessionInfo | None = None

    # The loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        if self.line is not None:
            self.peer, self.origin = self.line.peer, f"serial {self.line.vm_uuid}"
        else:
            address = self._transport.get_extra_info("peername")
            if address is None:  # reset before we came to accept it
                self.end("handshake_failed")
                return
            host, port = address[:2]
            host = host.removeprefix("::ffff:")  # IPv4 on a listener for both
            self.origin = address_key(host)
            self.peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._opened = self._loop.time()
        refusal = self._hub.admits(self, self._opened)
        if refusal is not None:
            self.end(refusal)
            return
        self._transport.set_write_buffer_limits(high=self.limits.socket_buffer_bytes)
        self._channel = TlsChannel(self._hub.context)
        self._hub.wheel.schedule(self)

    def data_received(self, data: bytes) -> None:
        if self._ended is not None or self._channel is None:
            return
        try:
            if self._session is not None:
                self._read(self._session, self._channel.receive(data))
            elif self._channel.handshake(data):
                self._judge(self._channel.peer_serial())
            else:
                self._transport.write(self._channel.output())
        except Violation as exc:
            self.end(exc.reason)
        except ssl.SSLError as exc:
            self.end(refusal_of(exc) if self.accepted is None else "bad_frame")

    def eof_received(self) -> None:
        return None  # close: TLS has no half-open connections

    def connection_lost(self, exc: Exception | None) -> None:
        self.end("handshake_failed" if self.accepted is None else "connection_lost")
        self._linger = None
        self._hub.lost(self)

    def pause_writing(self) -> None:
        self._send_deadline = self._loop.time() + self.limits.send_seconds
        self._hub.wheel.schedule(self)

    def resume_writing(self) -> None:
        self._send_deadline = None
        self._flush()

    # The wheel's side.

    @property
    def deadline(self) -> float | None:
        if self._ended is not None:
            return self._linger
        limits = self.limits
        if self._session is None:
            # The ledger may take as long to write a promotion down as a handshake may.
            return self._opened + limits.handshake_seconds * (1 if self.accepted is None else 2)
        deadline = self._session.deadline
        return deadline if self._send_deadline is None else min(deadline, self._send_deadline)

    def expire(self) -> None:
        """End for the reason whose time is over, if it still is."""
        deadline, now = self.deadline, self._loop.time()
        if deadline is None or deadline > now:
            self._hub.wheel.schedule(self)
        elif self._ended is not None:
            self.abort()
        elif self._session is None:
            self.end("handshake_timeout" if self.accepted is None else "ledger_failed")
        elif self._send_deadline is not None and self._send_deadline <= now:
            self.end("slow_consumer")
        else:
            self.end(self._session.overdue())

    # The gateway's side.

    def hold(self) -> None:
        """Read nothing until `welcome`."""
        self._transport.pause_reading()

    def welcome(self) -> None:
        """The ledger agrees: open the session, and read what came with the handshake's last bytes."""
        if self._ended is not None or self._channel is None:
            return
        self._session = Session(self._hub.welcome(self), self.limits, self._loop.time())
        self._transport.resume_reading()
        self._flush()
        if self._channel.unread:
            self.data_received(b"")

    def admit(self, capabilities: dict[str, Any]) -> None:
        """Answer `hello`. No effect on a connection that has ended meanwhile."""
        if self._session is not None and self._session.state is State.GREETED:
            self._session.admit(capabilities)
            self._flush()

    def bear(self, seconds: float) -> None:
        """The agent waits for the answer to `hello` by no fault of its own: it may be silent for so much longer."""
        if self._session is not None:
            self._session.bear(seconds)

    async def call(self, method: str, params: dict[str, Any], timeout: float) -> dict[str, Any]:
        """See GatewayPort.call."""
        if self._session is None:
            raise OpenNGTError("LINK_NOT_ACTIVE", "the agent's session has ended", {"outcome": "not_sent"})
        answer: asyncio.Future[Reply] = self._loop.create_future()
        call_id = self._session.call(method, params, answer)
        self._flush()
        try:
            async with asyncio.timeout(timeout):
                reply = await answer
        except TimeoutError:
            raise OpenNGTError(
                "AGENT_TIMED_OUT", f"no answer to {method} within {timeout:g} s", {"outcome": "unknown"}
            ) from None
        finally:
            if self._session is not None:
                self._session.forget(call_id)
        return _result(method, reply, self.info)

    def end(self, reason: str, *, farewell: bool = False) -> None:
        """Cut the connection at once, or with `goodbye` when `farewell`. Idempotent; the first reason counts."""
        if self._ended is not None:
            return
        self._ended = reason
        last_words = self._last_words(reason, farewell)
        if last_words:
            self._transport.write(last_words)
            self._transport.close()
            self._linger = self._loop.time() + LINGER_SECONDS
            self._hub.wheel.schedule(self)
        else:
            self._transport.abort()
        calls = [] if self._session is None else self._session.outstanding()
        self._channel = self._session = None
        for call in calls:
            self._fail(call, reason)
        self._hub.ended(self, reason)

    def abort(self) -> None:
        """Tear the socket down, whatever is still in its buffers."""
        self._linger = None
        self._transport.abort()

    def _judge(self, serial: int) -> None:
        self.serial = serial
        verdict = self._hub.judge(serial)
        self._hub.metrics.handshake_seconds.observe(self._loop.time() - self._opened)
        if verdict.vm_uuid is None and self._channel is not None:
            self.claim = claim_of(self._channel.peer_certificate())
        named = verdict.vm_uuid or (None if self.claim is None else self.claim.vm_uuid)
        if self.line is None:
            self.vm_uuid = verdict.vm_uuid
        elif named not in (None, self.vm_uuid):
            self.certificate_vm_uuid = named
            self.end("identity_mismatch")
            return
        if isinstance(verdict, Refused):
            self.end(verdict.reason)
            return
        self.accepted = verdict
        self._hub.authenticated(self)

    def _read(self, session: Session, plaintext: bytes) -> None:
        if not plaintext:
            return
        before = session.received
        for event in session.receive(plaintext, self._loop.time()):
            if self._ended is not None:
                break
            if isinstance(event, Reply):
                self._resolve(event)
            else:
                self._hub.happened(self, event)
        self._hub.metrics.frames_received += session.received - before
        if session.hurried:
            session.hurried = False
            self._hub.wheel.schedule(self)
        self._flush()

    def _resolve(self, reply: Reply) -> None:
        assert isinstance(reply.token, asyncio.Future)
        if not reply.token.done():
            reply.token.set_result(reply)

    def _fail(self, call: object, reason: str) -> None:
        assert isinstance(call, asyncio.Future)
        if not call.done():
            details = {"outcome": "unknown", "reason": reason}
            call.set_exception(OpenNGTError("LINK_NOT_ACTIVE", "the link ended before the agent answered", details))

    def _flush(self) -> None:
        if self._ended is not None or self._session is None or self._channel is None:
            return
        if self.line is not None and self._send_deadline is not None:
            # A slow port: what is not encrypted yet can still be overtaken by the answer to a heartbeat.
            if self._session.queued > self.limits.send_queue_bytes:
                self.end("slow_consumer")
            return
        frames, plaintext = self._session.take()
        if not frames:
            return
        queued = self._transport.get_write_buffer_size() + len(plaintext)
        if queued > self.limits.send_queue_bytes:
            self.end("slow_consumer")
            return
        self._hub.metrics.frames_sent += frames
        self._transport.write(self._channel.send(plaintext))

    def _last_words(self, reason: str, farewell: bool) -> bytes:
        if self._channel is None:
            return b""
        if self._session is None and reason in REFUSALS and self.accepted is None and self.serial is None:
            return self._channel.output()  # the alert of a handshake that failed
        if farewell and self._session is not None:
            self._session.close(reason)
            return self._channel.send(self._session.take()[1]) + self._channel.close()
        return b""


def _result(method: str, reply: Reply, info: SessionInfo | None) -> dict[str, Any]:
    if reply.error is not None:
        raise _refusal(method, reply.error, info)
    if not isinstance(reply.result, dict):
        raise OpenNGTError("AGENT_FAILED", f"the agent's result of {method} is not an object", {"method": method})
    return reply.result


def _refusal(method: str, error: dict[str, Any], info: SessionInfo | None) -> OpenNGTError:
    """What the agent answered instead of a result, as somebody at the service can act on it."""
    text = str(error["message"])[:500]
    details = {"method": method, "agent_code": error["code"], "agent_message": text}
    data = error.get("data")
    if isinstance(data, dict) and isinstance(data.get("code"), str):
        details["agent_reason"] = data["code"][:100]
    if error["code"] == jsonrpc.BLOCKED:
        return OpenNGTError("METHOD_BLOCKED", f"the guest's administrator has blocked {method}", details)
    if error["code"] == jsonrpc.METHOD_NOT_FOUND:
        version = "of this version" if info is None else info.agent_version
        details["agent_version"] = version
        return OpenNGTError("AGENT_TOO_OLD", f"the agent {version} does not know {method}", details)
    return OpenNGTError("AGENT_FAILED", f"the agent refused {method}: {text}", details)
