#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the codes of findings into docs/customization-findings.md; `--check` fails when the page has drifted."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins/module_utils"))

from openngt.customization.findings import CODES  # noqa: E402 - the library is found through the line above

PAGE = ROOT / "docs/customization-findings.md"
BEGIN = (
    "<!-- begin of the codes: written by scripts/customization_findings.py from openngt/customization/findings.py -->\n"
)
END = "<!-- end of the codes -->\n"


# What Markdown would take for markup of its own.
AS_TEXT = str.maketrans({"<": "&lt;", ">": "&gt;", "*": r"\*", "|": r"\|"})


def table() -> str:
    rows = "".join(f"| `{code}` | {remedy.translate(AS_TEXT)} |\n" for code, remedy in sorted(CODES.items()))
    return f"\n| code | what to do |\n| --- | --- |\n{rows}\n"


def with_codes(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        sys.exit(f"{PAGE.relative_to(ROOT)} lacks the markers of the codes")
    if "--check" in sys.argv[1:]:
        if page != with_codes(page):
            sys.exit(f"{PAGE.relative_to(ROOT)} has drifted from the codes; run scripts/generated")
        return
    PAGE.write_text(with_codes(page), encoding="utf-8")


if __name__ == "__main__":
    main()
