# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller needs of a way into a guest: one connection, a program at its other end, a code for each failure.

A transport is one file beside this one. All of them raise OpenNGTError alone: GUEST_UNREACHABLE (no answer at all),
GUEST_REFUSED (the port is closed, or the guest takes no more connections), GUEST_LOGIN_FAILED, GUEST_LOGIN_UNSUPPORTED
(what was asked for is not safe, or not known here), HOST_KEY_UNKNOWN, HOST_KEY_CHANGED, GUEST_CERTIFICATE_UNTRUSTED,
SUDO_PASSWORD_NEEDED, SUDO_REFUSED, SHELL_MISSING, GUEST_TIMED_OUT (it was connected and does not answer in time) and
GUEST_CONNECTION_LOST (half-way).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Ended", "GuestProgram", "Transport"]


class Ended(NamedTuple):
    """The end of a program in the guest."""

    exit_status: int
    """128 + n when signal n ended it."""
    stderr: str
    """Its last 8 KiB, for people."""


class GuestProgram(Protocol):
    """A program that runs in the guest and is talked to in lines."""

    def say(self, data: bytes) -> None:
        """Write to its standard input, all of it. GUEST_TIMED_OUT when it takes none for long.

        A program that has ended reads no more; `hear` and `end` tell.
        """

    def close_input(self) -> None:
        """Its standard input ends."""

    def hear(self, seconds: float) -> bytes | None:
        """The next line of its standard output without the line's end; None after the last one.

        GUEST_TIMED_OUT when none comes within `seconds`. A line has at most 1 MiB: PROTOCOL_ERROR.
        """

    def end(self, seconds: float) -> Ended:
        """Wait for its end; lines that nobody heard are dropped. GUEST_TIMED_OUT."""


class Transport(Protocol):
    """One connection to one guest, made by the transport's own `connect`; also a context manager that closes it."""

    def start(self, command: str, *, elevated: bool = True) -> GuestProgram:
        """Run a command line of the guest's shell; `elevated`: as its administrator, in the way the login says.

        Returns when it has begun. A transport may carry several programs; one thread at a time talks to each.
        No secret belongs in `command`: the guest's process list shows it.
        """

    def close(self) -> None:
        """End the connection; what runs over it sees its input end. From any thread; never raises, never waits long."""

    def __enter__(self) -> Transport:
        """The connection itself."""

    def __exit__(self, *_: object) -> None:
        """Close it."""
