# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's console on its first serial port, as a person uses it: log in, type a command, read what it says."""

import contextlib
import re
import secrets
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from openngt.errors import OpenNGTError

__all__ = ["Console"]

PROMPT_SECONDS = 120.0
COMMAND_SECONDS = 600.0
NUDGE_SECONDS = 5.0
# What a terminal is told beside the text: colours, bracketed paste, titles.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\r")


class Console:
    """`with Console(socket) as console`: one user at a time, as the port. GUEST_UNREACHABLE when it is silent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._seen = ""

    def __enter__(self) -> Self:
        try:
            self._socket.connect(str(self._path))
        except OSError as exc:
            self._socket.close()
            raise OpenNGTError("GUEST_UNREACHABLE", f"no console at {self._path}: {exc.strerror}") from exc
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._type("\x03\nexit")  # no shell is left behind for the next user
        self._socket.close()

    def log_in(self, user: str, password: str) -> None:
        """A shell of root by way of a sudoer. GUEST_UNREACHABLE when the guest takes user or password not."""
        self._until(r"login: $", nudge="\n")
        self._type(user)
        self._until(r"[Pp]assword: $")
        self._type(password)
        if "incorrect" in self._until(r"[$#] $|incorrect"):
            raise OpenNGTError("GUEST_UNREACHABLE", f"{self._path}: the guest does not take the password of {user}")
        # Words are put together by the shell, so that the echo of what is typed is not taken for the answer.
        self._type("exec sudo -p 'sudo ''asks: ' sh")
        self._until(r"sudo asks: $")
        self._type(password)
        self._until(r"# $")
        self._type("stty -echo; PS1=; PS2=; echo no''echo")
        self._until(r"noecho\n")

    def run(self, command: str, seconds: float = COMMAND_SECONDS) -> tuple[int, str]:
        """One shell command line; its exit status and what it said, both outputs together."""
        mark = secrets.token_hex(8)
        self._type(f"({command}) 2>&1 </dev/null; echo {mark} $?")
        said = self._until(rf"{mark} \d+\n", seconds)
        text, _, status = said.partition(mark)
        return int(status), text.strip()

    def _type(self, line: str) -> None:
        self._seen = ""
        self._socket.sendall(line.encode() + b"\n")

    def _until(self, pattern: str, seconds: float = PROMPT_SECONDS, nudge: str | None = None) -> str:
        """What was said until the pattern stands there."""
        end = time.monotonic() + seconds
        nudged = time.monotonic()
        while not re.search(pattern, self._seen):
            now = time.monotonic()
            if now >= end:
                last = self._seen[-200:]
                raise OpenNGTError("GUEST_UNREACHABLE", f"{self._path}: the console says {last!r}, not {pattern!r}")
            if nudge is not None and now - nudged > NUDGE_SECONDS:
                nudged = now
                self._socket.sendall(nudge.encode())
            self._socket.settimeout(1.0)
            with contextlib.suppress(TimeoutError):
                data = self._socket.recv(65536)
                if not data:
                    raise OpenNGTError("GUEST_UNREACHABLE", f"{self._path}: the VM has ended")
                self._seen += CONTROL.sub("", data.decode("utf-8", "replace"))
        return self._seen
