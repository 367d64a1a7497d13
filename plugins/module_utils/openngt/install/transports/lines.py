# SPDX-License-Identifier: GPL-3.0-or-later
"""A program's output as it comes in pieces: lines of bounded length, and the end of what it said to people."""

from __future__ import annotations

from ...errors import OpenNGTError

__all__ = ["MAX_LINE_BYTES", "TAIL_BYTES", "Lines", "Tail"]

MAX_LINE_BYTES = 1 << 20
TAIL_BYTES = 8192


class Lines:
    """Bytes go in, lines come out."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._searched = 0
        self._ended = False

    def __len__(self) -> int:
        """Bytes that wait to be taken."""
        return len(self._bytes)

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def end(self) -> None:
        """Nothing more is fed; what is left is a line, though its end is missing."""
        self._ended = True

    def take(self) -> bytes | None:
        """The next line without its end, or None when there is none yet. PROTOCOL_ERROR for one over MAX_LINE_BYTES."""
        at = self._bytes.find(b"\n", self._searched)
        if (at if at >= 0 else len(self._bytes)) > MAX_LINE_BYTES:
            raise OpenNGTError("PROTOCOL_ERROR", f"the guest's program prints a line of over {MAX_LINE_BYTES} bytes")
        if at < 0:
            self._searched = len(self._bytes)
            if not self._ended or not self._bytes:
                return None
            at = len(self._bytes)
        line = bytes(self._bytes[:at])
        del self._bytes[: at + 1]
        self._searched = 0
        return line

    def skip_past(self, mark: bytes) -> bool:
        """Forget everything through the line that ends with this mark, if it is there."""
        at = self._bytes.find(mark + b"\n")
        if at < 0:
            return False
        del self._bytes[: at + len(mark) + 1]
        self._searched = 0
        return True

    def drop(self) -> None:
        """Forget what waits."""
        self._bytes.clear()
        self._searched = 0

    def text(self) -> str:
        """The end of what waits, for people."""
        return printable(bytes(self._bytes[-TAIL_BYTES:]))


class Tail:
    """The last TAIL_BYTES of a stream."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        self._bytes += data
        del self._bytes[:-TAIL_BYTES]

    def take_out(self, mark: bytes) -> bool:
        """Forget this mark, if it is there."""
        at = self._bytes.find(mark)
        if at < 0:
            return False
        del self._bytes[at : at + len(mark)]
        return True

    def text(self) -> str:
        return printable(bytes(self._bytes))


def printable(data: bytes) -> str:
    """A guest's words without what would act on a terminal."""
    text = data.decode("utf-8", "replace")
    return "".join(
        each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text
    ).strip()
