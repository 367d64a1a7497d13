#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write causes and checks into docs/diagnosis.md, between its markers; `--check` fails when the page has drifted."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins/module_utils"))

from openngt.diagnosis.causes import CAUSES, NOT_KNOWN, Cause  # noqa: E402 - found through the line above
from openngt.diagnosis.checks import CHECKS, Check  # noqa: E402

PAGE = ROOT / "docs/diagnosis.md"
BEGIN = "<!-- begin of the table of {}: written by scripts/diagnosis_table.py from openngt/diagnosis/{}.py -->\n"
END = "<!-- end of the table of {} -->\n"
CAUSES_HEAD = """
| | cause | check | shown by | told when | remedy |
| --- | --- | --- | --- | --- | --- |
"""
CHECKS_HEAD = """
| check | holds when | made by |
| --- | --- | --- |
"""


def cause_row(number: int, cause: Cause) -> str:
    cells = [str(number), f"`{cause.code}`", f"`{cause.check}`", cause.shown_by, cause.when, cause.remedy]
    return f"| {' | '.join(cells)} |\n"


def check_row(check: Check) -> str:
    return f"| `{check.name}` | {check.title} | {check.side} |\n"


def tables() -> dict[str, str]:
    causes = "".join(cause_row(number, cause) for number, cause in enumerate(CAUSES, 1))
    last = f"| | `{NOT_KNOWN}` | | | nothing of the above is told by the evidence | where to look next |\n"
    return {"causes": CAUSES_HEAD + causes + last, "checks": CHECKS_HEAD + "".join(map(check_row, CHECKS))}


def with_tables(page: str) -> str:
    for name, table in tables().items():
        begin, end = BEGIN.format(name, name), END.format(name)
        if begin not in page or end not in page:
            sys.exit(f"{PAGE.relative_to(ROOT)} lacks the markers of the table of {name}")
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = before + begin + table + "\n" + end + after
    return page


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        if page != with_tables(page):
            sys.exit(f"{PAGE.relative_to(ROOT)} has drifted from the tables; run scripts/generated")
        return
    PAGE.write_text(with_tables(page), encoding="utf-8")


if __name__ == "__main__":
    main()
