# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The serial port under the link: calls the service, moves frames, asks beside another link whether it answers."""

import contextlib
import random
from typing import Callable, Optional

from .errors import AgentError
from .serial_frames import MOST_PAYLOAD, AgentEnd, Ended
from .system import Port
from .waiter import READ, WRITE, Waiter
from .wire import Wire, WireEnded

__all__ = ["MOST_MESSAGE", "Probe", "SerialWire", "call"]

MOST_MESSAGE = 64 * 1024  # at 80 KB/s, which is what QEMU's COM2 brings down, less than a second
PIECE = 4096
HELLO_SECONDS = 1.0
SILENT_SECONDS = 3.0
PROBE_SECONDS = 3.0


class SerialWire(Wire):
    """A session on a port; the port becomes the wire's."""

    transport = "serial"
    most = MOST_PAYLOAD
    most_message = MOST_MESSAGE
    # The second one is missed half an interval after it was due, as the service counts: with the heartbeat that was
    # answered last and the way to the network after it, a dead port costs less than ten seconds.
    misses = 1.5

    def __init__(self, port: Port, end: AgentEnd) -> None:
        self.peer = port.device
        self._port = port
        self._end = end
        self._held = b""  # of the one frame that was begun

    @property
    def busy(self) -> bool:
        return bool(self._held)

    def fileno(self) -> int:
        return self._port.fileno()

    def send(self, data: bytes) -> int:
        """One frame at a time, so that whatever is urgent comes next."""
        if not self._held and data:
            self._held = self._end.data(data)
        else:
            data = b""
        # The frame is taken, even where nothing of it goes now: its sequence number is given.
        if self._held:
            with contextlib.suppress(BlockingIOError):
                self._held = self._held[self._port.write(self._held) :]
        return len(data)

    def receive(self) -> bytes:
        try:
            return b"".join(self._end.receive(self._port.read(PIECE)))
        except Ended as exc:
            raise WireEnded(str(exc)) from exc

    def close(self) -> None:
        """The service is told, so that it need not find out by waiting."""
        with contextlib.suppress(OSError):
            if not self._held:
                self._port.write(self._end.reset())
        self._port.close()


def call(port: Port, waiter: Waiter) -> SerialWire:
    """Say HELLO each second until the service answers; SERIAL_PORT_SILENT when it does not. The port is closed then."""
    caller = _Caller(port)
    give_up = waiter.monotonic() + SILENT_SECONDS
    next_hello = 0.0
    try:
        while True:
            now = waiter.monotonic()
            if now >= give_up or waiter.stopping:
                raise AgentError("SERIAL_PORT_SILENT", caller.silence(SILENT_SECONDS))
            if now >= next_hello:
                caller.say_hello()
                next_hello = now + HELLO_SECONDS * random.uniform(0.7, 1.3)  # noqa: S311 - no secret
            interest = READ | (WRITE if caller.held else 0)
            ready = waiter.wait(min(next_hello, give_up) - now, port.fileno(), interest)
            if ready & WRITE:
                caller.write()
            if ready & READ and caller.read():
                return SerialWire(port, caller.end)
            if caller.end.attached:  # the service has just come: it did not hear us
                caller.end.attached = False
                next_hello = 0.0
    except OSError as exc:
        port.close()
        raise AgentError("SERIAL_PORT_SILENT", "{0}: {1}".format(port.device, exc.strerror or exc)) from exc
    except AgentError:
        port.close()
        raise


class _Caller:
    """HELLO out, ACK in."""

    def __init__(self, port: Port) -> None:
        self.end = AgentEnd()
        self.held = b""
        self._port = port
        self._heard = 0

    def say_hello(self) -> None:
        if not self.held:  # else the port did not take the last one
            self.held = self.end.hello()

    def write(self) -> None:
        if self.held:
            with contextlib.suppress(BlockingIOError):
                self.held = self.held[self._port.write(self.held) :]

    def read(self) -> bool:
        """Has the service answered?"""
        data = self._port.read(PIECE)
        self._heard += len(data)
        try:
            self.end.receive(data)
        except Ended:  # answered and ended at once: called again
            self.end = AgentEnd()
        return self.end.session is not None

    def silence(self, seconds: float) -> str:
        text = "{0}: no answer within {1:g} s".format(self._port.device, seconds)
        return text + (", but {0} bytes that are none".format(self._heard) if self._heard else "")


class Probe:
    """Asks beside a link over the network whether the service answers on the port; a little at each turn.

    `turn` says True for an answer, False when there was none or no port, None when there is nothing new. `failure` is
    what was wrong the last time.
    """

    def __init__(self, open_port: Callable[[], Port]) -> None:
        self.failure: Optional[AgentError] = None
        self.device: Optional[str] = None
        self._open_port = open_port
        self._port: Optional[Port] = None
        self._caller: Optional[_Caller] = None  # of the question that is not answered
        self._next = 0.0

    def turn(self, now: float) -> Optional[bool]:
        try:
            return self._turn(now)
        except AgentError as exc:
            self.failure = exc
        except OSError as exc:
            self.failure = AgentError("SERIAL_PORT_SILENT", "{0}: {1}".format(self.device, exc.strerror or exc))
        self.close()
        self._next = now + PROBE_SECONDS
        return False

    def close(self) -> None:
        if self._port is not None:
            self._port.close()
        self._port = self._caller = None

    def _turn(self, now: float) -> Optional[bool]:
        port, caller = self._port, self._caller
        if port is not None and caller is not None:
            caller.write()
            for _piece in range(16):
                if caller.read():
                    self._caller = self.failure = None
                    return True
        elif port is not None:
            port.read(PIECE)  # nobody waits for it
        if now < self._next:
            return None
        if caller is not None:
            raise AgentError("SERIAL_PORT_SILENT", caller.silence(PROBE_SECONDS))
        if port is None:
            port = self._port = self._open_port()
            self.device = port.device
        self._next = now + PROBE_SECONDS
        self._caller = _Caller(port)
        self._caller.say_hello()
        self._caller.write()
        return None
