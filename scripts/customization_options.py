#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the options of a customization into docs/customization.md, between its markers; `--check` fails when it has
drifted.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins/module_utils"))

from page_tables import Table, write  # noqa: E402 - beside this file

from openngt.customization import cloud_config, windows_options  # noqa: E402 - found through the line above
from openngt.customization.options import Option  # noqa: E402

PAGE = ROOT / "docs/customization.md"
WRITERS = {
    "linux": "scripts/customization_options.py from openngt/customization/cloud_config.py",
    "windows": "scripts/customization_options.py from openngt/customization/windows_options.py",
}
READERS = {"sysprep": "Sysprep", "cloudbase_init": "Cloudbase-Init"}


def linux(options: Sequence[Option], prefix: str = "") -> Iterator[str]:
    for option in options:
        form = f"list of {option.elements}" if option.type == "list" else option.type
        yield f"| `{prefix}{option.name}` | {form} | {as_markdown(option.description)} |\n"
        if option.options:
            yield from linux(option.options, f"{prefix}{option.name}{'[]' if option.type == 'list' else ''}.")


def as_markdown(text: str) -> str:
    """Ansible's C() and O() are this page's `code`."""
    return re.sub(r"[CO]\(([^)]*)\)", r"`\1`", text).replace("|", "\\|")


def windows() -> Iterator[str]:
    for name, option in windows_options.OPTIONS.items():
        means = option.says or "of the edition"
        yield f"| `{name}` | {', '.join(READERS[each] for each in option.formats)} | {means} |\n"


if __name__ == "__main__":
    tables = {
        "linux": ["\n| option | form | what it does |\n| --- | --- | --- |\n", *linux(cloud_config.OPTIONS), "\n"],
        "windows": ["\n| option | for | what it says |\n| --- | --- | --- |\n", *windows(), "\n"],
    }
    write(PAGE, [Table(name, WRITERS[name], "".join(rows)) for name, rows in tables.items()])
