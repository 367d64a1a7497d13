# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that a guest without an agent writes to its port: `OPENNGT-CUSTOMIZATION {json}` (ARCHITECTURE.md section 4).

They stand between frames, or in any noise. What a guest writes is anything at all (threat T8): at most one unfinished
line is held, and none that is longer than MAXIMUM_RECORD.
"""

from typing import Any, Final

from .jsonrpc import Violation, parse_json

__all__ = ["MARK", "MAXIMUM_RECORD", "RecordScanner"]

MARK: Final = b"OPENNGT-CUSTOMIZATION "
MAXIMUM_RECORD: Final = 16 * 1024
"""Bytes of the JSON: four times what a report has to say, as escapes take up to six bytes for one."""


class RecordScanner:
    """Finds records in any bytes. A frame's payload is ciphertext, in which the mark does not stand."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    @property
    def held(self) -> int:
        """Bytes of the line that is not complete."""
        return len(self._held)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The records that are complete now, in order; what is no JSON object is dropped."""
        stream = self._held + data if self._held else data
        records: list[dict[str, Any]] = []
        at = 0
        while (at := stream.find(MARK, at)) >= 0:
            start = at + len(MARK)
            end = stream.find(b"\n", start, start + MAXIMUM_RECORD + 2)
            if end < 0:
                if len(stream) - start <= MAXIMUM_RECORD + 1:
                    break  # it may still end in time
                at = start
                continue
            record = _record(stream[start:end].rstrip(b"\r"))
            # In a line that was cut short, another may begin.
            at = start if record is None else end
            if record is not None:
                records.append(record)
        self._held = stream[at:] if at >= 0 else _beginning(stream)
        return records


def _beginning(stream: bytes) -> bytes:
    """The longest end of the bytes with which the mark may begin."""
    for length in range(min(len(MARK) - 1, len(stream)), 0, -1):
        if stream.endswith(MARK[:length]):
            return stream[-length:]
    return b""


def _record(line: bytes) -> dict[str, Any] | None:
    if len(line) > MAXIMUM_RECORD:
        return None
    try:
        value = parse_json(line)
    except Violation:
        return None
    return value if isinstance(value, dict) else None
