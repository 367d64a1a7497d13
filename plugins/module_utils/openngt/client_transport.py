# SPDX-License-Identifier: GPL-3.0-or-later
"""How one call of the client reaches the service: the connection, its trust, repetition and patience."""

from __future__ import annotations

import http.client
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from .errors import OpenNGTError

__all__ = ["BACKOFF_CAP", "Answer", "Request", "Transport", "check_token", "parse_endpoint", "trust"]

ATTEMPTS = 4
BACKOFF_BASE = 0.25
BACKOFF_CAP = 2.0
RETRY_STATUS = (429, 503)
MAX_ANSWER_BYTES = 256 * 1024 * 1024


class Endpoint(NamedTuple):
    host: str
    port: int
    prefix: str

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}{self.prefix}"


class Request(NamedTuple):
    method: str
    target: str
    body: bytes | None
    headers: Mapping[str, str]
    repeatable: bool


class Answer(NamedTuple):
    status: int
    retry_after: float | None
    body: bytes


def parse_endpoint(endpoint: str) -> Endpoint:
    """`https://host[:port][/prefix]`; anything else is INVALID_INPUT (credentials in a URL end up in logs)."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or 443
        (parts.hostname or "").encode("idna")
    except ValueError as exc:
        raise OpenNGTError("INVALID_INPUT", f"endpoint is not a URL: {exc}") from exc
    if parts.scheme != "https":
        raise OpenNGTError("INVALID_INPUT", "endpoint must start with https://, as in https://192.0.2.10:2073")
    if parts.username is not None or parts.password is not None:
        raise OpenNGTError("INVALID_INPUT", "endpoint must not hold a user or password; the token is its own option")
    if not parts.hostname or parts.query or parts.fragment or not endpoint.isascii() or not endpoint.isprintable():
        raise OpenNGTError("INVALID_INPUT", "endpoint must be https://host:port, without query or fragment")
    return Endpoint(parts.hostname, port, parts.path.rstrip("/"))


def check_token(token: str) -> str:
    if not token:
        raise OpenNGTError("AUTHENTICATION_FAILED", "token is empty")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise OpenNGTError("AUTHENTICATION_FAILED", "token holds characters that no token has (spaces, line ends?)")
    return token


def trust(ca_file: str | None) -> ssl.SSLContext:
    """TLS 1.2 or newer, name and chain verified against `ca_file`, or against the system's CAs without one."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as exc:
        raise OpenNGTError("INVALID_INPUT", f"ca_file {ca_file} holds no PEM certificate") from exc
    except OSError as exc:
        raise OpenNGTError("INVALID_INPUT", f"ca_file {ca_file} cannot be read: {exc.strerror}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def backoff(attempt: int, retry_after: float | None) -> float:
    """Full jitter; a server that names a time is obeyed."""
    jitter = random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2**attempt))  # noqa: S311  spreads load, no secret
    return jitter if retry_after is None else retry_after + jitter


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header; its date form is not used by the service."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else None


class Transport:
    """One kept-alive connection; sends a request until it is answered, may not be repeated, or its time is up.

    Threads that share it take turns, one exchange each: mixed, they would read each other's answers.
    """

    def __init__(self, endpoint: Endpoint, ca_file: str | None, pause: Callable[[float], None]) -> None:
        self.endpoint = endpoint
        self.ca_file = ca_file
        self._context = trust(ca_file)
        self._pause = pause
        self._connection: http.client.HTTPSConnection | None = None
        self.turn = threading.RLock()

    def send(self, request: Request, timeout: float) -> Answer:
        deadline = time.monotonic() + timeout
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self._in_turn(request, deadline)
            except OpenNGTError as exc:
                wait = self._wait_before_retry(request, attempt, None, deadline)
                if exc.code != "ENDPOINT_UNREACHABLE" or wait is None:
                    raise
            else:
                if answer.status not in RETRY_STATUS:
                    return answer
                wait = self._wait_before_retry(request, attempt, answer.retry_after, deadline)
                if wait is None:
                    return answer
            self._pause(wait)

    def close(self) -> None:
        with self.turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _wait_before_retry(
        self, request: Request, attempt: int, named_wait: float | None, deadline: float
    ) -> float | None:
        wait = backoff(attempt, named_wait)
        allowed = request.repeatable and attempt < ATTEMPTS and time.monotonic() + wait < deadline
        return wait if allowed else None

    def _in_turn(self, request: Request, deadline: float) -> Answer:
        if not self.turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise self._unreachable(TimeoutError("other threads' calls over this connection took all the time"))
        try:
            if not request.repeatable:
                self.close()  # an idle connection that the service closed meanwhile would cost the only attempt
            return self._once(request, max(0.001, deadline - time.monotonic()))
        finally:
            self.turn.release()

    def _once(self, request: Request, timeout: float) -> Answer:
        try:
            connection = self._connect(timeout)
            connection.request(request.method, request.target, request.body, dict(request.headers))
            response = connection.getresponse()
            body = response.read(MAX_ANSWER_BYTES + 1)
        except ssl.SSLCertVerificationError as exc:
            self.close()
            raise self._not_trusted(exc) from exc
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise self._unreachable(exc) from exc
        if response.will_close or len(body) > MAX_ANSWER_BYTES:
            self.close()
        if len(body) > MAX_ANSWER_BYTES:
            raise OpenNGTError("API_ERROR", f"{self.endpoint.url} answered with more than {MAX_ANSWER_BYTES} bytes")
        return Answer(response.status, retry_after(response.getheader("Retry-After")), body)

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self.endpoint.host, self.endpoint.port, timeout=timeout, context=self._context
            )
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout)
        self._connection.timeout = timeout
        return self._connection

    def _not_trusted(self, exc: ssl.SSLCertVerificationError) -> OpenNGTError:
        against = f"ca_file {self.ca_file}" if self.ca_file else "the system's CAs (no ca_file is given)"
        message = f"the certificate of {self.endpoint.url} is not trusted by {against}: {exc.verify_message}"
        details = {"endpoint": self.endpoint.url, "ca_file": self.ca_file, "reason": exc.verify_message}
        return OpenNGTError("TLS_NOT_TRUSTED", message, details)

    def _unreachable(self, exc: Exception) -> OpenNGTError:
        reason = (exc.strerror if isinstance(exc, OSError) else None) or str(exc) or type(exc).__name__
        message = f"no answer from {self.endpoint.url}: {reason}"
        return OpenNGTError("ENDPOINT_UNREACHABLE", message, {"endpoint": self.endpoint.url, "reason": reason})
