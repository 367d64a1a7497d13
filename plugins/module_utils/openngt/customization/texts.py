# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes that are to be text for a guest: read, or refused with what is wrong about them."""

from __future__ import annotations

import codecs

from .findings import finding
from .model import Finding

__all__ = ["line_of", "read_text"]

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(content: bytes, part: str) -> str | Finding:
    """UTF-8 without a byte order mark and without NUL, which is what every reader in a guest takes."""
    if content.startswith(UTF_16):
        return finding("NOT_UTF8", part, "is UTF-16", line=1)
    if content.startswith(codecs.BOM_UTF8):
        return finding("BYTE_ORDER_MARK", part, "begins with a byte order mark, so its first word is not seen", line=1)
    nul = content.find(b"\0")
    if nul >= 0:
        if content.count(b"\0") * 3 > len(content):
            return finding("NOT_UTF8", part, "has a NUL at every second byte, as UTF-16 has", line=1)
        return finding("NUL_BYTE", part, "holds a NUL byte", line=line_of(content, nul))
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        line = line_of(content, exc.start)
        return finding("NOT_UTF8", part, f"has a byte that is no UTF-8, as Latin-1 has: number {exc.start}", line=line)


def line_of(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1
