# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of the serial link (ARCHITECTURE.md section 4). Pure; the agent has its own reader of the same format.

What a guest writes into its port is anything at all (threat T8): at most one incomplete frame is held, and no length is
believed before its checksum.
"""

import struct
import zlib
from enum import IntEnum
from typing import Final, NamedTuple

__all__ = ["HALF", "MAXIMUM_PAYLOAD", "NO_SESSION", "Frame", "FrameScanner", "FrameType", "encode"]

MAXIMUM_PAYLOAD: Final = 4096
NO_SESSION: Final = bytes(8)
HALF: Final = 4
"""Bytes of a session id that each end chooses."""

_MAGIC: Final = b"\xffNGT"
_VERSION: Final = 1
_HEADER = struct.Struct(">4sBBH8sI")  # magic, version, type, length of the payload, session, sequence
_CHECK = struct.Struct(">I")
_HEAD_SIZE: Final = _HEADER.size + _CHECK.size


class FrameType(IntEnum):
    HELLO = 1
    ACK = 2
    DATA = 3
    RESET = 4


_TYPES: Final = frozenset(int(kind) for kind in FrameType)


class Frame(NamedTuple):
    kind: FrameType
    session: bytes
    sequence: int = 0
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    header = _HEADER.pack(_MAGIC, _VERSION, frame.kind, len(frame.payload), frame.session, frame.sequence)
    body = header + _CHECK.pack(zlib.crc32(header)) + frame.payload
    return body + _CHECK.pack(zlib.crc32(body))


class FrameScanner:
    """Finds frames in any bytes; `skipped` counts those that belonged to none.

    A frame that lost its end is given up as soon as another frame's header follows: payloads are ciphertext, in which
    no header with its checksum stands.
    """

    __slots__ = ("_held", "_looked", "_size", "skipped")

    def __init__(self) -> None:
        self.skipped = 0
        self._held = b""
        self._size = 0  # of the incomplete frame that `_held` begins with; 0: none begins yet
        self._looked = 0  # before this, no other header stands in `_held`

    @property
    def held(self) -> int:
        """Bytes of the frame that is not complete."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now, in order."""
        stream = self._held + data if self._held else data
        frames: list[Frame] = []
        start, size, looked = 0, self._size, self._looked
        while True:
            if size and len(stream) - start >= size:
                frame = _frame(stream, start, size)
                if frame is not None:
                    frames.append(frame)
                else:  # only its header was whole: the true frame may begin inside
                    self.skipped += 1
                looked = start = start + (1 if frame is None else size)
                size = 0
            looked, another = _find_header(stream, looked)
            if another or not size:
                self.skipped += looked - start
                start, size = looked, another
            if not another:
                break
            looked = start + 1
        self._held = stream[start:]
        self._size, self._looked = size, looked - start
        return frames


def _find_header(stream: bytes, at: int) -> tuple[int, int]:
    """Where the next header stands, and the size of its frame; size 0: from there on it cannot be told yet."""
    while True:
        at = _find_magic(stream, at)
        if len(stream) - at < _HEAD_SIZE:
            return at, 0
        _, version, kind, length, _, _ = _HEADER.unpack_from(stream, at)
        (check,) = _CHECK.unpack_from(stream, at + _HEADER.size)
        known = version == _VERSION and kind in _TYPES and length <= MAXIMUM_PAYLOAD
        # A garbled length must not make us wait for bytes that never come.
        if known and check == zlib.crc32(stream[at : at + _HEADER.size]):
            return at, _HEAD_SIZE + int(length) + _CHECK.size
        at += 1


def _find_magic(stream: bytes, at: int) -> int:
    """Where the magic stands next, or its first bytes at the end, or the end."""
    found = stream.find(_MAGIC, at)
    if found >= 0:
        return found
    for length in range(min(len(_MAGIC) - 1, len(stream) - at), 0, -1):
        if stream.endswith(_MAGIC[:length]):
            return len(stream) - length
    return len(stream)


def _frame(stream: bytes, at: int, size: int) -> Frame | None:
    end = at + size - _CHECK.size
    (check,) = _CHECK.unpack_from(stream, end)
    if check != zlib.crc32(stream[at:end]):
        return None
    _, _, kind, _, session, sequence = _HEADER.unpack_from(stream, at)
    return Frame(FrameType(kind), session, sequence, stream[at + _HEAD_SIZE : end])
