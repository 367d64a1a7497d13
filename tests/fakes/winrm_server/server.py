# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener: HTTPS, one thread for a connection, shells and commands behind it."""

from __future__ import annotations

import base64
import contextlib
import http.server
import socket
import ssl
import tempfile
import threading
import uuid
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import messages
from .authentication import ENCRYPTED, Login, write_user_file
from .certificates import Certificate
from .faults import Drip, Drop, Failure, Fault, HttpStatus, Quota, ShellGone, Slow, Unauthorized
from .programs import Play, Run

__all__ = ["Seen", "WinrmServer"]

OPERATION_TIMED_OUT = Fault(
    2150858793,
    "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.",
    "w:TimedOut",
)
INPUT_ENDED = Fault(109, "The pipe has been ended.")
NO_ENVELOPE = Fault(2150858771, "The WS-Management service cannot process a request that is no valid XML.")
SCHEMES = ("ntlm", "kerberos", "basic", "certificate")


@dataclass(frozen=True)
class Seen:
    """One request, as it came."""

    action: str
    """Of its envelope; empty when nobody had logged in, so that it was not read."""
    authorization: str | None
    bytes: int
    encrypted: bool
    user: str | None


class WinrmServer:
    """A listener at 127.0.0.1:`port` and the guest behind it. A context manager; `play` may be exchanged at any time.

    Plain HTTP without a certificate, for the tests of what is refused. Offers `schemes`; `users` are name -> password,
    `certified` the user that each client certificate (its CN) maps to.
    """

    def __init__(
        self,
        play: Play,
        *,
        users: Mapping[str, str],
        certificate: Certificate | None,
        schemes: Collection[str] = ("ntlm", "basic", "certificate"),
        certified: Certificate | None = None,
        bindings: bool = True,
    ) -> None:
        assert set(schemes) <= set(SCHEMES), f"of {SCHEMES}"
        self.play = play
        self.users = dict(users)
        self.schemes = frozenset(schemes)
        self.max_shells = 30
        self.receive_piece = 32 * 1024
        self.receive_limit = 96 * 1024
        self.seen: list[Seen] = []
        self.connections = 0
        self.shells: dict[str, dict[str, Run]] = {}
        self.runs: list[Run] = []
        """All commands that were ever started, in their order."""
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self._failures: dict[str, list[Failure]] = defaultdict(list)
        self._certificate = certificate
        self._certified = certified
        self._bindings = bindings
        self._folder = tempfile.TemporaryDirectory(prefix="winrm-server-")
        self.user_file = Path(self._folder.name) / "users"
        write_user_file(self.user_file, users)
        self._context = self._tls(certificate) if certificate is not None else None
        self._http = _Http(("127.0.0.1", 0), _Connection)
        self._http.guest = self
        self.port: int = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ending.set()
        self._http.shutdown()
        self._http.server_close()
        for run in self.runs:
            run.terminate()
        self._folder.cleanup()

    def fail(self, action: str, failure: Failure, times: int = 1) -> None:
        """The next requests for an action (Create, Command, Send, Receive, Signal, Delete) fail so."""
        self._failures[action] += [failure] * times

    def forget_shells(self) -> None:
        """As after a restart of the guest's WinRM service."""
        with self.lock:
            self.shells.clear()

    def change_certificate(self, certificate: Certificate) -> None:
        """From the next connection on."""
        self._certificate = certificate
        self._context = self._tls(certificate)

    @property
    def authorizations(self) -> list[str]:
        """Every Authorization header that ever arrived."""
        return [each.authorization for each in self.seen if each.authorization is not None]

    def actions(self) -> list[str]:
        return [each.action for each in self.seen if each.action]

    # -- For a connection -------------------------------------------------------------------------------------------

    def failure_for(self, action: str) -> Failure | None:
        with self.lock:
            waiting = self._failures[action]
            return waiting.pop(0) if waiting else None

    def login(self) -> Login:
        bindings = None
        if self._bindings and self._certificate is not None:
            bindings = b"tls-server-end-point:" + bytes.fromhex(self._certificate.thumbprint)
        return Login(self.schemes, self.users, self.user_file, bindings)

    def secured(self, connection: Any) -> Any:
        """The connection in TLS, its handshake done."""
        return self._context.wrap_socket(connection, server_side=True) if self._context is not None else connection

    def certified_user(self, connection: Any) -> str | None:
        if self._certified is None or not isinstance(connection, ssl.SSLSocket):
            return None
        return next(iter(self.users)) if connection.getpeercert(binary_form=True) == self._certified.der else None

    def answer(self, request: messages.Request, user: str) -> bytes | Fault:
        """What an operation answers; Receive waits."""
        handler = getattr(self, f"_{request.action.lower()}", None)
        return NO_ENVELOPE if handler is None else handler(request, user)

    def _identify(self, request: messages.Request, user: str) -> bytes:
        return messages.identified()

    def _create(self, request: messages.Request, user: str) -> bytes | Fault:
        shell = str(uuid.uuid4()).upper()
        with self.lock:
            if len(self.shells) >= self.max_shells:
                return Quota
            self.shells[shell] = {}
        return messages.created(request, shell)

    def _command(self, request: messages.Request, user: str) -> bytes | Fault:
        command, run = (
            str(uuid.uuid4()).upper(),
            Run(f"{request.text('Command')} {request.text('Arguments')}".strip(), user),
        )
        with self.lock:
            if request.shell not in self.shells:
                return ShellGone
            self.shells[request.shell][command] = run
            self.runs.append(run)
        run.start(self.play)
        return messages.command_answer(request, command)

    def _send(self, request: messages.Request, user: str) -> bytes | Fault:
        stream = request.find("Stream")
        run = self._run(request, stream)
        if isinstance(run, Fault):
            return run
        assert stream is not None
        if run.has_ended:
            return INPUT_ENDED
        run.feed(base64.b64decode(stream.text or ""), end=stream.get("End", "").lower() == "true")
        return messages.answer(request, f"{messages.SHELL}/SendResponse", "<rsp:SendResponse/>")

    def _receive(self, request: messages.Request, user: str) -> bytes | Fault:
        stream = request.find("DesiredStream")
        run = self._run(request, stream)
        if isinstance(run, Fault):
            return run
        assert stream is not None
        collected = run.collect(request.seconds, self.receive_piece, self.receive_limit)
        if collected is None:
            return OPERATION_TIMED_OUT
        return messages.output(request, stream.get("CommandId", ""), *collected)

    def _signal(self, request: messages.Request, user: str) -> bytes | Fault:
        run = self._run(request, request.find("Signal"))
        if isinstance(run, Fault):
            return run
        run.terminate()
        return messages.answer(request, f"{messages.SHELL}/SignalResponse", "<rsp:SignalResponse/>")

    def _delete(self, request: messages.Request, user: str) -> bytes | Fault:
        with self.lock:
            commands = self.shells.pop(request.shell or "", None)
        if commands is None:
            return ShellGone
        for run in commands.values():
            run.terminate()
        return messages.answer(request, f"{messages.TRANSFER}/DeleteResponse", "")

    def _run(self, request: messages.Request, named: ET.Element | None) -> Run | Fault:
        with self.lock:
            commands = self.shells.get(request.shell or "", {})
            run = commands.get(named.get("CommandId", "")) if named is not None else None
        return ShellGone if run is None else run

    def _tls(self, certificate: Certificate) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.key_file)
        if self._certified is not None:
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(self._certified.file)
        return context


class _Http(http.server.ThreadingHTTPServer):
    guest: WinrmServer
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what many tests are about."""


class _Connection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    timeout = 120
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.request.settimeout(20)
        self.request = self.server.guest.secured(self.request)
        self.login = self.server.guest.login()
        self.server.guest.connections += 1
        super().setup()

    def finish(self) -> None:
        super().finish()
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)
        self.request.close()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""

    def do_POST(self) -> None:
        guest = self.server.guest
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path.rstrip("/") != "/wsman":
            return self.reply(404, b"")
        content_type = self.headers.get("Content-Type", "")
        authorization = self.headers.get("Authorization")
        if authorization is None and self.headers.get("WSMANIDENTIFY") == "unauthenticated":
            return self.reply(200, messages.identified())
        user, token = self.login.judge(authorization, guest.certified_user(self.request))
        encrypted = ENCRYPTED in content_type
        if user is None:
            guest.seen.append(Seen("", authorization, len(body), encrypted, None))
            return self.reply(401, b"", self.login.offers(token))
        if not body:  # a session is wanted, and nothing yet
            guest.seen.append(Seen("", authorization, 0, False, user))
            return self.reply(200, b"")
        try:
            request = messages.parse(self.login.unwrap(content_type, body))
        except (ValueError, ET.ParseError, IndexError):
            return self.reply(400, b"")
        guest.seen.append(Seen(request.action, authorization, len(body), encrypted, user))
        failure = guest.failure_for(request.action)
        if failure is not None and not self.go_wrong(failure, request):
            return None
        answer = failure if isinstance(failure, Fault) else guest.answer(request, user)
        if isinstance(answer, Fault):
            return self.reply(500, messages.fault(request, answer.code, answer.text, answer.subcode), encrypt=encrypted)
        return self.reply(200, answer, encrypt=encrypted)

    def go_wrong(self, failure: Failure, request: messages.Request) -> bool:
        """Whether the request is answered all the same."""
        if isinstance(failure, Slow):
            return not self.server.guest.ending.wait(failure.seconds)
        if isinstance(failure, HttpStatus):
            self.reply(failure.status, failure.body, location=failure.location)
        elif isinstance(failure, Unauthorized):
            self.reply(401, b"", self.login.offers())
        elif isinstance(failure, Drop | Drip):
            if failure != Drop():
                head = "HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nContent-Length: 100000\r\n\r\n"
                self.wfile.write(head.encode())
            if isinstance(failure, Drop):
                self.wfile.write(b"<" * failure.after_bytes)
            while isinstance(failure, Drip) and not self.server.guest.ending.wait(0.1):
                self.wfile.write(b"<")
            self.close_connection = True
        return isinstance(failure, Fault)

    def reply(
        self,
        status: int,
        body: bytes,
        offers: Collection[str] = (),
        *,
        encrypt: bool = False,
        location: str | None = None,
    ) -> None:
        content_type = "application/soap+xml;charset=UTF-8"
        if encrypt:
            content_type, body = self.login.wrap(body)
        self.send_response(status)
        if location is not None:
            self.send_header("Location", location)
        proof, self.login.proof = self.login.proof, None
        for offer in [*offers, *([f"Negotiate {proof}"] if proof else [])]:
            self.send_header("WWW-Authenticate", offer)
        if body:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
