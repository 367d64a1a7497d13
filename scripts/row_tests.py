#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the last column of SECURITY.md's tables: the tests whose docstrings name the row. `--check` fails on drift.

A row that no test names keeps what is written there, which says why.
"""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "SECURITY.md"
ROW = re.compile(r"^\| ([TF]\d+) \| (.+?) \| (.+?) \|(.*)\|$", re.MULTILINE)
NAME = re.compile(r"\b[TF]\d{1,2}\b")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def tests_of_rows() -> dict[str, list[str]]:
    """Row -> files below tests/, in order."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if "fakes" in path.parts or "__pycache__" in path.parts:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, DOCUMENTED)]
        for name in NAME.findall("\n".join(texts)):
            found.setdefault(name, set()).add(str(path.relative_to(ROOT / "tests")))
    return {name: sorted(paths) for name, paths in found.items()}


def filled(page: str) -> str:
    tests = tests_of_rows()

    def row(match: re.Match[str]) -> str:
        name, tried, promised, before = match.groups()
        cell = ", ".join(f"`{path}`" for path in tests[name]) if name in tests else before.strip()
        return f"| {name} | {tried} | {promised} | {cell} |"

    return ROW.sub(row, page)


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        if page != filled(page):
            sys.exit(f"{PAGE.relative_to(ROOT)} has drifted from the tests; run scripts/generated")
        return
    PAGE.write_text(filled(page), encoding="utf-8")


if __name__ == "__main__":
    main()
