# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's serial port as QEMU has it, and the agent behind it: no code in common with agent or gateway."""

import asyncio
import itertools
import ssl
import struct
import zlib
from pathlib import Path
from typing import Any, Self, cast

from .agent_client import AgentClient

__all__ = ["ACK", "DATA", "HELLO", "NO_SESSION", "RESET", "GuestPort", "SerialAgent", "frame_of"]

HELLO, ACK, DATA, RESET = 1, 2, 3, 4
NO_SESSION = bytes(8)
MAGIC = b"\xffNGT"
HEADER = struct.Struct(">4sBBH8sII")

SerialFrame = tuple[int, bytes, int, bytes]


def frame_of(kind: int, session: bytes, sequence: int = 0, payload: bytes = b"") -> bytes:
    header = struct.pack(">4sBBH8sI", MAGIC, 1, kind, len(payload), session, sequence)
    body = header + struct.pack(">I", zlib.crc32(header)) + payload
    return body + struct.pack(">I", zlib.crc32(body))


class GuestPort:
    """`async with GuestPort(path) as port`: the VM is on. One client at a time, as QEMU."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attached = asyncio.Event()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._accept, self.path, limit=2**20)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """As when the VM is switched off: the file of the socket stays."""
        self._server.close()
        if self.attached.is_set():
            self._writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.attached.set()

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def drained(self) -> None:
        await self._writer.drain()

    async def frame(self) -> SerialFrame:
        """The next frame of the service, which writes nothing else. EOFError when it has let go of the port."""
        await self.attached.wait()
        try:
            head = await self._reader.readexactly(HEADER.size)
            magic, version, kind, length, session, sequence, _ = HEADER.unpack(head)
            rest = await self._reader.readexactly(length + 4)
        except (asyncio.IncompleteReadError, ConnectionError) as exc:
            raise EOFError("the service has let go of the port") from exc
        payload = rest[:-4]
        assert (magic, version) == (MAGIC, 1) and head + rest == frame_of(kind, session, sequence, payload), head + rest
        return kind, session, sequence, payload

    async def frame_of_kind(self, kind: int) -> SerialFrame:
        while True:
            frame = await self.frame()
            if frame[0] == kind:
                return frame

    async def call(self, half: bytes) -> bytes:
        """HELLO; the session that the service makes of it."""
        await self.attached.wait()
        self.write(frame_of(HELLO, half + bytes(4)))
        while True:
            _, session, _, _ = await self.frame_of_kind(ACK)
            if session[:4] == half:
                return session


class SerialAgent(AgentClient):
    """The agent's end of the link over a port."""

    port: GuestPort
    session: bytes
    pump: "asyncio.Task[None]"
    halves = itertools.count(1)

    @classmethod
    async def over(cls, port: GuestPort, context: ssl.SSLContext, service_name: str) -> Self:
        """TLS has begun, no more: a refusal shows when something is read."""
        session = await port.call(struct.pack(">I", next(cls.halves)))
        tls = _Tls(port, session, context, service_name)
        agent = cls(tls.plain, cast(asyncio.StreamWriter, tls))
        agent.port, agent.session = port, session
        agent.pump = asyncio.create_task(tls.run())
        return agent

    async def killed(self) -> None:
        """It says nothing more; the port is free for the next one."""
        self.pump.cancel()
        await asyncio.wait([self.pump])


class _Tls:
    """What AgentClient takes for a StreamWriter, and the reader beside it."""

    def __init__(self, port: GuestPort, session: bytes, context: ssl.SSLContext, service_name: str) -> None:
        self.plain = asyncio.StreamReader(limit=2**21)
        self._port, self._session = port, session
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=service_name)
        self._up = False
        self._unsent = b""
        self._sent = self._received = 0

    def write(self, data: bytes) -> None:
        self._unsent += data
        if self._up:
            self._tls.write(self._unsent)
            self._unsent = b""
            self._flush()

    async def run(self) -> None:
        try:
            while True:
                self._advance()
                kind, session, sequence, payload = await self._port.frame()
                if (session == self._session and kind == RESET) or session == NO_SESSION:
                    break
                if kind == DATA and session == self._session:
                    assert sequence == self._received
                    self._received += 1
                    self._incoming.write(payload)
        except (EOFError, ssl.SSLError):
            pass
        finally:
            self.plain.feed_eof()

    def _advance(self) -> None:
        try:
            if not self._up:
                self._tls.do_handshake()
                self._up = True
                self.write(b"") if self._unsent else None
            while data := self._tls.read(65536):
                self.plain.feed_data(data)
        except ssl.SSLWantReadError:
            pass
        finally:
            self._flush()

    def _flush(self) -> None:
        data: Any = self._outgoing.read()
        for start in range(0, len(data), 4096):
            self._port.write(frame_of(DATA, self._session, self._sent, data[start : start + 4096]))
            self._sent += 1
