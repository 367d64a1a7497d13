# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of an answer file -> text, and whether its declaration tells the truth about them."""

from __future__ import annotations

import codecs
import re

__all__ = ["decoded"]

DECLARATION = re.compile(r"""\A<\?xml\b[^>]{0,200}?\bencoding\s*=\s*(["'])([A-Za-z0-9._-]{1,40})\1""")
BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
FAMILIES = {
    "utf-8": ("utf-8", "utf8"),
    "utf-16-le": ("utf-16", "utf-16le"),
    "utf-16-be": ("utf-16", "utf-16be"),
}
UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


def decoded(content: bytes) -> tuple[str, str | None]:
    """(text, what is wrong with its encoding or None). Text is empty where the bytes are no text at all.

    UTF-8 and UTF-16 are taken, as Windows' tools write no others: UTF-16 with a byte order mark, or so that its first
    character, `<`, shows the order.
    """
    if content.startswith(UTF_32):
        return "", "is UTF-32; save it as UTF-8"
    encoding = next((name for bom, name in BOMS if content.startswith(bom)), None)
    if encoding is None:
        encoding = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}.get(content[:2], "utf-8")
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError:
        kind = "UTF-8" if encoding == "utf-8" else "UTF-16"
        return "", f"has bytes that are no {kind}; save it as UTF-8"
    return text, _disagreement(text, encoding)


def _disagreement(text: str, encoding: str) -> str | None:
    declared = DECLARATION.match(text)
    if declared is None:
        # Without a declaration XML is UTF-8, or UTF-16 with its mark.
        return None
    said = declared[2].lower()
    if said in FAMILIES[encoding]:
        return None
    known = any(said in names for names in FAMILIES.values())
    if not known:
        return "declares an encoding other than UTF-8 and UTF-16; save it as UTF-8"
    is_, says = ("UTF-8", "UTF-16") if encoding == "utf-8" else ("UTF-16", "UTF-8")
    return f"is {is_} and declares {says}; make the declaration tell what it is"
