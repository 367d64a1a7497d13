# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""TCP under the link."""

import errno
import os
import socket

from .errors import AgentError
from .waiter import WRITE, Waiter
from .wire import Wire, WireEnded

__all__ = ["SocketWire", "connect"]

CONNECT_SECONDS = 5.0
UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK)  # the second is what Windows says


class SocketWire(Wire):
    """A connected socket, which becomes the wire's."""

    transport = "tls"

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.peer = peer
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, data: bytes) -> int:
        return self._sock.send(data)

    def receive(self) -> bytes:
        data = self._sock.recv(self.most)
        if not data:
            raise WireEnded("closed by the service")
        return data

    def close(self) -> None:
        self._sock.close()


def connect(host: str, port: int, waiter: Waiter) -> SocketWire:
    """Connected, and never blocking; ENDPOINT_UNREACHABLE says why not. A stopped waiter ends the attempt."""
    try:
        addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except OSError as exc:
        raise AgentError("ENDPOINT_UNREACHABLE", "{0}: {1}".format(host, exc.strerror or exc)) from exc
    why = "no address"
    for family, kind, protocol, _name, address in addresses[:4]:
        try:
            sock = socket.socket(family, kind, protocol)  # a kernel without IPv6 has none of that family
        except OSError as exc:
            why = exc.strerror or str(exc)
            continue
        try:
            _finish_connect(sock, address, waiter)
        except OSError as exc:
            sock.close()
            why = exc.strerror or str(exc)
            continue
        return SocketWire(sock, "{0}:{1}".format(host, port))
    raise AgentError("ENDPOINT_UNREACHABLE", "{0} port {1}: {2}".format(host, port, why), {"host": host, "port": port})


def _finish_connect(sock: socket.socket, address: object, waiter: Waiter) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end = waiter.monotonic() + CONNECT_SECONDS
    status = sock.connect_ex(address)  # type: ignore[arg-type]  # as getaddrinfo gave it
    while status in UNDER_WAY:
        left = end - waiter.monotonic()
        if left <= 0 or waiter.stopping:
            raise OSError(errno.ETIMEDOUT, "no answer within {0:g} s".format(CONNECT_SECONDS))
        if waiter.wait(left, sock.fileno(), WRITE):
            status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if status:
        raise OSError(status, os.strerror(status))
