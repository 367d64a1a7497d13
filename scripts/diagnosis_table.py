#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write causes and checks into docs/diagnosis.md, between its markers; `--check` fails when the page has drifted."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins/module_utils"))

from page_tables import Table, write  # noqa: E402 - beside this file

from openngt.diagnosis.causes import CAUSES, NOT_KNOWN, Cause  # noqa: E402 - found through the line above
from openngt.diagnosis.checks import CHECKS, Check  # noqa: E402

PAGE = ROOT / "docs/diagnosis.md"
WRITER = "scripts/diagnosis_table.py from openngt/diagnosis/{}.py"
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


def tables() -> list[Table]:
    causes = "".join(cause_row(number, cause) for number, cause in enumerate(CAUSES, 1))
    last = f"| | `{NOT_KNOWN}` | | | nothing of the above is told by the evidence | where to look next |\n"
    texts = {"causes": CAUSES_HEAD + causes + last, "checks": CHECKS_HEAD + "".join(map(check_row, CHECKS))}
    return [Table(name, WRITER.format(name), text + "\n") for name, text in texts.items()]


if __name__ == "__main__":
    write(PAGE, tables())
