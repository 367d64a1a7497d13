# SPDX-License-Identifier: GPL-3.0-or-later
"""A network between two ends that can lose every packet and tell nobody, as a firewall that forgot the connection."""

import contextlib
import select
import socket
import threading
from types import TracebackType
from typing import Self

__all__ = ["Relay"]


class Relay:
    """`with Relay(port) as relay:` connect to `relay.port` instead. Runs in a thread of its own."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._peers: dict[socket.socket, socket.socket] = {}
        self._lost: set[socket.socket] = set()
        self._ending = False
        self._wake, self._woken = socket.socketpair()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._wake.send(b"!")
        self._thread.join()
        for each in (*self._peers, self._listener, self._wake, self._woken):
            each.close()

    def lose(self) -> None:
        """Nothing more comes through the connections that there are, either way, and neither end is told."""
        with self._lock:
            self._lost |= self._peers.keys()
        self._wake.send(b"!")

    def lose_one(self, address: tuple[str, int]) -> None:
        """The same for the connection that came from this address."""
        with self._lock:
            for near, far in self._peers.items():
                if near not in self._lost and _name(near) == address:
                    self._lost |= {near, far}
        self._wake.send(b"!")

    def _run(self) -> None:
        poller = select.poll()
        by_number: dict[int, socket.socket] = {}

        def watch(each: socket.socket) -> None:
            by_number[each.fileno()] = each
            poller.register(each, select.POLLIN)

        watch(self._listener)
        watch(self._woken)
        while not self._ending:
            for number, _ in poller.poll():
                each = by_number[number]
                if each is self._woken:
                    each.recv(64)
                    with self._lock:
                        for lost in self._lost:
                            with contextlib.suppress(KeyError, ValueError):
                                poller.unregister(lost)
                elif each is self._listener:
                    near, _address = each.accept()
                    far = socket.create_connection(self._target)
                    with self._lock:
                        self._peers[near], self._peers[far] = far, near
                    watch(near)
                    watch(far)
                elif not self._pass_on(each):
                    poller.unregister(each)

    def _pass_on(self, each: socket.socket) -> bool:
        """False: this end has said all that it has to say."""
        with self._lock:
            if each in self._lost:
                return True
            peer = self._peers[each]
        try:
            data = each.recv(65536)
            if data:
                peer.sendall(data)
            else:
                peer.shutdown(socket.SHUT_WR)
        except OSError:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            return False
        return bool(data)


def _name(each: socket.socket) -> tuple[str, int] | None:
    with contextlib.suppress(OSError):
        host, port = each.getpeername()
        return host, port
    return None
