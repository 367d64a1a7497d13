# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""TCP under the link: connects, moves bytes between socket and protocol, keeps every deadline."""

import contextlib
import errno
import os
import socket
from typing import Callable, List, Optional

from .errors import AgentError
from .protocol import Closed, Event, LinkProtocol
from .waiter import READ, WRITE, Waiter

__all__ = ["connect", "drive"]

CONNECT_SECONDS = 5.0
FLUSH_SECONDS = 1.0
PIECE = 64 * 1024


def connect(host: str, port: int, waiter: Waiter) -> socket.socket:
    """A connected, non-blocking socket; ENDPOINT_UNREACHABLE says why not. A stopped waiter ends the attempt."""
    try:
        addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except OSError as exc:
        raise AgentError("ENDPOINT_UNREACHABLE", "{0}: {1}".format(host, exc.strerror or exc)) from exc
    why = "no address"
    for family, kind, protocol, _name, address in addresses[:4]:
        sock = socket.socket(family, kind, protocol)
        try:
            _finish_connect(sock, address, waiter)
        except OSError as exc:
            sock.close()
            why = exc.strerror or str(exc)
            continue
        return sock
    raise AgentError("ENDPOINT_UNREACHABLE", "{0} port {1}: {2}".format(host, port, why), {"host": host, "port": port})


def _finish_connect(sock: socket.socket, address: object, waiter: Waiter) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end = waiter.monotonic() + CONNECT_SECONDS
    status = sock.connect_ex(address)  # type: ignore[arg-type]  # as getaddrinfo gave it
    while status == errno.EINPROGRESS:
        left = end - waiter.monotonic()
        if left <= 0 or waiter.stopping:
            raise OSError(errno.ETIMEDOUT, "no answer within {0:g} s".format(CONNECT_SECONDS))
        if waiter.wait(left, sock.fileno(), WRITE):
            status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if status:
        raise OSError(status, os.strerror(status))


def drive(
    sock: socket.socket,
    protocol: LinkProtocol,
    waiter: Waiter,
    on_event: Callable[[Event], None],
    on_turn: Callable[[float], Optional[str]],
) -> Closed:
    """Run the session to its end and say how it ended; the socket is closed then.

    `on_event` acts on each event but the last, and answers operations. `on_turn`, called with the time whenever
    something may have changed, returns a reason to take leave, or None.
    """
    with contextlib.closing(sock):
        while True:
            now = waiter.monotonic()
            end = _handle(protocol.tick(now), on_event) or _leave(protocol, on_turn(now))
            if end is None:
                end = _handle(_move(sock, protocol, waiter), on_event)
            if end is not None:
                _flush(sock, protocol, waiter)
                return end


def _handle(events: List[Event], on_event: Callable[[Event], None]) -> Optional[Closed]:
    for event in events:
        if isinstance(event, Closed):
            return event
        on_event(event)
    return None


def _leave(protocol: LinkProtocol, reason: Optional[str]) -> Optional[Closed]:
    if reason is None:
        return None
    protocol.goodbye(reason)
    return Closed(None, reason)


def _move(sock: socket.socket, protocol: LinkProtocol, waiter: Waiter) -> List[Event]:
    """One turn of waiting, then what can be read or written."""
    interest = (READ if protocol.wants_to_read else 0) | (WRITE if protocol.wants_to_write else 0)
    ready = waiter.wait(protocol.deadline - waiter.monotonic(), sock.fileno(), interest)
    try:
        if ready & WRITE:
            protocol.sent(sock.send(protocol.peek(PIECE)))
        if not ready & READ:
            return []
        data = sock.recv(PIECE)
    except BlockingIOError:
        return []
    except OSError as exc:
        return protocol.lost(exc.strerror or str(exc))
    return protocol.receive(data, waiter.monotonic()) if data else protocol.lost()


def _flush(sock: socket.socket, protocol: LinkProtocol, waiter: Waiter) -> None:
    """Send what is left (a goodbye, a TLS alert) as far as the other end takes it at once."""
    end = waiter.monotonic() + FLUSH_SECONDS
    try:
        while protocol.wants_to_write and waiter.monotonic() < end:
            if waiter.wait(end - waiter.monotonic(), sock.fileno(), WRITE):
                protocol.sent(sock.send(protocol.peek(PIECE)))
    except OSError:
        return  # the other end is gone, and so is whom this was for
