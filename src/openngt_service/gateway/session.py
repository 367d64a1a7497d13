# SPDX-License-Identifier: GPL-3.0-or-later
"""One agent's session: plaintext bytes in, events and bytes out. It knows no socket, no clock and no other session.

Who the agent is was settled before, by its certificate: nothing here reads an identity from a message (threat T19).
"""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from . import jsonrpc
from .jsonrpc import Notification, Request, Response, Violation
from .limits import Limits

__all__ = ["PROTOCOL", "Event", "Goodbye", "Heartbeat", "Hello", "Reply", "Session", "State", "Status"]

PROTOCOL: Final = 1
MAXIMUM_TEXT: Final = 128  # characters of a version, a boot id or a reason


class State(Enum):
    WELCOMED = "welcomed"
    """`welcome` is sent, `hello` is awaited."""
    GREETED = "greeted"
    """`hello` is here and not answered yet: the service is writing it down. The agent may beat meanwhile."""
    ESTABLISHED = "established"
    CLOSING = "closing"
    """`goodbye` is sent; what still comes is dropped."""


@dataclass(frozen=True, slots=True)
class Hello:
    agent_version: str
    boot_id: str | None
    status: dict[str, Any]
    time: datetime.datetime | None = None
    """The agent's clock, as that of a heartbeat; older agents do not tell it."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    disc_mounted: bool | None
    time: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    status: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goodbye:
    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The agent's answer to `call`; `error` is None exactly when there is a result. `token` is the caller's."""

    token: object
    result: Any
    error: dict[str, Any] | None


Event = Hello | Heartbeat | Status | Goodbye | Reply


class _Refused(Exception):
    """The request gets an error instead of a result; the text names the field."""

    def __init__(self, text: str, code: int = jsonrpc.INVALID_PARAMS) -> None:
        super().__init__(text)
        self.code = code


class Session:
    """Feed it with `receive`, send what `take` gives, cut the peer on a Violation or when `overdue` names a reason."""

    __slots__ = (
        "_budget",
        "_budget_at",
        "_calls",
        "_frame_since",
        "_frames",
        "_heard",
        "_held",
        "_hello_id",
        "_last_call",
        "_limits",
        "_methods",
        "_outgoing",
        "_since",
        "hurried",
        "received",
        "state",
    )

    def __init__(self, welcome: Mapping[str, Any], limits: Limits, now: float) -> None:
        self._limits = limits
        self._frames = jsonrpc.FrameReader()
        self._outgoing = [jsonrpc.notification("welcome", dict(welcome))]
        self._held: list[bytes] | None = None
        self._calls: dict[int, object] = {}
        self._last_call = 0
        self.received = 0
        self.hurried = False
        """Set when `deadline` has moved earlier; whoever keeps the time takes note and clears it."""
        self._hello_id: int | str | None = None
        self._since = self._heard = self._budget_at = now
        self._frame_since: float | None = None
        self._budget = float(limits.frames_burst)
        self._enter(State.WELCOMED)

    def receive(self, data: bytes, now: float) -> list[Event]:
        """What the agent says with these bytes. Raises Violation: the agent is to be cut."""
        if self.state is State.CLOSING:
            return []
        events = []
        bodies = self._frames.feed(data)
        for body in bodies:
            self._spend(now)
            event = self._handle(jsonrpc.decode(body))
            if event is not None:
                events.append(event)
        if bodies:
            self._heard = now
            self.received += len(bodies)
        if not self._frames.partial:
            self._frame_since = None
        elif bodies or self._frame_since is None:
            self._frame_since = now
            self.hurried = True
        return events

    def take(self) -> tuple[int, bytes]:
        """Frames to send: how many, and their bytes in order. Taken once."""
        count = len(self._outgoing)
        if count == 1:
            return 1, self._outgoing.pop()
        outgoing = b"".join(self._outgoing)
        self._outgoing.clear()
        return count, outgoing

    @property
    def queued(self) -> int:
        """Bytes that wait for `take`."""
        return sum(map(len, self._outgoing))

    @property
    def deadline(self) -> float:
        """When silence becomes a failure, in the time base of `now`."""
        if self.state is State.WELCOMED:
            return self._since + self._limits.first_frame_seconds
        if self._frame_since is not None:
            return self._frame_since + self._limits.frame_seconds
        return self._heard + self._limits.silence_seconds

    def overdue(self) -> str:
        """The reason that passing `deadline` has."""
        if self.state is State.WELCOMED:
            return "first_frame_timeout"
        return "heartbeat_timeout" if self._frame_since is None else "frame_timeout"

    def admit(self, capabilities: Mapping[str, Any]) -> None:
        """Answer `hello`; from here on the large frame limit holds, and calls that waited go out."""
        assert self.state is State.GREETED and self._hello_id is not None, "answers one hello, once"
        self._outgoing.append(jsonrpc.result(self._hello_id, {"capabilities": dict(capabilities)}))
        self._outgoing += self._held or []
        self._held = None
        self._frames.limit = self._limits.message_bytes
        self._enter(State.ESTABLISHED)

    def call(self, method: str, params: dict[str, Any], token: object) -> int:
        """One request to the agent; its Reply carries `token`. Waits for the answer to `hello` where that is not out.

        Returns the id, for `forget`.
        """
        self._last_call += 1
        frame = jsonrpc.request(self._last_call, method, params, self._limits.message_bytes)
        self._calls[self._last_call] = token
        if self.state is State.ESTABLISHED:
            self._outgoing.append(frame)
        else:
            self._held = [*(self._held or []), frame]
        return self._last_call

    def forget(self, call_id: int) -> None:
        """Nobody waits for this call any longer. A late answer is then dropped instead of being a violation."""
        if call_id in self._calls:
            self._calls[call_id] = None

    def bear(self, seconds: float) -> None:
        """The agent waits for us: it may be silent for so much longer."""
        self._heard += seconds

    def outstanding(self) -> list[object]:
        """Tokens of the calls without an answer."""
        return [token for token in self._calls.values() if token is not None]

    def close(self, reason: str) -> None:
        """Say goodbye."""
        self._outgoing.append(jsonrpc.notification("goodbye", {"reason": reason}))
        self._enter(State.CLOSING)

    def _enter(self, state: State) -> None:
        self.state = state
        self._methods = _METHODS[state]

    def _spend(self, now: float) -> None:
        earned = (now - self._budget_at) * self._limits.frames_per_second
        self._budget = min(float(self._limits.frames_burst), self._budget + earned) - 1
        self._budget_at = now
        if self._budget < 0:
            raise Violation("frames come faster than an agent has reason to", "frame_rate")

    def _handle(self, message: jsonrpc.Message) -> Event | None:
        if isinstance(message, Response):
            return self._reply(message)
        request_id = message.id if isinstance(message, Request) else None
        method = self._methods.get(message.method)
        if method is None:
            if request_id is not None:
                self._outgoing.append(jsonrpc.failure(request_id, jsonrpc.METHOD_NOT_FOUND, "method not found"))
            return None
        try:
            event = method(self, message)
        except _Refused as exc:
            if request_id is not None:
                self._outgoing.append(jsonrpc.failure(request_id, exc.code, str(exc)))
            return None
        if request_id is not None and not isinstance(event, Hello):  # `admit` answers hello
            # Before what waits for a slow port: the answer to a heartbeat is how the agent knows that we live.
            self._outgoing.insert(0, jsonrpc.done(request_id))
        return event

    def _reply(self, message: Response) -> Reply | None:
        if not isinstance(message.id, int) or message.id not in self._calls:
            raise Violation("a response to nothing that was asked in this session")
        token = self._calls.pop(message.id)
        return None if token is None else Reply(token, message.result, message.error)

    def _on_hello(self, message: Request | Notification) -> Event:
        if isinstance(message, Notification):
            raise _Refused("hello is a request")
        params = message.params
        if params.get("protocol") != PROTOCOL:
            raise _Refused(f"protocol {PROTOCOL} is what is spoken here", jsonrpc.REFUSED)
        boot_id = None if params.get("boot_id") is None else _text(params, "boot_id")
        hello = Hello(_text(params, "agent_version"), boot_id, _object(params, "status"), _time(params))
        self._hello_id = message.id
        self.hurried = True
        self._enter(State.GREETED)
        return hello

    def _on_heartbeat(self, message: Request | Notification) -> Event:
        mounted = message.params.get("disc_mounted")
        time = _time(message.params)
        if time is not None:
            return Heartbeat(mounted if isinstance(mounted, bool) else None, time)
        return _HEARTBEATS[mounted] if isinstance(mounted, bool) else _HEARTBEAT_WITHOUT_DISC

    def _on_status(self, message: Request | Notification) -> Event:
        return Status(_object(message.params, "status"))

    def _on_goodbye(self, message: Request | Notification) -> Event:
        reason = message.params.get("reason")
        return Goodbye(reason[:MAXIMUM_TEXT] if isinstance(reason, str) else "")


# Made once, as an agent says one of three things every few seconds.
_HEARTBEATS: Final = {mounted: Heartbeat(mounted) for mounted in (True, False)}
_HEARTBEAT_WITHOUT_DISC: Final = Heartbeat(None)


def _text(params: Mapping[str, Any], field: str) -> str:
    value = params.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= MAXIMUM_TEXT:
        raise _Refused(f"{field} must be a text of 1 to {MAXIMUM_TEXT} characters")
    return value


def _time(params: Mapping[str, Any]) -> datetime.datetime | None:
    value = params.get("time")
    if value is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _Refused("time must be a time in RFC 3339, with its zone")
    return moment


def _object(params: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = params.get(field)
    if not isinstance(value, dict):
        raise _Refused(f"{field} must be an object")
    return value


_Method = Callable[[Session, Request | Notification], Event]
# Everything that an agent can make the service do, by state. What is not here is `method not found`.
_METHODS: Final[Mapping[State, Mapping[str, _Method]]] = {
    State.WELCOMED: {"hello": Session._on_hello, "goodbye": Session._on_goodbye},
    State.GREETED: {"heartbeat": Session._on_heartbeat, "goodbye": Session._on_goodbye},
    State.ESTABLISHED: {
        "heartbeat": Session._on_heartbeat,
        "status": Session._on_status,
        "goodbye": Session._on_goodbye,
    },
    State.CLOSING: {},
}
