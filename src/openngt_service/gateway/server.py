# SPDX-License-Identifier: GPL-3.0-or-later
"""The agents' port: accepts, admits, knows who is there, and ends sessions.

Runs on any asyncio loop; the service uses uvloop for its speed. TLS is ours (see tls.py), so the stock loop's 256 KiB
for each TLS connection does not arise and needs no guard here.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import errno
import secrets
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

import structlog

from openngt import effects
from openngt.errors import OpenNGTError

from ..ports import Accepted, GatewayEvents, LedgerPort, Refusal, Refused, SessionInfo
from .connection import REFUSALS, Connection
from .contests import Contests
from .limits import DeadlineWheel, Limits, LogLimiter, TokenBucket
from .metrics import GatewayMetrics
from .sequencer import Sequencer
from .session import PROTOCOL, Event, Goodbye, Heartbeat, Hello, Status

__all__ = ["Gateway", "GatewaySettings"]

BACKLOG: Final = 4096
# Events of one VM that wait for the service; more means that an agent talks faster than its VM can be written down.
PENDING_EVENTS: Final = 32


@dataclasses.dataclass(frozen=True, slots=True)
class GatewaySettings:
    cluster_uuid: str
    service_version: str
    host: str = "0.0.0.0"  # noqa: S104  agents come from everywhere; who they are is TLS's business
    """`::` listens on IPv4 as well."""
    port: int = 2074
    limits: Limits = dataclasses.field(default_factory=Limits)


class Gateway:
    """Implements GatewayPort. Every method is to be called on the loop that `start` ran on."""

    def __init__(
        self,
        settings: GatewaySettings,
        context: ssl.SSLContext,
        ledger: LedgerPort,
        events: GatewayEvents,
        metrics: GatewayMetrics,
        *,
        now: Callable[[], datetime.datetime] = effects.now,
    ) -> None:
        self.context = context
        self.limits = settings.limits
        self.metrics = metrics
        self.wheel: DeadlineWheel[Connection] = DeadlineWheel()
        self._settings = settings
        self._ledger = ledger
        self._events = events
        self._now = now
        self._log = structlog.get_logger("openngt.gateway")
        self._log_limiter = LogLimiter()
        self._sequencer = Sequencer(self._job_failed)
        self._open: set[Connection] = set()
        self._unauthenticated: dict[str, dict[Connection, None]] = {}
        self._by_vm: dict[str, list[Connection]] = {}
        self._live: dict[str, Connection] = {}
        self._contests = Contests(self._quarantine)
        self._told: set[Connection] = set()
        """Whose `link_up` was told, and whose `link_down` is not yet."""
        self._calls_in_flight = 0
        self._calls_done = asyncio.Event()
        self._all_lost = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._turner: asyncio.TimerHandle | None = None
        self._stopping = False

    # For the service.

    @property
    def port(self) -> int:
        """The port that is listened on; 0 when none is."""
        if self._server is None or not self._server.sockets:
            return 0
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def stopping(self) -> bool:
        return self._stopping

    async def start(self) -> None:
        """Listen. SERVICE_CONFLICT when the port is taken, CONFIG_INVALID when the address is not this machine's."""
        self._loop = asyncio.get_running_loop()
        self._accepts = TokenBucket(self.limits.accepts_per_second, self.limits.accepts_burst, self._loop.time())
        listener = _listen(self._settings.host, self._settings.port, self.limits.socket_buffer_bytes)
        self._server = await self._loop.create_server(
            lambda: Connection(self, self._loop), sock=listener, backlog=BACKLOG
        )
        self._turn()
        self._log.info("gateway_listening", host=self._settings.host, port=self.port)

    async def stop(self) -> None:
        """Accept no more, let calls in flight end, say goodbye to all, cut who stays. Takes at most `drain_seconds`."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        end = self._loop.time() + self.limits.drain_seconds
        if self._calls_in_flight:
            self._calls_done.clear()
            await _wait(self._calls_done, self.limits.drain_seconds / 2)
        for connection in list(self._open):
            connection.end("stopping", farewell=True)
        if self._open:
            self._all_lost.clear()
            await _wait(self._all_lost, (end - self._loop.time()) / 2)
        for connection in list(self._open):
            connection.abort()
        if not await self._sequencer.drain(max(0.5, end - self._loop.time())):
            self._log.warning("gateway_stopped_with_work_left")
        if self._turner is not None:
            self._turner.cancel()

    # GatewayPort.

    def session(self, vm_uuid: str) -> SessionInfo | None:
        connection = self._known(vm_uuid)
        return None if connection is None else connection.info

    async def call(self, vm_uuid: str, method: str, params: dict[str, Any], *, timeout: float = 30.0) -> dict[str, Any]:
        connection = self._known(vm_uuid)
        if connection is None or self._stopping:
            why = "the service is stopping" if self._stopping else "the agent is not connected"
            if self._contests.hides(vm_uuid, self._live.get(vm_uuid)):
                why = "two machines have come with this VM's identity, and which one is the VM is not known"
            self.metrics.calls.labels(method, "LINK_NOT_ACTIVE").inc()
            raise OpenNGTError("LINK_NOT_ACTIVE", why, {"vm_uuid": vm_uuid, "outcome": "not_sent"})
        outcome = "ok"
        self._calls_in_flight += 1
        try:
            return await connection.call(method, params, timeout)
        except OpenNGTError as exc:
            outcome = exc.code
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self.metrics.calls.labels(method, outcome).inc()
            self._calls_in_flight -= 1
            if not self._calls_in_flight:
                self._calls_done.set()

    def _known(self, vm_uuid: str) -> Connection | None:
        """The VM's session, where it is beyond doubt which one that is."""
        live = self._live.get(vm_uuid)
        return None if self._contests.hides(vm_uuid, live) else live

    def cut(self, vm_uuid: str, reason: str) -> bool:
        connections = list(self._by_vm.get(vm_uuid, ()))
        for connection in connections:
            connection.end(reason)
        return bool(connections)

    # Hub: what connections ask and tell.

    def admits(self, connection: Connection, now: float) -> Refusal | None:
        self._open.add(connection)
        if len(self._open) > self.limits.connections:
            return "connection_limit"
        if connection.line is None and not self._accepts.take(now):  # a VM's port has a rate of its own
            return "accept_rate"
        waiting = self._unauthenticated.setdefault(connection.origin, {})
        if len(waiting) >= self.limits.unauthenticated_per_address:
            # The oldest goes, not the newest: whoever is honest is through long before that, also behind the same NAT.
            next(iter(waiting)).end("address_limit")
            waiting = self._unauthenticated.setdefault(connection.origin, {})
        waiting[connection] = None
        return None

    def judge(self, serial: int) -> Accepted | Refused:
        return self._ledger.judge(serial, self._now())

    def authenticated(self, connection: Connection) -> None:
        self._leave_waiting_room(connection)
        accepted = connection.accepted
        assert accepted is not None, "contract of Hub.authenticated"
        self._make_room(accepted.vm_uuid)
        self._by_vm.setdefault(accepted.vm_uuid, []).append(connection)
        self.metrics.accepted.inc()
        if accepted.state == "next":
            connection.hold()
            self._sequencer.submit(accepted.vm_uuid, lambda: self._promote(connection, accepted.serial))
        else:
            connection.welcome()

    def welcome(self, connection: Connection) -> dict[str, Any]:
        accepted = connection.accepted
        assert accepted is not None, "contract of Hub.welcome"
        connection.session_id = secrets.token_hex(8)
        return {
            "protocol": PROTOCOL,
            "session": connection.session_id,
            "cluster_uuid": self._settings.cluster_uuid,
            "service_version": self._settings.service_version,
            "heartbeat_seconds": _plain(self.limits.heartbeat_seconds),
            "generation": accepted.generation,
            "kind": accepted.kind,
            "time": self._now().isoformat(timespec="seconds").replace("+00:00", "Z"),
        }

    def happened(self, connection: Connection, event: Event) -> None:
        if isinstance(event, Hello):
            self._greet(connection, event)
            return
        info = connection.info
        if isinstance(event, Goodbye) or info is None:
            connection.end("goodbye")
        elif self._contests.beat(connection, self._live.get(info.vm_uuid)):
            self.metrics.heartbeats += 1
        elif isinstance(event, Heartbeat):
            self.metrics.heartbeats += 1
            self._events.heartbeat(info, event.disc_mounted)
            if event.time is not None:
                self._events.clock(info, self._offset_of(event.time))
        elif isinstance(event, Status):
            self._keep_status(connection, info, event.status)

    def recorded(self, vm_uuid: str, record: dict[str, Any]) -> None:
        self._events.recorded(vm_uuid, record)

    def ended(self, connection: Connection, reason: str) -> None:
        self._leave_waiting_room(connection)
        vm_uuid = connection.vm_uuid
        if connection.accepted is not None and vm_uuid is not None:
            self._forget(connection, vm_uuid)
        if reason in REFUSALS:
            self._refused(connection, cast(Refusal, reason))
        elif reason == "heartbeat_timeout":
            self.metrics.heartbeat_timeouts.inc()
        self._tell_down(connection, reason)
        if vm_uuid is not None and (left := self._contests.left(connection, self._live.get(vm_uuid))) is not None:
            alone, hello = left
            if hello is not None:
                self._go_live(alone, hello)

    def _refused(self, connection: Connection, reason: Refusal) -> None:
        self.metrics.refused.labels(reason).inc()
        if connection.claim is not None:
            self._events.claimed(connection.claim.vm_uuid, connection.claim.generation, connection.peer)
        if connection.certificate_vm_uuid is not None and connection.vm_uuid is not None:
            serial = connection.serial or 0
            self._events.foreign(connection.vm_uuid, connection.certificate_vm_uuid, serial, connection.peer)
        self._events.refused(reason, connection.peer, connection.vm_uuid, connection.serial)
        self._say("connection_refused", connection, reason)

    def _tell_down(self, connection: Connection, reason: str) -> None:
        info = connection.info
        if info is not None and connection in self._told:
            self._told.discard(connection)
            self._say("link_down", connection, reason)
            self._sequencer.submit(info.vm_uuid, lambda: self._events.link_down(info, reason))

    def lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open:
            self._all_lost.set()

    # Inside.

    def _leave_waiting_room(self, connection: Connection) -> None:
        waiting = self._unauthenticated.get(connection.origin)
        if waiting is not None and waiting.pop(connection, waiting) is None and not waiting:
            del self._unauthenticated[connection.origin]

    def _make_room(self, vm_uuid: str) -> None:
        """One VM's key, in whose hands ever, holds only so many connections open."""
        connections = self._by_vm.get(vm_uuid, [])
        if len(connections) >= self.limits.sessions_per_vm:
            others = [connection for connection in connections if connection is not self._live.get(vm_uuid)]
            for connection in others[:1]:
                connection.end("superseded")

    def _forget(self, connection: Connection, vm_uuid: str) -> None:
        connections = self._by_vm[vm_uuid]
        connections.remove(connection)
        if not connections:
            del self._by_vm[vm_uuid]
        if self._live.get(vm_uuid) is connection:
            del self._live[vm_uuid]
            self.metrics.connected.dec()

    async def _promote(self, connection: Connection, serial: int) -> None:
        try:
            connection.accepted = await self._ledger.promote(serial)
        except OpenNGTError as exc:
            self._log.warning("promotion_failed", vm_uuid=connection.vm_uuid, code=exc.code, message=exc.message)
            connection.end("ledger_failed")
            return
        connection.welcome()

    def _greet(self, connection: Connection, hello: Hello) -> None:
        accepted = connection.accepted
        assert accepted is not None, "there is no session before the ledger's verdict"
        verdict = self.judge(accepted.serial)
        if isinstance(verdict, Refused):  # since its handshake; whoever has the newer identity must not be superseded
            connection.end(verdict.reason)
            return
        info = connection.info = SessionInfo(
            vm_uuid=accepted.vm_uuid,
            ngt_uuid=accepted.ngt_uuid,
            session=connection.session_id,
            serial=accepted.serial,
            generation=accepted.generation,
            kind=accepted.kind,
            peer=connection.peer,
            transport="tls" if connection.line is None else connection.line.transport,
            since=self._now(),
            agent_version=hello.agent_version,
            boot_id=hello.boot_id,
        )
        if self._contests.enter(connection, hello, self._live.get(info.vm_uuid)):
            self._say("identity_contested", connection, "hello")
        else:
            self._supersede(info)
            self._go_live(connection, hello)

    def _go_live(self, connection: Connection, hello: Hello) -> None:
        info = connection.info
        assert info is not None, "it has said hello"
        self._live[info.vm_uuid] = connection
        self.metrics.connected.inc()
        self._told.add(connection)
        self._say("link_up", connection, "hello")
        offset = None if hello.time is None else self._offset_of(hello.time)
        self._sequencer.submit(info.vm_uuid, lambda: self._link_up(connection, info, hello.status, offset))

    def _supersede(self, newer: SessionInfo) -> None:
        connection = self._live.get(newer.vm_uuid)
        if connection is None or connection.info is None:
            return
        other = connection.info.boot_id != newer.boot_id
        self.metrics.superseded.labels("other" if other else "same").inc()
        connection.end("superseded", farewell=True)

    def _quarantine(self, older: Connection, newer: Connection) -> None:
        """Both machines live. Who came over the VM's own port is the VM; else neither is, until it is known."""
        assert older.info is not None and newer.info is not None, "both have said hello"
        vm_uuid = newer.info.vm_uuid
        self.metrics.duplicates.inc()
        self._say("identity_used_twice", newer, f"a second machine came from {newer.peer}")
        if older.line is None and (live := self._live.pop(vm_uuid, None)) is not None:
            self.metrics.connected.dec()
            self._tell_down(live, "quarantined")
        self._events.used_twice(older.info, newer.info)

    def _offset_of(self, time: datetime.datetime) -> float:
        return (time - self._now()).total_seconds()

    async def _link_up(
        self, connection: Connection, info: SessionInfo, status: dict[str, Any], offset: float | None
    ) -> None:
        try:
            capabilities = await self._events.link_up(info, status)
        except OpenNGTError as exc:
            self._log.warning("link_up_failed", vm_uuid=info.vm_uuid, code=exc.code, message=exc.message)
            connection.end("ledger_failed")
            return
        if offset is not None:
            self._events.clock(info, offset)
        connection.admit(capabilities)

    def _keep_status(self, connection: Connection, info: SessionInfo, status: dict[str, Any]) -> None:
        if self._sequencer.pending(info.vm_uuid) >= PENDING_EVENTS:
            connection.end("frame_rate")
            return
        self._sequencer.submit(info.vm_uuid, lambda: self._events.status(info, status))

    def _job_failed(self, vm_uuid: str, failure: BaseException) -> None:
        # A defect of ours. The VM is cut so that it starts over, rather than live on with an event lost.
        self._log.error("gateway_event_failed", vm_uuid=vm_uuid, exc_info=failure)
        self.cut(vm_uuid, "internal_error")

    def _say(self, event: str, connection: Connection, reason: str) -> None:
        """One line about a connection; a flood of them becomes a number."""
        kind = f"{event} {reason}" if event == "connection_refused" else event
        suppressed = self._log_limiter.admit(kind, self._loop.time())
        other = connection.certificate_vm_uuid
        certificate = {} if other is None else {"certificate_vm_uuid": other}
        if suppressed is not None:
            self._log.info(
                event,
                reason=reason,
                peer=connection.peer,
                vm_uuid=connection.vm_uuid,
                serial=None if connection.serial is None else f"{connection.serial:x}",
                suppressed=suppressed,
                **certificate,
            )

    def _turn(self) -> None:
        self._turner = self._loop.call_later(self.wheel.tick_seconds, self._turn)
        for connection in self.wheel.turn(self._loop.time()):
            self._loop.call_soon(connection.expire)  # a defect in one then stops neither the others nor the time


def _listen(host: str, port: int, send_buffer: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=host == "::")
    except OSError as exc:
        code = "SERVICE_CONFLICT" if exc.errno == errno.EADDRINUSE else "CONFIG_INVALID"
        raise OpenNGTError(code, f"cannot listen on {host} port {port}: {exc.strerror}") from exc
    # Accepted sockets inherit it. The kernel would otherwise take megabytes for a peer that does not read.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    listener.setblocking(False)
    return listener


def _plain(seconds: float) -> float:
    return int(seconds) if float(seconds).is_integer() else seconds


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
