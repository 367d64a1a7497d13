# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a PowerShell script with tree-sitter's grammar: its errors, and what it calls that PowerShell 3.0 has not.

No PowerShell runs here. The grammar is not PowerShell's own: it takes a few things for errors that are none (`1GB`
behind `*`, a generic type's arity, labels). Write those in another way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import tree_sitter
import tree_sitter_powershell

__all__ = ["Call", "Script", "foreign_to_powershell_3", "parse"]

TABLE = Path(__file__).with_name("powershell3.json")
PROGRAMS = frozenset(
    [
        "certreq.exe",
        "certutil.exe",
        "cmd.exe",
        "icacls.exe",
        "msiexec.exe",
        "net.exe",
        "netsh.exe",
        "powershell.exe",
        "reg.exe",
        "sc.exe",
        "schtasks.exe",
        "shutdown.exe",
        "takeown.exe",
        "wevtutil.exe",
        "winrm.cmd",
    ]
)
"""What every Windows of PowerShell 3.0 and newer has in its system folder."""
LATER_SYNTAX = {
    "class_statement": "classes (PowerShell 5.0)",
    "enum_statement": "enumerations (PowerShell 5.0)",
    "pipeline_chain_tail": "&& and || (PowerShell 7.0)",
}
LATER_MEMBERS = {
    "new": "::new() (PowerShell 5.0; take New-Object)",
    "where": ".Where() (PowerShell 4.0; take Where-Object)",
    "foreach": ".ForEach() (PowerShell 4.0; take ForEach-Object)",
}


class Call(NamedTuple):
    """A command that the script calls by name, as it is written there; parameters without `-` and `:`."""

    line: int
    command: str
    parameters: tuple[str, ...]


class Script(NamedTuple):
    errors: list[str]
    """`line 3: …` for each; none: the grammar knows all of it."""
    calls: list[Call]
    """In the order of the text, those in script blocks and strings included. `& $variable` is not among them."""
    functions: frozenset[str]
    """What it defines itself, in lower case."""


def parse(script: str) -> Script:
    """Read the whole of a script."""
    nodes = list(walk(tree(script)))
    calls = [call for node in nodes if node.type == "command" and (call := called(node)) is not None]
    names = [child for node in nodes if node.type == "function_statement" for child in node.children]
    functions = frozenset(text(name).lower() for name in names if name.type == "function_name")
    return Script([error for node in nodes if (error := syntax_error(node))], calls, functions)


def foreign_to_powershell_3(script: str, *, windows_2012: bool = False) -> list[str]:
    """`line 3: …` for each syntax error and each thing that Windows PowerShell 3.0 lacks; empty: nothing was found.

    Commands and parameters are wanted by their full names: an alias may be missing or be another's. `windows_2012`
    allows those that came with Windows 8 and Server 2012, beside PowerShell.
    """
    read = parse(script)
    known = table(windows_2012)
    found = list(read.errors)
    for node in walk(tree(script)):
        if (later := later_syntax(node)) is not None:
            found.append(f"line {line(node)}: {later}")
    for call in read.calls:
        name = call.command.lower()
        if name in read.functions or name in PROGRAMS:
            continue
        if name not in known:
            found.append(f"line {call.line}: {call.command} is no command of PowerShell 3.0")
            continue
        for parameter in call.parameters:
            if parameter.lower() not in known[name]:
                found.append(f"line {call.line}: {call.command} has no -{parameter} in PowerShell 3.0")
    return found


@cache
def table(windows_2012: bool) -> dict[str, frozenset[str]]:
    """Command -> its parameters, the common ones included; all in lower case."""
    read = json.loads(TABLE.read_text(encoding="utf-8"))
    rows = {**read["cmdlets"], **(read["windows_2012"] if windows_2012 else {})}
    common = read["common_parameters"].lower().split()
    return {name.lower(): frozenset([*parameters.lower().split(), *common]) for name, parameters in rows.items()}


def tree(script: str) -> tree_sitter.Node:
    language = tree_sitter.Language(tree_sitter_powershell.language())
    # A byte order mark is no part of a script, and the grammar wants the last line ended.
    return tree_sitter.Parser(language).parse(f"{script.removeprefix(chr(0xFEFF))}\n".encode()).root_node


def walk(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """In the order of the text; without recursion, as a script's tree is some 20 levels deep for each expression."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode()


def line(node: tree_sitter.Node) -> int:
    return node.start_point[0] + 1


def syntax_error(node: tree_sitter.Node) -> str | None:
    if node.is_missing:
        return f"line {line(node)}: {node.type} is missing"
    if node.is_error:
        return f"line {line(node)}: not understood: {text(node).strip()[:60]}"
    return None


def called(command: tree_sitter.Node) -> Call | None:
    parameters: list[str] = []
    name = None
    for child in command.children:
        if child.type == "command_name":
            name = text(child)
        elif child.type == "command_name_expr":
            name = literal(child)
        elif child.type == "command_elements":
            own = (element for element in child.children if element.type == "command_parameter")
            parameters += [text(element).lstrip("-").rstrip(":") for element in own]
    return None if name is None else Call(line(command), name, tuple(parameters))


def literal(expression: tree_sitter.Node) -> str | None:
    """The name in `& 'sc.exe'` or `& name`; None for one that only the run knows."""
    whole = text(expression)
    if "$" in whole or not whole or whole[0] in "({":
        return None
    return whole.strip("'\"")


def later_syntax(node: tree_sitter.Node) -> str | None:
    if node.type == "member_name" and node.parent is not None and node.parent.type == "invokation_expression":
        return LATER_MEMBERS.get(text(node).lower())
    if node.type == "comment" and text(node).lower().startswith("#requires") and "runasadmin" in text(node).lower():
        return "#Requires -RunAsAdministrator (PowerShell 4.0)"
    return LATER_SYNTAX.get(node.type)
