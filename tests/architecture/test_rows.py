# SPDX-License-Identifier: GPL-3.0-or-later
"""SECURITY.md's tables: each row is there, names tests that exist and name it in turn, or says why there are none."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([TF]\d+) \| (.+?) \| (.+?) \|(.*)\|$", re.MULTILINE)
THREATS = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 15, 17, 18, 19, 28, 29, 30, 31, 32, 33, 34, 35]
FAULTS = [5, 7, 8, 15, 16, 19, 21, 22, 25, 31, 32]
ROWS = [f"T{number}" for number in THREATS] + [f"F{number}" for number in FAULTS]


def docstrings(path: Path) -> str:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, documented)]
    return "\n".join(ast.get_docstring(node) or "" for node in nodes)


def test_each_row_is_there_once() -> None:
    assert [match[1] for match in ROW.finditer(PAGE)] == ROWS


@pytest.mark.parametrize("match", list(ROW.finditer(PAGE)), ids=lambda match: match[1])
def test_a_row_names_its_tests_or_says_why_there_are_none(match: re.Match[str]) -> None:
    name, cell = match[1], match[4].strip()
    if cell.startswith("not yet: "):
        return
    paths = [ROOT / "tests" / path.strip("` ") for path in cell.split(",")]
    assert paths and all(path.is_file() for path in paths), f"{name}: {cell}; run scripts/generated"
    for path in paths:
        assert re.search(rf"\b{name}\b", docstrings(path)), f"{path} does not name {name}; run scripts/generated"
