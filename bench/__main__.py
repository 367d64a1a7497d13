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
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import bench
from bench._rows import Row, not_measured
from openngt.errors import OpenNGTError

OUTPUT = Path(__file__).resolve().parents[1] / "build/bench.json"
FILE_COLUMNS = 200


def names() -> list[str]:
    return sorted(found.name for found in pkgutil.iter_modules(bench.__path__) if not found.name.startswith("_"))


def measure(name: str, console: Console) -> list[Row]:
    """Its rows, or one that says what went wrong: the other measurements are worth having."""
    console.print(f"[bold]{name}[/bold] …")
    try:
        rows: list[Row] = importlib.import_module(f"bench.{name}").rows()
    except (OSError, RuntimeError, subprocess.SubprocessError, OpenNGTError) as exc:
        console.print_exception()
        return [not_measured(name, str(exc))]
    return rows


def number(value: float | None) -> str:
    return "" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def table(rows: list[Row], loads: tuple[float, float]) -> Table:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    shown = Table(title=f"{machine}, load average {loads[0]:.1f} before and {loads[1]:.1f} after")
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
    console = Console(width=None if sys.stdout.isatty() else FILE_COLUMNS)
    if arguments.list:
        console.print("\n".join(names()))
        return
    before = os.getloadavg()[0]
    rows = [row for name in arguments.names or names() for row in measure(name, console)]
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    console.print(table(rows, (before, os.getloadavg()[0])))
    console.print(f"written: {OUTPUT}")


if __name__ == "__main__":
    main()
