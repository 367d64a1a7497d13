# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes below an SSH connection, with the limits that its library does not have."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Protocol

__all__ = ["Stream", "Wire", "dial"]

POLL_SECONDS = 0.5
"""How late a limit is seen; the library's own 0.1 s would wake up a hundred threads a thousand times in a second."""
FIRST_BYTES = 256


class Stream(Protocol):
    """A socket, or a channel through a jump host."""

    def recv(self, size: int, /) -> bytes:
        """At most so many bytes; empty at the end."""

    def send(self, data: bytes, /) -> int:
        """How many bytes were taken."""

    def settimeout(self, seconds: float | None, /) -> None:
        """For each call from now on; None waits for ever."""

    def close(self) -> None:
        """From any thread."""


class Wire:
    """What the library takes for its socket: it breaks off when a deadline has passed or the other end is silent.

    One thread reads; `until`, `watch` and `close` belong to any.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        stream.settimeout(POLL_SECONDS)
        self._deadlines: list[float] = []  # of whoever waits now
        self._silence: float | None = None
        self._heard = time.monotonic()
        self._closing = threading.Lock()
        self._closed = False  # the library looks at this name
        self.first = b""
        """The first bytes that came, for a message about an end which is no SSH server."""
        self.late = False
        """The deadline has broken the connection."""
        self.fate = ""
        """Why it is broken; empty while it is not."""

    @contextlib.contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """While this lasts the connection breaks at `deadline` (monotonic), whoever waits for what."""
        self._deadlines.append(deadline)
        try:
            yield
        finally:
            self._deadlines.remove(deadline)

    def watch(self, seconds: float) -> None:
        """From now on a silence of so many seconds breaks the connection; somebody must ask in between."""
        self._heard = time.monotonic()
        self._silence = seconds

    def recv(self, size: int) -> bytes:
        try:
            data = self._stream.recv(size)
        except TimeoutError as exc:
            if exc.errno is not None:  # not our poll: the kernel has given the connection up
                raise self._broken(f"the network gave up: {exc.strerror}") from exc
            self._judge()
            raise
        except OSError as exc:
            raise self._broken(exc.strerror or str(exc)) from exc
        self._heard = time.monotonic()
        if not data:
            self.fate = self.fate or "it closed the connection"
        if len(self.first) < FIRST_BYTES:
            self.first += data[: FIRST_BYTES - len(self.first)]
        self._judge()
        return data

    def send(self, data: bytes) -> int:
        try:
            return self._stream.send(data)
        except TimeoutError:
            self._judge()
            raise
        except OSError as exc:
            raise self._broken(exc.strerror or str(exc)) from exc

    def settimeout(self, seconds: float | None) -> None:
        """Nothing: see POLL_SECONDS."""

    def close(self) -> None:
        """Both directions end at once, and whoever waits on one wakes up. The library calls it again."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        # EOFError: a channel says good-bye over a connection that is gone already.
        with contextlib.suppress(OSError, EOFError):
            if isinstance(self._stream, socket.socket):
                self._stream.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError, EOFError):
            self._stream.close()

    def _judge(self) -> None:
        now = time.monotonic()
        if now > min(self._deadlines, default=now):
            self.late = True
            raise self._broken("its time is up")
        if self._silence is not None and now - self._heard > self._silence:
            raise self._broken(f"it has answered nothing for {self._silence:g} s")

    def _broken(self, fate: str) -> OSError:
        self.fate = self.fate or fate
        # Not ETIMEDOUT: that would be a TimeoutError, which the library takes for its poll and tries again.
        return ConnectionAbortedError(errno.ECONNABORTED, self.fate)


def dial(host: str, port: int, deadline: float) -> socket.socket:
    """A connected socket; each of several addresses gets its share of the time. OSError of the last one."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failed: OSError | None = None
    for left, (family, kind, protocol, _name, address) in zip(range(len(found), 0, -1), found, strict=True):
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(max(0.01, (deadline - time.monotonic()) / left))
        try:
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as exc:
            connection.close()
            failed = exc
        else:
            return connection
    raise failed or OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
