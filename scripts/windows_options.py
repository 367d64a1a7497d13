#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the table of options into docs/sysprep.md, between its markers; `--check` fails when the page has drifted."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins/module_utils"))

from page_tables import Table, write  # noqa: E402 - beside this file

from openngt.customization.windows_options import OPTIONS  # noqa: E402 - found through the line above

PAGE = ROOT / "docs/sysprep.md"
HEAD = """
| option | what it says | for |
| --- | --- | --- |
"""
FORMATS = {"sysprep": "Sysprep", "cloudbase_init": "Cloudbase-Init"}


def rows() -> str:
    text = HEAD
    for name, option in OPTIONS.items():
        kinds = ["a fresh installation"] if option.install_types == ("fresh",) else map(FORMATS.get, option.formats)
        text += f"| `{name}` | {option.says} | {', '.join(map(str, kinds))} |\n"
    return text + "\n"


if __name__ == "__main__":
    where = "scripts/windows_options.py from openngt/customization/windows_options.py"
    write(PAGE, [Table("options", where, rows())])
