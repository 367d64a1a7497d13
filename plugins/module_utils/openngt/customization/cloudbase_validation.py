# SPDX-License-Identifier: GPL-3.0-or-later
"""User data as Cloudbase-Init will take it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence

from .cloudbase_reference import CLOUD_CONFIG_KEYS, FIRST_LINES, kind_of
from .findings import finding
from .model import Finding, Script

__all__ = ["validate_cloudbase_scripts"]

# Top-level keys as people write them. What YAML can do besides is judged by nobody here.
TOP_KEY = re.compile(r"^([A-Za-z_][A-Za-z0-9_-]*):(?:\s|$)")


def validate_cloudbase_scripts(scripts: Sequence[Script]) -> list[Finding]:
    found: list[Finding] = []
    for number, script in enumerate(scripts):
        part = f"scripts[{number}]" + (f" ({script.name})" if script.name else "")
        found += _of_script(script.content, part)
    return found


def _of_script(content: bytes, part: str) -> Iterator[Finding]:
    if not content.strip():
        yield finding("EMPTY", part, "holds no user data")
        return
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield finding("NOT_UTF8", part, "is UTF-16", line=1)
        return
    if content.startswith(codecs.BOM_UTF8):
        yield finding("BYTE_ORDER_MARK", part, "begins with a byte order mark, so its first word is not seen", line=1)
        return
    kind = kind_of(content)
    if kind == "unknown":
        remedy = f"begin with one of {', '.join(FIRST_LINES)}"
        yield finding("UNKNOWN_KIND", part, "is of no kind that Cloudbase-Init takes", remedy=remedy, line=1)
    elif kind == "cloud_config":
        yield from _of_cloud_config(content, part)


def _of_cloud_config(content: bytes, part: str) -> Iterator[Finding]:
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        yield finding("NOT_UTF8", part, "has a byte that is no UTF-8")
        return
    for number, line in enumerate(lines, 1):
        key = TOP_KEY.match(line)
        if key and key[1] not in CLOUD_CONFIG_KEYS:
            shown = key[1][:40]
            said = "is passed over by Cloudbase-Init"
            remedy = f"it takes {', '.join(CLOUD_CONFIG_KEYS)}"
            yield finding("BAD_KEY", part, said, remedy=remedy, line=number, key=shown, severity="warning")
