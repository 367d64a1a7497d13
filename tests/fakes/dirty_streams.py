# SPDX-License-Identifier: GPL-3.0-or-later
"""What a serial port can hold between good frames: noise, torn and garbled frames, magic without end."""

import json
import random
from pathlib import Path

__all__ = ["GOLDEN_FRAMES", "dirty_stream"]

GOLDEN_FRAMES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent / "serial_frames").glob("*.json"))
}
MAGIC = b"\xffNGT"
LEAST_TORN = 5
"""So many bytes at least are missing of a torn frame: chance must not complete it."""


def dirt(chance: random.Random, frames: list[bytes]) -> bytes:
    frame = bytearray(chance.choice(frames))
    kind = chance.randrange(5)
    if kind == 0:
        return chance.randbytes(chance.randrange(60))
    if kind == 1:
        return bytes(frame[: chance.randrange(len(frame) - LEAST_TORN)])
    if kind == 2:
        return MAGIC * chance.randrange(1, 8)
    frame[-chance.randrange(1, LEAST_TORN)] ^= 1 << chance.randrange(8)  # before the cut: no tail fits a torn frame
    if kind == 3:
        return bytes(frame[chance.randrange(1, len(frame)) :])
    frame[chance.randrange(len(frame) - LEAST_TORN)] ^= 1 << chance.randrange(8)
    return bytes(frame)


def dirty_stream(chance: random.Random, frames: list[bytes]) -> tuple[bytes, list[bytes]]:
    """A stream that begins anywhere, and the good frames in it, in order."""
    good = [chance.choice(frames) for _ in range(chance.randrange(1, 5))]
    parts = []
    for frame in good:
        parts += [dirt(chance, frames) for _ in range(chance.randrange(3))]
        parts.append(frame)
    return b"".join(parts), good
