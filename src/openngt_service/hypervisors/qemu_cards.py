# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's network cards by their addresses: of one that runs as QEMU has made them, of one that is off as it will."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from .qmp import Qmp

__all__ = ["described_cards", "present_cards"]

PROPERTY = re.compile(r'^\s*mac = "([0-9a-f]{2}(?::[0-9a-f]{2}){5})"', re.MULTILINE)
"""In `info qtree`, and nowhere else for cards of every kind: the address that a card was made with, which is not the
one that its guest may have set.
"""
GIVEN = re.compile(r"\b(?:mac|macaddr)=([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5})\b")
CARD = {"-device": re.compile(r"\bnetdev=|\bmac="), "-nic": re.compile(""), "-net": re.compile(r"^nic\b")}


async def present_cards(qmp: Qmp) -> tuple[str, ...]:
    """Of a VM whose process runs."""
    tree = await qmp.execute("human-monitor-command", command_line="info qtree")
    return tuple(PROPERTY.findall(tree))


def described_cards(start: Sequence[str]) -> tuple[str, ...] | None:
    """By the command that starts the VM; None where it does not tell the address of each card."""
    if not start or not Path(start[0]).name.startswith("qemu-system-") or "-readconfig" in start:
        return None
    cards = [word for before, word in itertools.pairwise(start) if _is_card(before, word)]
    found = [match[1].lower() for word in cards if (match := GIVEN.search(word))]
    if len(found) < len(cards) or not (cards or "-nodefaults" in start):
        return None  # QEMU gives such a card, and one that nobody asked for, an address of its own choice
    return tuple(found)


def _is_card(before: str, word: str) -> bool:
    return before in CARD and word != "none" and CARD[before].search(word) is not None
