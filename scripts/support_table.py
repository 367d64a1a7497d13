#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the support table into docs/prerequisites.md, between its markers; `--check` fails when it has drifted."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins/module_utils"))

from openngt.install.support import DISTRIBUTIONS, FAMILIES, Distribution  # noqa: E402 - found through the line above

PAGE = ROOT / "docs/prerequisites.md"
BEGIN = "<!-- begin of the support table: written by scripts/support_table.py from openngt/install/support.py -->\n"
END = "<!-- end of the support table -->\n"
HEAD = """
| distribution | os-release `ID` | versions | installed and proven by our tests | package manager | packages |
| --- | --- | --- | --- | --- | --- |
"""


def row(distribution: Distribution) -> str:
    family = next(family for family in FAMILIES if family.name == distribution.family)
    cells = [
        distribution.name,
        ", ".join(f"`{identifier}`" for identifier in distribution.ids),
        ", ".join(distribution.versions) or "rolling",
        ", ".join(distribution.tested) or "no",
        f"`{family.manager}`",
        ", ".join(f"`{package}`" for package in family.packages.values()),
    ]
    return f"| {' | '.join(cells)} |\n"


def with_table(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + HEAD + "".join(map(row, DISTRIBUTIONS)) + "\n" + END + after


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        sys.exit(f"{PAGE.relative_to(ROOT)} lacks the markers of the support table")
    if "--check" in sys.argv[1:]:
        if page != with_table(page):
            sys.exit(f"{PAGE.relative_to(ROOT)} has drifted from the support table; run scripts/generated")
        return
    PAGE.write_text(with_table(page), encoding="utf-8")


if __name__ == "__main__":
    main()
