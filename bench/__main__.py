# SPDX-License-Identifier: GPL-3.0-or-later
"""Run every benchmark (or those named), print one table and write build/bench.json.

python -m bench [--list] [NAME ...]
"""

import argparse
import importlib
import json
import os
import pkgutil
import platform
from pathlib import Path
from typing import Any, TypedDict

from rich.console import Console
from rich.table import Table

import bench

OUTPUT = Path(__file__).resolve().parents[1] / "build/bench.json"


class Row(TypedDict):
    """One measurement; `ratio` is ours to the peer's, None where there is no peer."""

    name: str
    value: float
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None
    goal: str
    met: bool


def names() -> list[str]:
    return sorted(found.name for found in pkgutil.iter_modules(bench.__path__) if not found.name.startswith("_"))


def measure(name: str, console: Console) -> list[Row]:
    console.print(f"[bold]{name}[/bold] …")
    rows: list[Row] = importlib.import_module(f"bench.{name}").rows()
    return rows


def number(value: float | None) -> str:
    return "" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def table(rows: list[Row]) -> Table:
    shown = Table(title=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for column in ("what", "ours", "unit", "peer", "peer's", "ratio", "goal", "met"):
        shown.add_column(column, justify="right" if column in {"ours", "peer's", "ratio"} else "left")
    for row in rows:
        cells: list[Any] = [row["name"], number(row["value"]), row["unit"], row["peer"] or ""]
        cells += [number(row["peer_value"]), number(row["ratio"]), row["goal"], "yes" if row["met"] else "NO"]
        shown.add_row(*cells)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure ourselves beside named peers.")
    parser.add_argument("names", nargs="*", help="which benchmarks; default: all")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    arguments = parser.parse_args()
    console = Console()
    if arguments.list:
        console.print("\n".join(names()))
        return
    rows = [row for name in arguments.names or names() for row in measure(name, console)]
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    console.print(table(rows))
    console.print(f"written: {OUTPUT}")


if __name__ == "__main__":
    main()
