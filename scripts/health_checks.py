#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the checks, as they describe themselves, into docs/health.md; `--check` fails when the page has drifted."""

import sys
from pathlib import Path

from openngt_service.health.catalogue import CHECKS, Check

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/health.md"
BEGIN = "<!-- begin of the checks: written by scripts/health_checks.py from openngt_service/health/catalogue.py -->\n"
END = "<!-- end of the checks -->\n"


def section(check: Check) -> str:
    alert = f"`{check.alert_code}`, " if check.alert_code else ""
    lines = [
        f"### `{check.name}`",
        "",
        f"{check.description}. Alerts: {alert}from {check.alert_from} on.",
        "",
        *(f"- Cause: {cause}" for cause in check.causes),
        *(f"- Resolution: {resolution}" for resolution in check.resolutions),
        "",
    ]
    if check.thresholds:
        lines += ["| threshold | default | limits | means |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{one.name}` | {one.default} | {one.minimum} to {one.maximum}"
            f"{f', less than `{one.below}`' if one.below else ''} | {one.means} |"
            for one in check.thresholds
        ]
        lines.append("")
    return "\n".join(lines) + "\n"


def with_checks(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + "".join(map(section, CHECKS.values())) + END + after


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if BEGIN not in page or END not in page:
        sys.exit(f"{PAGE.relative_to(ROOT)} lacks the markers of the checks")
    if "--check" in sys.argv[1:]:
        if page != with_checks(page):
            sys.exit(f"{PAGE.relative_to(ROOT)} has drifted from the checks; run scripts/generated")
        return
    PAGE.write_text(with_checks(page), encoding="utf-8")


if __name__ == "__main__":
    main()
