# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Frames of the serial link (ARCHITECTURE.md, section 4): how bytes of TLS survive a port that loses and garbles some.

A serial port has no beginning and no end: whoever opens it may find the middle of something, the kernel's messages, or
nothing. So each frame is found by its magic and believed by its checksums, the one over the header before its length.
"""

import binascii
import os
import struct
from typing import Callable, List, NamedTuple, Optional, Tuple

__all__ = [
    "ACK",
    "DATA",
    "HELLO",
    "MOST_PAYLOAD",
    "NO_SESSION",
    "RESET",
    "AgentEnd",
    "Ended",
    "Frame",
    "FrameScanner",
    "encode",
]

HELLO, ACK, DATA, RESET = 1, 2, 3, 4
MOST_PAYLOAD = 4096
NO_SESSION = b"\0" * 8
HALF = 4  # bytes of a session id that each end chooses

MAGIC = b"\xffNGT"
VERSION = 1
_HEADER = struct.Struct(">4sBBH8sI")  # magic, version, type, length of the payload, session, sequence
_CHECK = struct.Struct(">I")
_HEAD_SIZE = _HEADER.size + _CHECK.size

Frame = NamedTuple("Frame", [("kind", int), ("session", bytes), ("sequence", int), ("payload", bytes)])


def encode(frame: Frame) -> bytes:
    """A frame's bytes."""
    header = _HEADER.pack(MAGIC, VERSION, frame.kind, len(frame.payload), frame.session, frame.sequence)
    head = header + _CHECK.pack(binascii.crc32(header) & 0xFFFFFFFF)
    body = head + frame.payload
    return body + _CHECK.pack(binascii.crc32(body) & 0xFFFFFFFF)


class FrameScanner:
    """Finds frames in any bytes. Holds at most one incomplete frame, whatever comes.

    `skipped` counts the bytes that belonged to no frame. A frame that lost its end is given up as soon as another
    frame's header follows: payloads are ciphertext, in which no header with its checksum stands.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self._held = bytearray()
        self._size = 0  # of the incomplete frame that `_held` begins with; 0: none begins yet
        self._looked = 0  # before this, no other header stands in `_held`

    @property
    def held(self) -> int:
        """Bytes of the frame that is not complete."""
        return len(self._held)

    def feed(self, data: bytes) -> List[Frame]:
        """The frames that are complete now, in order."""
        self._held += data
        held, start, size, looked = self._held, 0, self._size, self._looked
        frames: List[Frame] = []
        while True:
            if size and len(held) - start >= size:
                frame = _frame(held, start, size)
                if frame is not None:
                    frames.append(frame)
                else:  # only its header was whole: the true frame may begin inside
                    self.skipped += 1
                looked = start = start + (1 if frame is None else size)
                size = 0
            looked, another = _find_header(held, looked)
            if another or not size:
                self.skipped += looked - start
                start, size = looked, another
            if not another:
                break
            looked = start + 1
        del held[:start]
        self._size, self._looked = size, looked - start
        return frames


def _find_header(held: bytearray, at: int) -> Tuple[int, int]:
    """Where the next header stands, and the size of its frame; size 0: from there on it cannot be told yet."""
    while True:
        at = _find_magic(held, at)
        if len(held) - at < _HEAD_SIZE:
            return at, 0
        _magic, version, kind, length, _session, _sequence = _HEADER.unpack_from(held, at)
        (check,) = _CHECK.unpack_from(held, at + _HEADER.size)
        known = version == VERSION and kind in (HELLO, ACK, DATA, RESET) and length <= MOST_PAYLOAD
        # A garbled length must not make us wait for bytes that never come.
        if known and check == binascii.crc32(held[at : at + _HEADER.size]) & 0xFFFFFFFF:
            return at, _HEAD_SIZE + int(length) + _CHECK.size
        at += 1


def _find_magic(held: bytearray, at: int) -> int:
    """Where the magic stands next, or its first bytes at the end, or the end."""
    found = held.find(MAGIC, at)
    if found >= 0:
        return found
    for length in range(min(len(MAGIC) - 1, len(held) - at), 0, -1):
        if held.endswith(MAGIC[:length]):
            return len(held) - length
    return len(held)


def _frame(held: bytearray, at: int, size: int) -> Optional[Frame]:
    end = at + size - _CHECK.size
    (check,) = _CHECK.unpack_from(held, end)
    if check != binascii.crc32(held[at:end]) & 0xFFFFFFFF:
        return None
    _magic, _version, kind, _length, session, sequence = _HEADER.unpack_from(held, at)
    return Frame(kind, bytes(session), sequence, bytes(held[at + _HEAD_SIZE : end]))


class Ended(Exception):
    """The session on the port is over; the text says why. Frames are resynchronised, TLS never is."""


class AgentEnd:
    """The agent's end of one session: HELLO until the service acknowledges it, then DATA both ways.

    `session` is None until then. Frames of other sessions are stale, and dropped.
    """

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self.session: Optional[bytes] = None
        self.attached = False  # the service has just taken the port: a HELLO before this one was lost
        self.scanner = FrameScanner()
        self._nonce = random_bytes(HALF)
        self._sent = 0
        self._received = 0

    def hello(self) -> bytes:
        """The same HELLO each time: the service takes the second for the duplicate that it is."""
        return encode(Frame(HELLO, self._nonce + NO_SESSION[:HALF], 0, b""))

    def data(self, payload: bytes) -> bytes:
        """The next DATA frame, with at most MOST_PAYLOAD bytes."""
        if self.session is None:
            raise AssertionError("there is no session before the service's ACK")
        frame = Frame(DATA, self.session, self._sent, payload)
        self._sent = (self._sent + 1) & 0xFFFFFFFF
        return encode(frame)

    def reset(self) -> bytes:
        """Tells the service that this session is over."""
        return encode(Frame(RESET, self.session or NO_SESSION, 0, b""))

    def receive(self, data: bytes) -> List[bytes]:
        """Payloads of the session, in order. Ended when it is over."""
        payloads: List[bytes] = []
        for frame in self.scanner.feed(data):
            if self.session is None:
                self._call(frame)
            elif frame.kind == RESET:
                self._reset(frame)
            elif frame.kind == DATA and frame.session == self.session:
                if frame.sequence != self._received:
                    raise Ended("frame {0} came instead of {1}".format(frame.sequence, self._received))
                self._received = (self._received + 1) & 0xFFFFFFFF
                payloads.append(frame.payload)
        return payloads

    def _call(self, frame: Frame) -> None:
        if frame.kind == ACK and frame.session[:HALF] == self._nonce:
            self.session = frame.session
        elif frame.kind == RESET and frame.session == NO_SESSION:
            self.attached = True

    def _reset(self, frame: Frame) -> None:
        if frame.session == self.session:
            raise Ended("closed by the service")
        if frame.session == NO_SESSION:
            raise Ended("the service has taken the port anew")
