# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of other people as HTML. Pure."""

from __future__ import annotations

import html
from typing import Any

__all__ = ["NOTHING", "escaped", "plural"]

NOTHING = "–"  # noqa: RUF001  the dash of an empty cell

LONGEST = 2000
"""Characters of one value on the page; a guest may send more. JSON has all of it."""


def escaped(value: Any) -> str:
    """For an element's text or an attribute in double quotes.

    Characters that cannot be seen, among them those that turn the direction of writing, are shown by their numbers.
    """
    text = str(value)
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    visible = cut if cut.isprintable() else "".join(map(visible_character, cut))
    return html.escape(visible, quote=True)


def visible_character(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 VM`, `1,200 VMs`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
