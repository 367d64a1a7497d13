#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/error-codes.md, the page of all error codes, from the catalogue; `--check` fails when it has drifted."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins/module_utils"))

from openngt.errors import REMEDIES  # noqa: E402 - the library is found through the line above

PAGE = ROOT / "docs/error-codes.md"
HEAD = """# Error codes

Every failure of a module, of the CLI, of the API and of the agent carries one of these codes beside its message. A code
is a promise: it may be added, never renamed, so a playbook can branch on it. The message says what happened; this page,
and the field `remedy` of the failure, say what to do.

<!-- Written by scripts/error_codes.py from openngt/errors.py; do not edit by hand. -->

| code | what to do |
| --- | --- |
"""


def page() -> str:
    return HEAD + "".join(f"| `{code}` | {remedy} |\n" for code, remedy in sorted(REMEDIES.items()))


def main() -> None:
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") == page():
            return
        sys.exit(f"{PAGE.relative_to(ROOT)} has drifted from the catalogue; run scripts/generated")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
