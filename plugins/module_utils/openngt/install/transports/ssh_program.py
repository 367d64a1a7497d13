# SPDX-License-Identifier: GPL-3.0-or-later
"""A program at the other end of an SSH channel, talked to in lines."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Protocol

from ...errors import OpenNGTError
from ..fleet.target import Become
from . import ssh_elevation
from .base import Ended
from .lines import Lines, Tail

__all__ = ["Channel", "Guard", "SshProgram"]

NOISE_BYTES = 1 << 20
"""What rc files may print before the program begins."""
CHUNK_BYTES = 1 << 15
HELD_BYTES = 4 << 20
"""So much output is kept while the guest takes no input; after that it is the guest's turn."""
SEND_SECONDS = 0.2
EXIT_STATUS_SECONDS = 2.0


class Buffer(Protocol):
    def set_event(self, event: threading.Event, /) -> None:
        """Have it set whenever there is something to read, and at the end."""


class Channel(Protocol):
    """What is used of paramiko's."""

    exit_status: int
    eof_received: int
    closed: bool

    @property
    def in_buffer(self) -> Buffer:
        """Of what the program prints."""

    @property
    def in_stderr_buffer(self) -> Buffer:
        """Of its standard error."""

    @property
    def status_event(self) -> threading.Event:
        """Set when `exit_status` holds."""

    def recv(self, size: int, /) -> bytes:
        """At most so much output; empty at its end."""

    def recv_ready(self) -> bool:
        """Whether `recv` would not wait."""

    def recv_stderr(self, size: int, /) -> bytes:
        """As `recv`, of standard error."""

    def recv_stderr_ready(self) -> bool:
        """Whether `recv_stderr` would not wait."""

    def send(self, data: bytes, /) -> int:
        """How many bytes the guest has taken."""

    def settimeout(self, seconds: float | None, /) -> None:
        """For each call from now on; None waits for ever."""

    def shutdown_write(self) -> None:
        """End the program's input."""

    def close(self) -> None:
        """Give the channel up; the connection stays."""


class Guard(Protocol):
    """A limit on what is done to the connection meanwhile; its failures become OpenNGTError."""

    def __call__(self, what: str, seconds: float, /) -> contextlib.AbstractContextManager[None]:
        """`what` is done meanwhile, for its name in the failure."""


class Bell(threading.Event):
    """Rings when either stream has something to read or has ended.

    The library clears an event when one of its buffers is empty, which would hide that the other is not.
    """

    def clear(self) -> None:
        pass

    def hush(self) -> None:
        super().clear()


class SshProgram:
    """A GuestProgram. One thread talks to it; closing its transport from another ends every wait."""

    def __init__(
        self, channel: Channel, *, guard: Guard, fail: ssh_elevation.Fail, user: str, answer_seconds: float
    ) -> None:
        self._channel = channel
        self._guard = guard
        self._fail = fail
        self._user = user
        self._patience = answer_seconds
        self._lines = Lines()
        self._errors = Tail()
        self._bell = Bell()
        channel.in_buffer.set_event(self._bell)
        channel.in_stderr_buffer.set_event(self._bell)
        channel.settimeout(SEND_SECONDS)

    def say(self, data: bytes) -> None:
        """Also takes what the guest prints meanwhile, or both would wait for each other. GUEST_TIMED_OUT.

        A program that has ended reads no more, which `hear` and `end` tell.
        """
        rest = memoryview(data)
        deadline = time.monotonic() + self._patience
        while rest and not self._channel.closed:
            sent = self._send(bytes(rest[:CHUNK_BYTES]))
            rest = rest[sent:]
            if sent:
                deadline = time.monotonic() + self._patience
            elif time.monotonic() > deadline:
                raise self._timed_out("takes no input", self._patience)
            if len(self._lines) < HELD_BYTES:
                self._pump()

    def _send(self, chunk: bytes) -> int:
        with self._guard("takes no input", self._patience):
            try:
                return self._channel.send(chunk)
            except TimeoutError:
                return 0
            except OSError:
                if self._channel.closed:  # meanwhile
                    return 0
                raise

    def close_input(self) -> None:
        if self._channel.closed:
            return
        with self._guard("takes no input", self._patience):
            self._channel.shutdown_write()

    def hear(self, seconds: float) -> bytes | None:
        deadline = time.monotonic() + seconds
        while True:
            line = self._lines.take()  # before the pump: what is not heard yet fills the window, not the memory
            if line is not None:
                return line
            self._bell.hush()
            if self._ended():
                self._lines.end()
                if len(self._lines):
                    continue
                self._check_whole()
                return None
            self._pump()
            self._wait(deadline, f"prints nothing for {seconds:g} s", seconds)

    def end(self, seconds: float) -> Ended:
        """What it still prints is dropped."""
        deadline = time.monotonic() + seconds
        while True:
            self._bell.hush()
            ended = self._ended()
            self._pump()
            self._lines.drop()
            if ended:
                break
            self._wait(deadline, f"does not end within {seconds:g} s", seconds)
        # No event rings for the status alone, and after the end of its output there is nothing more to read.
        if not self._channel.status_event.wait(max(0.0, deadline - time.monotonic())):
            raise self._timed_out(f"does not end within {seconds:g} s", seconds)
        self._check_whole()
        return Ended(self._channel.exit_status, self._errors.text())

    def begin(self, script: bytes, marks: ssh_elevation.Marks, become: Become | None) -> None:
        """Lead it from the login shell to its first own word; see ssh_elevation.py. Its codes, and GUEST_TIMED_OUT."""
        try:
            self._begin(script, marks, become)
        except OpenNGTError:
            with contextlib.suppress(OpenNGTError), self._guard("does not end", self._patience):
                self._channel.close()  # or sudo would wait for its password as long as the connection lasts
            raise

    def _begin(self, script: bytes, marks: ssh_elevation.Marks, become: Become | None) -> None:
        self.say(script)
        deadline = time.monotonic() + self._patience
        reached = answered = False
        while True:
            self._bell.hush()
            ended = self._ended()
            self._pump()
            reached = reached or self._lines.skip_past(marks.reached)
            if reached and self._lines.skip_past(marks.ready):
                return
            if ended:
                raise self._refusal(reached, become, answered)
            if len(self._lines) > NOISE_BYTES:
                raise self._fail(
                    "SHELL_MISSING", f"prints over {NOISE_BYTES} bytes before a command of {self._user} runs"
                )
            if self._errors.take_out(marks.prompt):
                self._answer(become, answered)
                answered = True
            waits_for = "sudo" if reached else "its login shell"
            self._wait(deadline, f"{waits_for} does not answer within {self._patience:g} s", self._patience)

    def _answer(self, become: Become | None, answered: bool) -> None:
        if answered or become is None or become.password is None:
            said = {"said": self._errors.text()}
            raise self._fail("SUDO_REFUSED", f"refuses sudo to {self._user}: the password is wrong", said)
        self.say(become.password.reveal().encode() + b"\n")

    def _refusal(self, reached: bool, become: Become | None, answered: bool) -> OpenNGTError:
        self._channel.status_event.wait(EXIT_STATUS_SECONDS)
        if not reached and not self._channel.eof_received and self._channel.exit_status < 0:
            return self._fail("GUEST_CONNECTION_LOST", "went away before its shell answered")
        said = f"{self._lines.text()}\n{self._errors.text()}".strip()
        return ssh_elevation.refusal(
            self._fail,
            self._user,
            reached=reached,
            elevating=become is not None and become.method == "sudo",
            answered=answered,
            status=self._channel.exit_status,
            said=said,
        )

    def _pump(self) -> None:
        """Take what is there, without waiting."""
        if self._channel.recv_stderr_ready():
            self._errors.feed(self._channel.recv_stderr(CHUNK_BYTES))
            self._bell.set()  # there may be more, or the end may have come before it was taken: look again
        if self._channel.recv_ready():
            self._lines.feed(self._channel.recv(CHUNK_BYTES))
            self._bell.set()

    def _ended(self) -> bool:
        """Nothing more comes on either stream, or all of it is here already."""
        over = bool(self._channel.eof_received) or self._channel.closed
        return over and not self._channel.recv_ready() and not self._channel.recv_stderr_ready()

    def _check_whole(self) -> None:
        """An end without an exit status is none: sshd, the shell or the connection went away."""
        if self._channel.closed and self._channel.exit_status < 0:
            with self._guard("ended without an exit status", 0):
                raise OSError("it was killed, or the guest restarts")

    def _wait(self, deadline: float, what: str, seconds: float) -> None:
        if not self._bell.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
            raise self._timed_out(what, seconds)

    def _timed_out(self, what: str, seconds: float) -> OpenNGTError:
        return self._fail("GUEST_TIMED_OUT", what, {"seconds": seconds, "stderr": self._errors.text()})
