# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The agent's end of the link as a pure object: bytes and the time go in, bytes and events come out.

It knows nothing of sockets or ttys. A transport moves bytes (`receive`, `take`), calls `tick` no later than `deadline`
says, and acts on the events; it never looks inside.
"""

import collections
import logging
import ssl
from typing import Any, Callable, Deque, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

from . import framing, messages, strict_json
from .config import check_capabilities
from .errors import AgentError
from .messages import Answer, Call, RequestId
from .times import now_text
from .tls import TlsClient

__all__ = ["MISSES", "Active", "Closed", "Event", "LinkProtocol", "Operation", "Steady", "Welcomed"]

HANDSHAKE_SECONDS = 5.0
WELCOME_SECONDS = 5.0
HELLO_SECONDS = 10.0
MISSES = 2.0
STEADY = 3  # answered heartbeats
MOST_OUTGOING = 2 * framing.MOST_AFTER_HELLO
# So much is encrypted ahead of the transport; what waits behind it can still be overtaken by a heartbeat.
AHEAD = 16 * 1024

# Every operation that the host asks for is logged under this name, refused ones included, never its parameters.
host_log = logging.getLogger("openngt.host")
log = logging.getLogger("openngt.agent")

Welcomed = NamedTuple("Welcomed", [("session", str), ("generation", int), ("kind", str)])
Active = NamedTuple("Active", [("capabilities", Dict[str, bool])])
Operation = NamedTuple("Operation", [("id", RequestId), ("method", str), ("params", Dict[str, Any])])
Closed = NamedTuple("Closed", [("code", Optional[str]), ("message", str)])  # code None: it said goodbye
Steady = NamedTuple("Steady", [("heartbeats", int)])  # so many were answered: the link holds
Event = Union[Welcomed, Active, Steady, Operation, Closed]

_Pending = NamedTuple("_Pending", [("method", str), ("deadline", float)])


class LinkProtocol:
    """One session, from the first byte of TLS to its end.

    Its states: `connecting`, `connected`, `welcomed`, `active`, `closed`.

    `hello` makes the parameters of the request when they are wanted; `heartbeat` those of each heartbeat;
    `is_blocked` is the guest administrator's word on a method, asked at each operation. `cluster_uuid` is that of the
    identity, and a service of another one is not ours. `most` is the size of the largest message once `hello` was
    answered, either way: a slow port carries smaller ones than a network. `misses` are the heartbeats after which a
    silent service counts as gone.
    """

    def __init__(
        self,
        tls: TlsClient,
        now: float,
        cluster_uuid: str,
        hello: Callable[[], Dict[str, Any]],
        heartbeat: Callable[[], Dict[str, Any]],
        is_blocked: Callable[[str], bool],
        most: int = framing.MOST_AFTER_HELLO,
        misses: float = MISSES,
    ) -> None:
        self.state = "connecting"
        self._tls = tls
        self._cluster_uuid = cluster_uuid
        self._hello = hello
        self._heartbeat = heartbeat
        self._is_blocked = is_blocked
        self._most = most
        self._misses = misses
        self._frames = framing.FrameReader()
        self._outgoing = bytearray()
        self._unsent: Deque[bytes] = collections.deque()  # frames, not encrypted yet
        self._waiting: Dict[RequestId, _Pending] = {}
        self._last_id = 0
        self._heartbeat_seconds = 0.0
        self._next_heartbeat = 0.0
        self._beats = 0  # heartbeats that were answered
        self._give_up = now + HANDSHAKE_SECONDS
        self._tls.start()

    # -- what a transport calls ---------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> List[Event]:
        """Bytes came from the other end."""
        if self.state == "closed":
            return []
        events: List[Event] = []
        try:
            for piece in self._tls.feed(data):
                self._frames.feed(piece)
                events += self._read_frames(now)
        except ssl.SSLError as exc:
            return events + self._fail(*_tls_failure(exc))
        except ssl.CertificateError as exc:  # Python 3.6: no SSLError
            return events + self._fail(
                "TLS_NOT_TRUSTED", "the service's certificate is not for its name: {0}".format(exc)
            )
        if self._tls.established and self.state == "connecting":
            self.state = "connected"
            self._give_up = now + WELCOME_SECONDS
            events += self._read_frames(now)
        if self._tls.closed:
            events += self.lost()
        return events

    def lost(self, why: str = "closed by the service") -> List[Event]:
        """The transport ended: the other end closed, or the network says so."""
        if self.state in ("connecting", "connected"):
            # TLS 1.3 judges a client's certificate after the client's own handshake ended, and often without a word.
            return self._fail("LINK_REFUSED", "{0} before it said welcome".format(why))
        return self._fail("LINK_LOST", why)

    def tick(self, now: float) -> List[Event]:
        """Time has passed."""
        if self.state == "closed":
            return []
        if now >= self._give_up:
            return self._fail("LINK_LOST", "no answer in time while {0}".format(self.state))
        late = [pending.method for pending in self._waiting.values() if now >= pending.deadline]
        if late:
            return self._fail("LINK_LOST", "{0} was not answered in time".format(late[0]))
        if self.state == "active" and now >= self._next_heartbeat:
            self._next_heartbeat = now + self._heartbeat_seconds
            self._ask("heartbeat", self._heartbeat(), now + self._misses * self._heartbeat_seconds)
        return []

    @property
    def deadline(self) -> float:
        """When `tick` wants to be called at the latest."""
        moments = [self._give_up] + [pending.deadline for pending in self._waiting.values()]
        if self.state == "active":
            moments.append(self._next_heartbeat)
        return min(moments)

    @property
    def wants_to_read(self) -> bool:
        """False while the other end does not take what it asked for."""
        return self.state != "closed" and len(self._outgoing) + sum(map(len, self._unsent)) < MOST_OUTGOING

    @property
    def wants_to_write(self) -> bool:
        self._collect()
        return bool(self._outgoing)

    def peek(self, most: int) -> bytes:
        """Bytes to send next, still held: tell with `sent` how many the transport took."""
        self._collect()
        return bytes(self._outgoing[:most])

    def sent(self, count: int) -> None:
        del self._outgoing[:count]

    # -- what the agent calls -----------------------------------------------------------------------------------------

    def answer(self, operation: Operation, value: Mapping[str, Any]) -> None:
        """An operation is done."""
        host_log.info("%s: done", operation.method)
        self._say(messages.result(operation.id, value))

    def refuse(self, operation: Operation, failure: AgentError) -> None:
        """An operation cannot be done."""
        host_log.warning("%s: refused: %s: %s", operation.method, failure.code, failure.message)
        self._say(messages.error(operation.id, messages.REFUSED, failure.message, failure.code))

    def status(self, record: Mapping[str, Any]) -> None:
        """Report a changed status record, once the session is active."""
        if self.state == "active":
            self._say(messages.notification("status", {"status": dict(record)}))

    def goodbye(self, reason: str) -> None:
        """Take leave; what is to be sent can still be taken, nothing more is read."""
        if self.state == "active":
            self._say(messages.notification("goodbye", {"reason": reason}))
        self._encrypt(float("inf"))
        if self._tls.established and self.state != "closed":
            self._tls.close()
        self._collect()
        self.state = "closed"

    # -- inside -------------------------------------------------------------------------------------------------------

    def _read_frames(self, now: float) -> List[Event]:
        events: List[Event] = []
        while self.state != "closed":
            try:
                bodies = self._frames.take()
                for body in bodies:
                    events += self._message(strict_json.load_object(body, self._frames.limit), now)
            except ValueError as exc:
                return events + self._fail("PROTOCOL_ERROR", "the service broke the protocol: {0}".format(exc))
            if not bodies:
                break
        return events

    def _message(self, message: Mapping[str, Any], now: float) -> List[Event]:
        if self.state == "connecting":  # the handshake ended with these very bytes
            self.state = "connected"
        found = messages.classify(message)
        if isinstance(found, Answer):
            return self._answered(found, now)
        if found.method == "welcome" and found.id is None:
            return self._welcomed(found, now)
        if found.method == "goodbye" and found.id is None:
            return self._fail(None, "the service said goodbye: {0}".format(str(found.params.get("reason"))[:200]))
        return self._asked(found)

    def _welcomed(self, call: Call, now: float) -> List[Event]:
        if self.state != "connected":
            raise ValueError("a second welcome")
        said = messages.welcome(call.params)
        if call.params["cluster_uuid"] != self._cluster_uuid:
            raise ValueError("welcome comes from another cluster")
        self.state = "welcomed"
        self._give_up = float("inf")
        self._heartbeat_seconds = said.heartbeat_seconds
        self._ask("hello", self._hello(), now + HELLO_SECONDS)
        return [Welcomed(said.session, said.generation, said.kind)]

    def _answered(self, answer: Answer, now: float) -> List[Event]:
        pending = self._waiting.pop(answer.id, None)
        if pending is None:
            raise ValueError("an answer to nothing that was asked")
        if answer.error is not None:
            text = str(answer.error.get("message"))[:200]
            return self._fail("LINK_REFUSED", "the service refused {0}: {1}".format(pending.method, text))
        if not isinstance(answer.result, dict):
            raise ValueError("result of {0} must be an object".format(pending.method))
        if pending.method != "hello":
            self._beats += 1
            return [Steady(self._beats)] if self._beats == STEADY else []
        capabilities = check_capabilities(answer.result.get("capabilities", {}))
        self.state = "active"
        self._frames.limit = self._most
        self._next_heartbeat = now
        return [Active(capabilities)]

    def _asked(self, call: Call) -> List[Event]:
        """An operation, if it exists, now, here. Never looked up but in the table."""
        check = messages.OPERATIONS.get(call.method) if self.state == "active" else None
        if call.id is None:
            host_log.info("notification %s: ignored", ascii(call.method))
            return []
        if check is None:
            host_log.warning("%s: no such method while %s", ascii(call.method), self.state)
            self._say(messages.error(call.id, messages.METHOD_NOT_FOUND, "method not found"))
            return []
        if self._is_blocked(call.method):
            host_log.warning("%s: blocked by the guest's administrator", call.method)
            text = "method {0} is blocked by the guest's administrator".format(call.method)
            self._say(messages.error(call.id, messages.BLOCKED, text, "METHOD_BLOCKED"))
            return []
        try:
            check(call.params)
        except ValueError as exc:
            host_log.warning("%s: invalid parameters: %s", call.method, exc)
            self._say(messages.error(call.id, messages.INVALID_PARAMS, str(exc)))
            return []
        host_log.info("%s: asked", call.method)
        return [Operation(call.id, call.method, call.params)]

    def _ask(self, method: str, params: Mapping[str, Any], deadline: float) -> None:
        self._last_id += 1
        self._waiting[self._last_id] = _Pending(method, deadline)
        self._say(messages.request(self._last_id, method, params))

    def _say(self, message: Mapping[str, Any]) -> None:
        if self.state == "closed":
            return
        body = strict_json.dump(dict(message))
        if len(body) > self._most:
            log.warning("a message of %d bytes was not sent: %d are the most on this link", len(body), self._most)
        elif message.get("method") == "heartbeat":  # it says that we live, however much waits
            self._unsent.appendleft(framing.encode(body))
        else:
            self._unsent.append(framing.encode(body))

    def _fail(self, code: Optional[str], message: str) -> List[Event]:
        if self.state == "closed":
            return []
        self._unsent.clear()
        self._collect()
        self.state = "closed"
        return [Closed(code, message)]

    def _collect(self) -> None:
        self._outgoing += self._tls.take()
        self._encrypt(AHEAD)

    def _encrypt(self, most: float) -> None:
        """Hand frames to TLS as long as no more than `most` bytes wait behind it."""
        while self._unsent and len(self._outgoing) < most:
            self._tls.write(self._unsent.popleft())
            self._outgoing += self._tls.take()


def _tls_failure(exc: ssl.SSLError) -> Tuple[str, str]:
    """Was it our judgement of the service, or the service's of us, or neither?"""
    reason = exc.reason or "unknown"
    if reason == "CERTIFICATE_VERIFY_FAILED" or isinstance(exc, ssl.CertificateError):
        verdict = getattr(exc, "verify_message", "")
        # The reason of two of OpenSSL's verdicts may be a wrong clock; Python 3.6 does not tell them apart.
        if not verdict or "expired" in verdict or "not yet valid" in verdict:
            verdict = "{0}; this guest's clock says {1}".format(verdict or "certificate verify failed", now_text())
        return "TLS_NOT_TRUSTED", "the service's certificate is not trusted: {0}".format(verdict)
    if "ALERT" in reason:
        return "LINK_REFUSED", "the service refused the certificate or TLS version ({0})".format(reason)
    return "PROTOCOL_ERROR", "TLS failed ({0})".format(reason)
