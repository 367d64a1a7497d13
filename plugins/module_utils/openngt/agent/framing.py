# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Frames of the link: 4 bytes big-endian length, then that many bytes."""

import struct
from typing import List

__all__ = ["MOST_AFTER_HELLO", "MOST_BEFORE_HELLO", "FrameReader", "encode"]

MOST_BEFORE_HELLO = 64 * 1024
MOST_AFTER_HELLO = 1024 * 1024

_HEADER = struct.Struct(">I")


def encode(body: bytes) -> bytes:
    """The frame of a body."""
    return _HEADER.pack(len(body)) + body


class FrameReader:
    """Cuts a stream of bytes into the bodies of its frames. Holds at most one frame that is not complete."""

    def __init__(self, limit: int = MOST_BEFORE_HELLO) -> None:
        self.limit = limit
        self._buffer = bytearray()

    @property
    def held(self) -> int:
        """Bytes of the frame that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take(self) -> List[bytes]:
        """The next complete body as a list of one, or an empty list; ValueError for a length that no frame may have.

        One at a time, because a message may change the limit for the next. The length is judged before the body came.
        """
        if len(self._buffer) < _HEADER.size:
            return []
        (length,) = _HEADER.unpack_from(self._buffer)
        if not 2 <= length <= self.limit:  # no JSON object is shorter than {}
            raise ValueError("a frame of {0} bytes; from 2 to {1} are allowed".format(length, self.limit))
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return []
        body = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return [body]
