#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what follows from the tables of `openngt_service/compatibility/`; `--check` fails when something has drifted.

The page docs/compatibility.md, and the distributions as Python where data files do not travel: in the library's
`install/support.py`, which modules carry to a guest, in its `install/windows/versions.py`, and in the agent's
`distributions.py`.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLES = ROOT / "src/openngt_service/compatibility"
PAGE = ROOT / "docs/compatibility.md"
LIBRARY = ROOT / "plugins/module_utils/openngt/install/support.py"
WINDOWS = ROOT / "plugins/module_utils/openngt/install/windows/versions.py"
AGENT = ROOT / "plugins/module_utils/openngt/agent/distributions.py"
BEGIN = "# begin of the table: written by scripts/compatibility.py\n"
END = "# end of the table\n"
HEAD = """\
# Compatibility

Written by `scripts/compatibility.py` from the tables that the service judges by; `openngt compatibility` and
`GET /v1/compatibility` answer with the same.

## Service and agents

| service | agents |
| --- | --- |
"""
MIDDLE = """
Two release lines older or one newer work: what one side does not know of the other, it ignores or refuses with a code.
An agent outside of its row is let in, so that it can be [upgraded](upgrade.md); `openngt vm show` says `too_old` or
`too_new` as its support, and the check `ngt_installer_version_check` warns of it (`VERSION_UNSUPPORTED`).

```console
$ openngt compatibility
$ openngt compatibility --type guests
```

## Agent and guests

| distribution | os-release `ID` | versions | installed and proven by our tests |
| --- | --- | --- | --- |
"""
TAIL = """
Packages and package managers are on the page [prerequisites](prerequisites.md). What a [Windows guest](windows.md)
calls itself comes from its registry; none of these has been met yet.
"""

Json = dict[str, Any]


def page(versions: list[Json], distributions: list[Json]) -> str:
    rows = [f"| {row['service']} | {row['oldest_agent']} to {row['newest_agent']} |\n" for row in versions]
    guests = []
    for row in distributions:
        identifiers = ", ".join(f"`{identifier}`" for identifier in row["ids"])
        cells = [row["name"], identifiers, ", ".join(row["versions"]) or "rolling", ", ".join(row["tested"]) or "no"]
        guests.append(f"| {' | '.join(cells)} |\n")
    return HEAD + "".join(rows) + MIDDLE + "".join(guests) + TAIL


def library_table(families: list[Json], distributions: list[Json]) -> str:
    def tupled(row: Json) -> str:
        return ", ".join(repr(tuple(value) if isinstance(value, list) else value) for value in row.values())

    text = "FAMILIES: Tuple[Family, ...] = (\n"
    text += "".join(f"    Family({tupled(row)}),\n" for row in families) + ")\n\n"
    text += "DISTRIBUTIONS: Tuple[Distribution, ...] = (\n"
    return text + "".join(f"    Distribution({tupled(row)}),\n" for row in distributions) + ")\n"


def windows_table(rows: list[Json]) -> str:
    lines = "".join(f"    {row['ids'][0]!r}: {tuple(row['versions'])!r},\n" for row in rows)
    return f"VERSIONS: dict[str, tuple[str, ...]] = {{\n{lines}}}\n"


def agent_table(distributions: list[Json]) -> str:
    rows = sorted((identifier, tuple(row["versions"])) for row in distributions for identifier in row["ids"])
    lines = "".join(f"    {identifier!r}: {versions!r},\n" for identifier, versions in rows)
    return f"SUPPORTED: Dict[str, Tuple[str, ...]] = {{\n{lines}}}\n"


def with_table(source: str, table: str) -> str:
    before, begin, rest = source.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit("a source lacks the markers of its table")
    return formatted(before + BEGIN + table + END + after)


def formatted(source: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    command = [str(ruff), "format", "--config", str(ROOT / "pyproject.toml"), "--stdin-filename", str(LIBRARY), "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


def main() -> None:
    versions = json.loads((TABLES / "versions.json").read_text(encoding="utf-8"))["services"]
    guests = json.loads((TABLES / "distributions.json").read_text(encoding="utf-8"))
    writers: dict[Path, Callable[[str], str]] = {
        PAGE: lambda _: page(versions, [*guests["distributions"], *guests["windows"]]),
        LIBRARY: lambda source: with_table(source, library_table(guests["families"], guests["distributions"])),
        WINDOWS: lambda source: with_table(source, windows_table(guests["windows"])),
        AGENT: lambda source: with_table(source, agent_table(guests["distributions"])),
    }
    for path, write in writers.items():
        present = path.read_text(encoding="utf-8") if path.exists() else ""
        wanted = write(present)
        if "--check" in sys.argv[1:]:
            if present != wanted:
                sys.exit(f"{path.relative_to(ROOT)} has drifted from the tables; run scripts/generated")
        elif present != wanted:
            path.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
