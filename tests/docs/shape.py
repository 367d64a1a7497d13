# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares what a page prints with what a program printed, by the rule that docs/index.md tells the reader."""

import re
from collections.abc import Sequence

__all__ = ["differences", "shape"]

# What differs from one installation to the next, in the order in which it is looked for.
VOLATILE = [
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[0-9:.]+Z"), "<time>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{16,}\b"), "<hex>"),
    (re.compile(r"\d+(\.\d+)+"), "<n>"),  # versions, addresses
    (re.compile(r"(?!\b0\b)\d+"), "<n>"),
    (re.compile(r"[─━]+"), "─"),
    (re.compile(r"\s+"), " "),
]


def shape(line: str) -> str:
    for pattern, name in VOLATILE:
        line = pattern.sub(name, line)
    return line.strip()


def differences(wanted: Sequence[str], found: Sequence[str]) -> str | None:
    """None when the output has the page's shape; else what was wanted and what was found.

    `…` on a line of its own stands for any lines, elsewhere for any text. Blank lines at the end do not count.
    """
    pattern = ""
    for line in wanted:
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(re.escape(part) for part in shape(line).split("…")) + r"\n"
    told = "".join(f"{shape(line)}\n" for line in "\n".join(found).rstrip().split("\n"))
    if re.fullmatch(pattern, told):
        return None
    return "\n".join(["the page says:", *wanted, "the program says:", *found])
