# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports where no good sshd answers: nobody, something else, or an SSH server that hangs in one phase."""

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import paramiko

from openngt.install.fleet.target import HostKeys, Secret, SshLogin

__all__ = ["HalfServer", "listener", "nobody"]

FOR_EVER = 600


def nobody(port: int) -> SshLogin:
    """A login at this port of this host, with no known hosts."""
    return SshLogin("127.0.0.1", port, password=Secret("of no use"), use_agent=False, host_keys=HostKeys(files=()))


@contextlib.contextmanager
def listener(say: bytes | None, *, keep: bool = True) -> Iterator[int]:
    """A port that says this to whoever connects, then keeps the connection or closes it. None: nobody is let in."""
    with socket.create_server(("127.0.0.1", 0), backlog=0 if say is None else 16) as server:
        port: int = server.getsockname()[1]
        held: list[socket.socket] = []
        if say is None:
            for _ in range(2):  # the queue is full then, and the kernel answers nobody any more
                held.append(socket.socket())
                held[-1].setblocking(False)
                held[-1].connect_ex(("127.0.0.1", port))
            yield port
        else:
            words = say

            def serve() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        each, _ = server.accept()
                        each.sendall(words)
                        held.append(each) if keep else each.close()

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            yield port
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
        for each in held:
            each.close()


class HalfServer(paramiko.ServerInterface):
    """An SSH server that hangs in one phase, and runs no command in any case."""

    def __init__(self, folder: Path, hangs: str) -> None:
        self._known_hosts = folder / "known_hosts"
        self._hangs = hangs
        self._key = paramiko.ECDSAKey.generate()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.close()

    def login(self) -> SshLogin:
        port = self._listener.getsockname()[1]
        self._known_hosts.write_text(f"[127.0.0.1]:{port} {self._key.get_name()} {self._key.get_base64()}\n")
        return dataclasses.replace(nobody(port), host_keys=HostKeys(files=(str(self._known_hosts),)))

    def check_auth_password(self, username: str, password: str) -> int:
        self._maybe_hang("auth")
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self._maybe_hang("exec")
        return False

    def _maybe_hang(self, phase: str) -> None:
        if self._hangs == phase:
            self._over.wait(FOR_EVER)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            transport = paramiko.Transport(connection)
            transport.add_server_key(self._key)
            transport.start_server(server=self)
            self._over.wait(FOR_EVER)
            transport.close()
