#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what a fleet install makes of Ansible's variables and of ssh's options into docs/credentials.md, between its
markers; `--check` fails when it has drifted.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "plugins/module_utils"))

from page_tables import Table, write  # noqa: E402 - beside this file

from openngt.install.fleet.ssh_arguments import OPTIONS  # noqa: E402 - found through the line above
from openngt.install.fleet.variables import ROWS, Row  # noqa: E402

PAGE = ROOT / "docs/credentials.md"
WRITERS = {
    "variables": "scripts/fleet_variables.py from openngt/install/fleet/variables.py",
    "options": "scripts/fleet_variables.py from openngt/install/fleet/ssh_arguments.py",
}
CONNECTIONS = {
    ("ssh",): "SSH",
    ("winrm",): "WinRM",
    ("psrp",): "PSRP",
    ("winrm", "psrp"): "both of Windows",
    ("ssh", "winrm", "psrp"): "all",
}


def row_of(row: Row) -> str:
    names = ", ".join(f"`{name}`" for name in row.variables)
    honoured = "has no meaning here" if row.form is None else row.form.wanted
    return f"| {CONNECTIONS[row.connections]} | {names} | {honoured} | {row.means} |\n"


def variables() -> Iterator[str]:
    yield "\n| connection | variable | honoured | what it does, or why not |\n| --- | --- | --- | --- |\n"
    connections = "ssh, paramiko_ssh, smart; winrm; psrp, which is reached as winrm"
    yield f"| all | `ansible_connection` | {connections} | SSH or WinRM |\n"
    yield from map(row_of, ROWS)
    yield "\n"


def options() -> Iterator[str]:
    yield "\n| option | honoured |\n| --- | --- |\n"
    yield from (f"| `{option.name}` | {option.means} |\n" for option in OPTIONS.values() if option.takes is not None)
    idle = ", ".join(f"`{option.name}`" for option in OPTIONS.values() if option.takes is None)
    yield f"| {idle} | has no meaning here |\n"
    yield "| any other | refused by name |\n\n"


if __name__ == "__main__":
    texts = {"variables": variables(), "options": options()}
    write(PAGE, [Table(name, WRITERS[name], "".join(rows)) for name, rows in texts.items()])
