# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's end of one VM's serial port: finds frames in what the guest writes, and makes each of the agent's
sessions a connection like any other.

A guest can write anything, at any rate, or read nothing (threat T8): it costs a fixed share of CPU and memory, and its
own link.
"""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, Final, cast

from .connection import Connection, Hub, Line
from .limits import TokenBucket
from .serial_frames import HALF, MAXIMUM_PAYLOAD, NO_SESSION, Frame, FrameScanner, FrameType, encode
from .serial_records import RecordScanner

__all__ = ["SerialPort"]

# What a guest may make us read, on average. A COM2 under QEMU brings 0.8 MB a second, a virtio port 70.
BYTES_PER_SECOND: Final = 1024 * 1024
BURST_BYTES: Final = 256 * 1024
# Noise costs more to look at than frames, and many small frames more than few large ones.
SKIPPED_WEIGHT: Final = 8
FRAME_WEIGHT: Final = 256
# A guest has reason to call once a second, and to be told as often that a session is gone.
CALLS_PER_SECOND: Final = 2.0
CALLS_BURST: Final = 10.0
MOST_UNREAD: Final = 64 * 1024
"""Nothing but sessions is answered while so much waits for a guest that does not read."""

SEQUENCES: Final = 1 << 32


class SerialPort(asyncio.BufferedProtocol):
    """A protocol for the socket that is the host's end of the port; `lost` is called when that has closed.

    `buffer` bounds what is looked at in one turn of the loop. All ports may share one: it is read and emptied at once.
    """

    def __init__(
        self,
        hub: Hub,
        loop: asyncio.AbstractEventLoop,
        line: Line,
        lost: Callable[[], None],
        buffer: bytearray,
    ) -> None:
        self._buffer = buffer
        self._hub = hub
        self._loop = loop
        self._line = line
        self._lost = lost
        self._socket: asyncio.Transport
        self._scanner = FrameScanner()
        self._records = RecordScanner()
        self._budget = float(BURST_BYTES)
        self._budget_at = loop.time()
        self._calls = TokenBucket(CALLS_PER_SECOND, CALLS_BURST, loop.time())
        self._tellings = TokenBucket(CALLS_PER_SECOND, CALLS_BURST, loop.time())
        self._session: bytes | None = None
        self._received = 0
        self._channel: SessionTransport | None = None  # from the session's first DATA on
        self._pauses: set[str] = set()

    # The loop's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self._socket.set_write_buffer_limits(high=self._line.limits.socket_buffer_bytes)
        self._hub.metrics.serial_ports.inc()
        # An agent that waits, or thinks that it has a session with our predecessor, begins at once.
        self._write(Frame(FrameType.RESET, NO_SESSION))

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        skipped = self._scanner.skipped
        frames = self._scanner.feed(data)
        skipped = self._scanner.skipped - skipped
        if skipped:
            self._hub.metrics.serial_skipped.inc(skipped)
        self._spend(len(data) + SKIPPED_WEIGHT * skipped + FRAME_WEIGHT * len(frames))
        for record in self._records.feed(data):
            self._record(record)
        for frame in frames:
            if frame.kind is FrameType.DATA:
                self._data(frame)
            elif frame.kind is FrameType.HELLO:
                self._hello(frame)
            elif frame.kind is FrameType.RESET and frame.session == self._session:
                self._end_session()

    def eof_received(self) -> None:
        return None  # close: the other end is QEMU's, and it is gone

    def connection_lost(self, exc: Exception | None) -> None:
        self._hub.metrics.serial_ports.dec()
        self._end_session()
        self._lost()

    def pause_writing(self) -> None:
        if self._channel is not None:
            self._channel.connection.pause_writing()

    def resume_writing(self) -> None:
        if self._channel is not None:
            self._channel.connection.resume_writing()

    # The listener's side.

    def close(self) -> None:
        """Let go of the port once what was written last has left."""
        self._socket.close()

    # The session transport's side.

    @property
    def socket(self) -> asyncio.Transport:
        return self._socket

    def send(self, session: bytes, sequence: int, payload: bytes) -> None:
        self._write(Frame(FrameType.DATA, session, sequence, payload))

    def finished(self, session: bytes) -> None:
        """The connection has ended from our side: the agent is told."""
        if session == self._session:
            self._session = self._channel = None
            self._write(Frame(FrameType.RESET, session))

    def pause(self, why: str) -> None:
        self._pauses.add(why)
        if not self._socket.is_closing():
            self._socket.pause_reading()

    def resume(self, why: str) -> None:
        self._pauses.discard(why)
        if not self._pauses and not self._socket.is_closing():
            self._socket.resume_reading()

    # Inside.

    def _hello(self, frame: Frame) -> None:
        half = frame.session[:HALF]
        if self._hub.stopping:
            return  # agents that were told goodbye call again at once; the next service answers them
        if not self._calls.take(self._loop.time()) or self._socket.get_write_buffer_size() > MOST_UNREAD:
            return
        if self._session is not None and self._session[:HALF] == half:
            if self._channel is None:  # our ACK was lost; otherwise the HELLO is an old one that came late
                self._write(Frame(FrameType.ACK, self._session))
            return
        self._end_session()
        self._session = half + secrets.token_bytes(HALF)
        self._received = 0
        self._write(Frame(FrameType.ACK, self._session))

    def _record(self, record: dict[str, Any]) -> None:
        if self._tellings.take(self._loop.time()):
            self._hub.recorded(self._line.vm_uuid, record)

    def _data(self, frame: Frame) -> None:
        if frame.session != self._session:
            if self._calls.take(self._loop.time()) and self._socket.get_write_buffer_size() <= MOST_UNREAD:
                self._write(Frame(FrameType.RESET, frame.session))  # of a session that the agent believes in
            return
        if frame.sequence != self._received:
            self._end_session(tell=True)  # something is missing, and TLS cannot go on without it
            return
        self._received = (self._received + 1) % SEQUENCES
        if self._channel is None:
            if self._hub.stopping:
                return
            self._channel = SessionTransport(self, self._session, Connection(self._hub, self._loop, self._line))
            self._channel.connection.connection_made(self._channel)
        if self._channel is not None:  # a limit may have ended it at once
            self._channel.deliver(frame.payload)

    def _end_session(self, *, tell: bool = False) -> None:
        """The agent's side of it is over."""
        session, self._session = self._session, None
        channel, self._channel = self._channel, None
        if tell and session is not None:
            self._write(Frame(FrameType.RESET, session))
        if channel is not None:
            channel.drop()

    def _write(self, frame: Frame) -> None:
        if not self._socket.is_closing():
            self._socket.write(encode(frame))

    def _spend(self, amount: int) -> None:
        now = self._loop.time()
        earned = (now - self._budget_at) * BYTES_PER_SECOND
        self._budget = min(float(BURST_BYTES), self._budget + earned) - amount
        self._budget_at = now
        if self._budget < 0 and "rate" not in self._pauses:
            self.pause("rate")
            self._loop.call_later(-self._budget / BYTES_PER_SECOND, self.resume, "rate")


class SessionTransport(asyncio.Transport):
    """One session of the agent, as the transport of its connection."""

    def __init__(self, port: SerialPort, session: bytes, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self._port = port
        self._session = session
        self._sent = 0
        self._closing = False
        self._held: list[bytes] | None = None
        """What came while reading is paused; None while it is not."""

    def deliver(self, payload: bytes) -> None:
        if self._held is not None:
            self._held.append(payload)
        elif not self._closing:
            self.connection.data_received(payload)

    def drop(self) -> None:
        """There is nobody at the other end any more."""
        if not self._closing:
            self._close()

    def write(self, data: Any) -> None:
        if self._closing:
            return
        for start in range(0, len(data), MAXIMUM_PAYLOAD):
            self._port.send(self._session, self._sent, bytes(data[start : start + MAXIMUM_PAYLOAD]))
            self._sent = (self._sent + 1) % SEQUENCES

    def close(self) -> None:
        """What was written is sent before the end is."""
        if not self._closing:
            self._port.finished(self._session)
            self._close()

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        if self._held is None:
            self._held = []
            self._port.pause("session")

    def resume_reading(self) -> None:
        held, self._held = self._held, None
        self._port.resume("session")
        for payload in held or ():
            self.deliver(payload)

    def get_write_buffer_size(self) -> int:
        return self._port.socket.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._port.socket.set_write_buffer_limits(high=high, low=low)

    def _close(self) -> None:
        self._closing = True
        if self._held is not None:
            self.resume_reading()
        asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)
