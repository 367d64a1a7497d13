# SPDX-License-Identifier: GPL-3.0-or-later
"""WinRM as a way into a Windows guest: HTTPS, one shell, a PowerShell program at its other end. See base.py.

What is sent is WS-Management as MS-WSMV describes it, by pywinrm. It was tried against a server that was written for
tests: this code has not met a real Windows yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from ...errors import OpenNGTError
from ..fleet.target import WinrmLogin
from ._pywinrm import Listener, require
from .base import Ended
from .powershell import READY, as_input, bootstrap_command, readable
from .winrm_login import check
from .winrm_trust import context_for

__all__ = ["WinrmProgram", "WinrmTransport", "connect"]

CONNECT_SECONDS = 15.0
POLL_SECONDS = 20.0
"""How long one Receive waits in the guest; it is asked again as often as it takes."""
SEND_BYTES = 96 * 1024
"""Of standard input in one message: in base64 it stays below the smallest MaxEnvelopeSize there is, 150 KiB."""
MAX_LINE_BYTES = 1 << 20
STDERR_BYTES = 8192
KEPT_STDERR_BYTES = 64 * 1024
"""CLIXML says the same in more bytes."""

T = TypeVar("T")


def connect(login: WinrmLogin, *, seconds: float = CONNECT_SECONDS) -> WinrmTransport:
    """Log in and open the one shell. `seconds`: for a connection; the guest may take some more to answer.

    Refused before a byte is sent: plain HTTP (GUEST_LOGIN_UNSUPPORTED), a domain's user without Kerberos
    (DOMAIN_USER_UNSUPPORTED), a login that is not whole (INVALID_INPUT), LIBRARY_MISSING. The certificate is verified
    before anything of the login is sent: GUEST_CERTIFICATE_UNTRUSTED. Kerberos takes its ticket from the caller's cache
    (`kinit`), never the password. The others are those of base.py.
    """
    check(login)
    require(login.auth)
    listener = Listener(login, context_for(login, seconds), seconds)
    try:
        return WinrmTransport(listener, listener.open_shell())
    except OpenNGTError:
        listener.close()
        raise


class WinrmTransport:
    """One shell in one guest; a Transport."""

    def __init__(self, listener: Listener, shell: str) -> None:
        self._listener = listener
        self._shell = shell
        self._program: WinrmProgram | None = None
        self._closed = False

    def start(self, command: str, *, elevated: bool = True) -> WinrmProgram:
        """Run a line of cmd.exe. It has at most 8191 characters; for a script see `start_script`.

        `elevated` changes nothing: WinRM gives an administrator the whole token. Where Windows takes it away (a local
        account other than the built-in one, without LocalAccountTokenFilterPolicy), the script finds itself without it.
        """
        return self._start(command, None)

    def start_script(self, script: str, *, elevated: bool = True) -> WinrmProgram:
        """Run a PowerShell script of any length; what is said to the program is the script's standard input.

        It speaks as `powershell.py` says. The first `hear` raises SHELL_MISSING when PowerShell did not start.
        """
        program = self._start(bootstrap_command(), READY)
        program.say(as_input(script))
        return program

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._program is not None and not self._program.lost:
                self._program.release()
            if self._program is None or not self._program.lost:
                self._listener.delete(self._shell)
        except OpenNGTError:
            pass  # the guest ends a shell by itself that nobody speaks to
        finally:
            self._listener.close()

    def __enter__(self) -> WinrmTransport:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, command: str, ready: str | None) -> WinrmProgram:
        if self._program is not None:
            self._program.release()
        self._program = WinrmProgram(self._listener, self._shell, self._listener.run(self._shell, command), ready)
        return self._program


class WinrmProgram:
    """A program in the shell; a GuestProgram. It belongs to one thread at a time."""

    def __init__(self, listener: Listener, shell: str, command: str, ready: str | None) -> None:
        self._listener = listener
        self._shell = shell
        self._command = command
        self._ready = ready
        """The line that it must say first, which `hear` keeps to itself."""
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._exit_status: int | None = None
        self._released = False
        self.lost = False
        """The guest does not answer any more: nothing is left to be ended."""

    def say(self, data: bytes) -> None:
        """A program that has ended takes nothing more: what it said, and its end, tell why."""
        for start in range(0, len(data), SEND_BYTES):
            self._send(data[start : start + SEND_BYTES], end=False)

    def close_input(self) -> None:
        self._send(b"", end=True)

    def hear(self, seconds: float) -> bytes | None:
        deadline = time.monotonic() + seconds
        if self._ready is not None:
            self._await_ready(deadline)
        return self._line(deadline)

    def end(self, seconds: float) -> Ended:
        deadline = time.monotonic() + seconds
        while self._exit_status is None:
            self._stdout.clear()  # nobody reads it any more
            self._receive(deadline)
        text = readable(bytes(self._stderr).decode("utf-8", "replace"))
        return Ended(self._exit_status, text[-STDERR_BYTES:])

    def release(self) -> None:
        """End it if it still runs, and let the guest forget it."""
        if not self._released:
            self._released = True
            self._listener.terminate(self._shell, self._command)

    def _await_ready(self, deadline: float) -> None:
        line = self._line(deadline)
        if line == (self._ready or "").encode():
            self._ready = None
            return
        ended = self.end(max(0.0, deadline - time.monotonic()))
        details = {"exit_status": ended.exit_status, "stderr": ended.stderr}
        message = f"PowerShell did not start in the guest (exit status {ended.exit_status}): {ended.stderr[:500]}"
        raise OpenNGTError("SHELL_MISSING", message, details)

    def _line(self, deadline: float) -> bytes | None:
        while True:
            line, found, rest = self._stdout.partition(b"\n")
            if len(line) > MAX_LINE_BYTES:
                raise OpenNGTError(
                    "PROTOCOL_ERROR", f"the program in the guest says a line of over {MAX_LINE_BYTES} bytes"
                )
            if found or (self._exit_status is not None and line):
                self._stdout = rest
                return bytes(line).removesuffix(b"\r")
            if self._exit_status is not None:
                return None
            self._receive(deadline)

    def _receive(self, deadline: float) -> None:
        """Take in what it says next; GUEST_TIMED_OUT at the deadline."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise OpenNGTError("GUEST_TIMED_OUT", "the program in the guest says nothing more, and does not end")
        received = self._ask(lambda: self._listener.receive(self._shell, self._command, min(left, POLL_SECONDS)))
        if received is None:
            return
        self._stdout += received.stdout
        self._stderr += received.stderr
        del self._stderr[:-KEPT_STDERR_BYTES]
        self._exit_status = received.exit_status

    def _send(self, data: bytes, *, end: bool) -> None:
        try:
            self._ask(lambda: self._listener.send(self._shell, self._command, data, end=end))
        except OpenNGTError as exc:
            if exc.code != "GUEST_REFUSED":
                raise

    def _ask(self, message: Callable[[], T]) -> T:
        try:
            return message()
        except OpenNGTError as exc:
            self.lost = exc.code != "GUEST_REFUSED"
            raise
