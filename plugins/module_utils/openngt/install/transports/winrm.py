# SPDX-License-Identifier: GPL-3.0-or-later
"""WinRM as a way into a Windows guest: HTTPS, one shell, a PowerShell program at its other end. See base.py.

What is sent is WS-Management as MS-WSMV describes it, by pywinrm. It was tried against a server that was written for
tests: this code has not met a real Windows yet.
"""

from __future__ import annotations

import contextlib
import time

from ...errors import OpenNGTError
from ..fleet.target import WinrmLogin
from ._pywinrm import Listener, require
from .base import Ended
from .lines import TAIL_BYTES, Lines, printable
from .powershell import READY, as_input, bootstrap_command, readable
from .winrm_login import check
from .winrm_trust import context_for

__all__ = ["WinrmProgram", "WinrmTransport", "connect"]

CONNECT_SECONDS = 15.0
POLL_SECONDS = 20.0
"""How long one Receive waits in the guest; it is asked again as often as it takes."""
SEND_BYTES = 96 * 1024
"""Of standard input in one message: in base64 it stays below the smallest MaxEnvelopeSize there is, 150 KiB."""
STDERR_BYTES = 64 * 1024
"""Kept of it: CLIXML says in these what a person reads in TAIL_BYTES."""


def connect(login: WinrmLogin, *, seconds: float = CONNECT_SECONDS) -> WinrmTransport:
    """Log in and open the one shell. `seconds`: for a connection; the guest may take some more to answer.

    Refused before a byte is sent: plain HTTP (GUEST_LOGIN_UNSUPPORTED), a domain's user without Kerberos
    (DOMAIN_USER_UNSUPPORTED), a login that is not whole (INVALID_INPUT), LIBRARY_MISSING. The certificate is verified
    before anything of the login is sent: GUEST_CERTIFICATE_UNTRUSTED. Kerberos gets a ticket for the password, by kinit
    and in a cache of its own, or without one takes the caller's: KERBEROS_TICKET_MISSING, KERBEROS_REALM_UNREACHABLE,
    KERBEROS_HOST_UNKNOWN, KERBEROS_CLOCK_SKEW. The others are those of base.py.
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
        self._programs: list[WinrmProgram] = []
        """Those that the guest still keeps something for."""
        self._closed = False

    def start(self, command: str, *, elevated: bool = True) -> WinrmProgram:
        """Run a line of cmd.exe. It has at most 8191 characters; for a script see `start_script`.

        `elevated` changes nothing: WinRM gives an administrator the whole token. Where Windows takes it away (a local
        account other than the built-in one, without LocalAccountTokenFilterPolicy), the script finds itself without it.
        """
        for ended in [program for program in self._programs if program.has_ended]:
            ended.release()
            self._programs.remove(ended)
        ready = READY if command == bootstrap_command() else None
        program = WinrmProgram(self._listener, self._shell, self._listener.run(self._shell, command), ready)
        self._programs.append(program)
        return program

    def start_script(self, script: str, *, elevated: bool = True) -> WinrmProgram:
        """Run a PowerShell script of any length; what is said to the program is the script's standard input.

        It speaks as `powershell.py` says. The first `hear` raises SHELL_MISSING when PowerShell did not start. The
        same as starting `bootstrap_command()` and saying `as_input(script)`.
        """
        program = self.start(bootstrap_command(), elevated=elevated)
        program.say(as_input(script))
        return program

    def close(self) -> None:
        """Ends what still runs: unlike a program over SSH, it is not left to see its input end."""
        if self._closed:
            return
        self._closed = True
        # What does not come about here, the guest does by itself: it ends a shell that nobody speaks to.
        with contextlib.suppress(OpenNGTError):
            for program in self._programs:
                # To a guest that may be gone, each further word would wait for its time limit.
                if not program.has_ended and not self._listener.lost:
                    program.release()
        with contextlib.suppress(OpenNGTError):
            self._listener.delete(self._shell)
        self._listener.close()

    def __enter__(self) -> WinrmTransport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class WinrmProgram:
    """A program in the shell; a GuestProgram. One thread talks to it."""

    def __init__(self, listener: Listener, shell: str, command: str, ready: str | None) -> None:
        self._listener = listener
        self._shell = shell
        self._command = command
        self._ready = ready
        """The line that it must say first, which `hear` keeps to itself."""
        self._lines = Lines()
        self._stderr = bytearray()
        self._exit_status: int | None = None

    @property
    def has_ended(self) -> bool:
        return self._exit_status is not None

    def say(self, data: bytes) -> None:
        for start in range(0, len(data), SEND_BYTES):
            self._send(data[start : start + SEND_BYTES], end=False)

    def close_input(self) -> None:
        self._send(b"", end=True)

    def hear(self, seconds: float) -> bytes | None:
        deadline = time.monotonic() + seconds
        if self._ready is not None:
            self._await_ready(self._ready, deadline)
        return self._line(deadline)

    def end(self, seconds: float) -> Ended:
        deadline = time.monotonic() + seconds
        while self._exit_status is None:
            self._receive(deadline)
            self._lines.drop()
        text = printable(readable(bytes(self._stderr).decode("utf-8", "replace")).encode())
        return Ended(self._exit_status, text[-TAIL_BYTES:])

    def release(self) -> None:
        """End it if it still runs, and let the guest forget it."""
        self._listener.terminate(self._shell, self._command)

    def _await_ready(self, ready: str, deadline: float) -> None:
        if self._line(deadline) == ready.encode():
            self._ready = None
            return
        ended = self.end(max(0.0, deadline - time.monotonic()))
        details = {"exit_status": ended.exit_status, "stderr": ended.stderr}
        message = f"PowerShell did not start in the guest (exit status {ended.exit_status}): {ended.stderr[:500]}"
        raise OpenNGTError("SHELL_MISSING", message, details)

    def _line(self, deadline: float) -> bytes | None:
        while (line := self._lines.take()) is None:
            if self._exit_status is not None:
                return None
            self._receive(deadline)
        return line.removesuffix(b"\r")

    def _receive(self, deadline: float) -> None:
        """Take in what it says next; GUEST_TIMED_OUT at the deadline."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise OpenNGTError("GUEST_TIMED_OUT", "the program in the guest says nothing more, and does not end")
        received = self._listener.receive(self._shell, self._command, min(left, POLL_SECONDS))
        if received is None:
            return
        self._lines.feed(received.stdout)
        self._stderr += received.stderr
        del self._stderr[:-STDERR_BYTES]
        self._exit_status = received.exit_status
        if self._exit_status is not None:
            self._lines.end()

    def _send(self, data: bytes, *, end: bool) -> None:
        try:
            self._listener.send(self._shell, self._command, data, end=end)
        except OpenNGTError as exc:
            if exc.code != "GUEST_REFUSED":  # it has ended and takes no more, which `hear` and `end` tell
                raise
