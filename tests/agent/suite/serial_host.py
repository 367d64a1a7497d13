# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's end of a guest's port for the suite: a pseudo-terminal, frames by hand, real TLS over them.

It shares no code with the agent: golden frames and the page of the format are what both are held to.
"""

import binascii
import os
import pty
import select
import ssl
import struct
import time

from support import server_context

MAGIC = b"\xffNGT"
HELLO, ACK, DATA, RESET = 1, 2, 3, 4
NO_SESSION = b"\0" * 8


def frame_of(kind, session, sequence=0, payload=b""):
    header = struct.pack(">4sBBH8sI", MAGIC, 1, kind, len(payload), session, sequence)
    body = header + struct.pack(">I", binascii.crc32(header) & 0xFFFFFFFF) + payload
    return body + struct.pack(">I", binascii.crc32(body) & 0xFFFFFFFF)


class Port:
    """A port as the guest has it (`device`) and the host's end of it."""

    def __init__(self, case, paths, name="ttyS1"):
        # The guest's end stays open here too: a pseudo-terminal whose last user left tells its host of an error.
        self.host, self.guest = pty.openpty()
        case.addCleanup(os.close, self.guest)
        case.addCleanup(self.unplug)
        self.device = paths.at("dev", name)
        os.makedirs(paths.at("dev"), exist_ok=True)
        os.symlink(os.ttyname(self.guest), self.device)
        self.buffer = b""

    def unplug(self):
        if self.host is not None:
            os.close(self.host)
            self.host = None

    def write(self, data):
        while data:
            data = data[os.write(self.host, data) :]

    def read_some(self, seconds=20.0):
        """More bytes in `buffer`; AssertionError when none come in time."""
        ready, _, _ = select.select([self.host], [], [], seconds)
        assert ready, "nothing came over the port within {0} s".format(seconds)
        self.buffer += os.read(self.host, 65536)

    def next_frame(self, seconds=20.0):
        """(kind, session, sequence, payload) of the next frame; the agent writes nothing between frames."""
        while True:
            at = self.buffer.find(MAGIC)
            if at >= 0 and len(self.buffer) - at >= 24:
                _magic, _version, kind, length, session, sequence = struct.unpack_from(">4sBBH8sI", self.buffer, at)
                whole = self.buffer[at : at + 28 + length]
                if len(whole) == 28 + length:
                    self.buffer = self.buffer[at + 28 + length :]
                    payload = whole[24:-4]
                    assert whole == frame_of(kind, session, sequence, payload), whole
                    return kind, session, sequence, payload
            self.read_some(seconds)

    def hello(self, seconds=20.0):
        """The agent's half of the session in the next HELLO."""
        while True:
            kind, session, _sequence, _payload = self.next_frame(seconds)
            if kind == HELLO:
                return session[:4]

    def accept(self, ours=b"\x0a\x0b\x0c\x0d", certificate="server"):
        """Answer the next HELLO and shake hands; a TLS connection that looks like a socket.

        An agent that has given up meanwhile and calls anew is answered anew.
        """
        while True:
            session = self.hello() + ours
            self.write(frame_of(ACK, session))
            try:
                return PortSocket(self, session, certificate)
            except EOFError:
                continue

    def quiet(self, seconds):
        """Read and say nothing for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            ready, _, _ = select.select([self.host], [], [], max(0.0, end - time.monotonic()))
            if ready:
                os.read(self.host, 65536)


class PortSocket:
    def __init__(self, port, session, certificate="server"):
        self.port, self.session = port, session
        self.sent = self.received = 0
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = server_context(certificate).wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.over = False
        self._until_done(self.tls.do_handshake)

    def getpeercert(self):
        return self.tls.getpeercert()

    def sendall(self, data):
        self.tls.write(data)
        self.flush()

    def recv(self, count):
        if self.over:
            return b""
        try:
            return self._until_done(lambda: self.tls.read(count))
        except (ssl.SSLZeroReturnError, EOFError):
            return b""

    def close(self):
        if self.port.host is not None:
            self.port.write(frame_of(RESET, self.session))

    def flush(self):
        data = self.outgoing.read()
        for at in range(0, len(data), 4096):
            self.port.write(frame_of(DATA, self.session, self.sent, data[at : at + 4096]))
            self.sent += 1

    def _until_done(self, step):
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self.flush()
                self._receive()
                continue
            self.flush()
            return result

    def _receive(self):
        kind, session, sequence, payload = self.port.next_frame()
        if kind == RESET and session == self.session:
            self.over = True
            raise EOFError("the agent ended the session")
        if kind == HELLO and session[:4] != self.session[:4]:
            self.port.buffer = frame_of(HELLO, session) + self.port.buffer
            raise EOFError("the agent has begun anew")
        if kind == DATA and session == self.session:
            assert sequence == self.received, "a frame is missing"
            self.received += 1
            self.incoming.write(payload)
