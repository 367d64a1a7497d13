# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The loop between a protocol and what carries its bytes: waits, moves bytes, keeps every deadline, never blocks."""

import contextlib
from typing import Callable, List, Optional

from . import framing
from .protocol import MISSES, Closed, Event, LinkProtocol
from .waiter import READ, WRITE, Waiter

__all__ = ["Wire", "WireEnded", "drive"]

FLUSH_SECONDS = 1.0
WRITE_SECONDS = 5.0  # a write that makes no progress for so long is the end of the link


class WireEnded(Exception):  # noqa: N818 - most sessions end so
    """Nothing comes any more; the text says why."""


class Wire:
    """What a transport gives to `drive`. No method waits; OSError and WireEnded are the end."""

    transport = ""  # `serial` or `tls`
    peer = ""
    most = 64 * 1024  # bytes that `send` is offered at once
    most_message = framing.MOST_AFTER_HELLO
    misses = MISSES

    @property
    def busy(self) -> bool:
        """Does it still hold bytes that `send` has taken?"""
        return False

    def fileno(self) -> int:
        raise NotImplementedError

    def send(self, data: bytes) -> int:
        """How many of the bytes were taken; with none it writes what it holds. BlockingIOError: nothing goes now."""
        raise NotImplementedError

    def receive(self) -> bytes:
        """What came; may be nothing."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def drive(
    wire: Wire,
    protocol: LinkProtocol,
    waiter: Waiter,
    on_event: Callable[[Event], None],
    on_turn: Callable[[float], Optional[str]],
) -> Closed:
    """Run the session to its end and say how it ended; the wire is closed then.

    `on_event` acts on each event but the last, and answers operations. `on_turn`, called with the time whenever
    something may have changed, returns a reason to take leave, or None.
    """
    mover = _Mover(wire, protocol, waiter)
    with contextlib.closing(wire):
        while True:
            now = waiter.monotonic()
            end = _handle(protocol.tick(now), on_event) or _leave(protocol, on_turn(now))
            if end is None:
                end = _handle(mover.turn(), on_event)
            if end is not None:
                mover.flush()
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


class _Mover:
    """Moves bytes between a wire and a protocol."""

    def __init__(self, wire: Wire, protocol: LinkProtocol, waiter: Waiter) -> None:
        self._wire = wire
        self._protocol = protocol
        self._waiter = waiter
        self._stuck_at = float("inf")  # when waiting to write is given up

    def turn(self) -> List[Event]:
        """One turn of waiting, then what can be read or written."""
        protocol, wire = self._protocol, self._wire
        now = self._waiter.monotonic()
        if not self._wants_to_write():
            self._stuck_at = float("inf")
        elif self._stuck_at == float("inf"):
            self._stuck_at = now + WRITE_SECONDS
        elif now >= self._stuck_at:
            return protocol.lost("nothing that was sent was taken for {0:g} s".format(WRITE_SECONDS))
        interest = (READ if protocol.wants_to_read else 0) | (WRITE if self._wants_to_write() else 0)
        ready = self._waiter.wait(min(protocol.deadline, self._stuck_at) - now, wire.fileno(), interest)
        try:
            if ready & WRITE:
                self._write()
            data = wire.receive() if ready & READ else b""
        except BlockingIOError:
            return []
        except WireEnded as exc:
            return protocol.lost(str(exc))
        except OSError as exc:
            return protocol.lost(exc.strerror or str(exc))
        return protocol.receive(data, self._waiter.monotonic()) if data else []

    def flush(self) -> None:
        """Send what is left (a goodbye, a TLS alert) as far as the other end takes it at once."""
        end = self._waiter.monotonic() + FLUSH_SECONDS
        try:
            while self._wants_to_write() and self._waiter.monotonic() < end:
                if self._waiter.wait(end - self._waiter.monotonic(), self._wire.fileno(), WRITE):
                    with contextlib.suppress(BlockingIOError):
                        self._write()
        except OSError:
            return  # the other end is gone, and so is whom this was for

    def _wants_to_write(self) -> bool:
        return self._wire.busy or self._protocol.wants_to_write

    def _write(self) -> None:
        self._protocol.sent(self._wire.send(b"" if self._wire.busy else self._protocol.peek(self._wire.most)))
        self._stuck_at = float("inf")
