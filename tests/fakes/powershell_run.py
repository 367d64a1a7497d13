# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the PowerShell that our scripts are written in, in Python: no PowerShell can be had where the tests run.

The language is walked here: scopes, pipelines that unroll lists, truth, comparisons, casts, try and throw. What
commands, .NET classes and COM objects do is the caller's (see windows_guest.py). What this does not know it refuses, so
that a script cannot pass by being skipped. It is a simulator: that a script runs here says nothing of cmdlets as
Windows has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.fakes.powershell_values import (
    Block,
    Hash,
    Missing,
    Node,
    PowerShellError,
    Record,
    Values,
    kind,
    named,
    read,
    text,
    text_of,
    true,
    walk,
    within,
)

__all__ = ["Killed", "Shell"]

Cmdlet = Callable[[dict[str, Any], list[Any]], list[Any]]


class Killed(BaseException):
    """The process is gone in this moment: no handler of the script runs, and none of its `finally`."""


class Returned(Exception):
    def __init__(self, values: list[Any]) -> None:
        self.values = values


class Exited(Exception):
    def __init__(self, status: int) -> None:
        self.status = status
        self.output: list[Any] = []


SKIPPED = {
    "{",
    "}",
    "(",
    ")",
    "$(",
    "empty_statement",
    "comment",
    ";",
    "command_argument_sep",
    "attribute",
    "param_block",
}


class Shell(Values):
    """One process of PowerShell.

    `cmdlets` are its commands and `programs` the external ones, both by their names in lower case; `types` answers
    `[name]::member` and `New-Object`'s -TypeName by short name; `environment` is `$env:`.
    """

    def __init__(
        self,
        cmdlets: Mapping[str, Cmdlet],
        programs: Mapping[str, Callable[[list[str]], tuple[int, str]]],
        types: Mapping[str, Any],
        environment: Mapping[str, str],
    ) -> None:
        self.cmdlets, self.programs, self.types = cmdlets, programs, types
        self.environment = {name.lower(): value for name, value in environment.items()}
        self.functions: dict[str, Node] = {}
        self.scopes: list[dict[str, Any]] = [{"lastexitcode": 0, "matches": None}]
        self.exit_status = 0

    # -- Running ------------------------------------------------------------------------------------------------------

    def run(self, script: str, parameters: Mapping[str, Any]) -> list[Any]:
        """The script's output. PowerShellError for an error that it does not catch."""
        root = read(script)
        try:
            return self.body(root, Hash(parameters), [])
        except Exited as exited:
            self.exit_status = exited.status
            return exited.output
        except Returned as returned:
            return returned.values

    def body(self, node: Node, named_arguments: Hash, positional: list[Any]) -> list[Any]:
        for block in (child for child in walk(node) if child.type == "param_block"):
            self.bind(block, named_arguments, positional)
            break
        return self.statements(node)

    def statements(self, node: Node) -> list[Any]:
        output: list[Any] = []
        for child in node.children:
            if child.type in SKIPPED:
                continue
            inner = child.type in ("statement_list", "script_block", "script_block_body", "statement_block")
            try:
                output += self.statements(child) if inner else self.statement(child)
            except Exited as exited:
                exited.output[:0] = output
                raise
        return output

    def call(self, function: Node, arguments: Hash, positional: list[Any]) -> list[Any]:
        self.scopes.append({})
        try:
            for declared in named(function, "function_parameter_declaration"):
                self.bind(declared, arguments, positional)
            for block in named(function, "script_block"):
                return self.statements(block)
            return []
        except Returned as returned:
            return returned.values
        finally:
            self.scopes.pop()

    def bind(self, declared: Node, arguments: Hash, positional: list[Any]) -> None:
        parameters = [node for node in walk(declared) if node.type == "script_parameter"]
        names = [text(named(one, "variable")[0])[1:].lower() for one in parameters]
        unknown = [name for name in arguments if name.lower() not in names]
        if unknown:
            raise PowerShellError(f"A parameter cannot be found that matches parameter name '{unknown[0]}'.")
        left = list(positional)
        for name, one in zip(names, parameters, strict=True):
            types = [text(node)[1:-1].lower() for node in walk(one) if node.type == "type_literal"]
            if arguments.has(name):
                value = arguments.get(name)
            elif left:
                value = left.pop(0)
            elif defaults := named(one, "script_parameter_default"):
                value = self.value(defaults[0].children[-1])
            else:
                value = False if "switch" in types else None
            self.scopes[-1][name] = self.cast(types[-1], value) if types else value

    # -- Statements ---------------------------------------------------------------------------------------------------

    def statement(self, node: Node) -> list[Any]:
        node = kind(node)
        method = getattr(self, f"do_{node.type}", None)
        if method is not None:
            found: list[Any] = method(node)
            return found
        return self.unrolled(self.expression(node), node)

    def unrolled(self, value: Any, node: Node) -> list[Any]:
        if isinstance(value, list):
            return list(value)
        if value is None and node.type in ("invokation_expression", "cast_expression"):
            return []
        return [value]

    def do_function_statement(self, node: Node) -> list[Any]:
        self.functions[text(named(node, "function_name")[0]).lower()] = node
        return []

    def do_flow_control_statement(self, node: Node) -> list[Any]:
        word = text(node.children[0]).lower()
        values = self.statement(node.children[1]) if len(node.children) > 1 else []
        if word == "return":
            raise Returned(values)
        if word == "throw":
            [thrown] = values
            raise thrown if isinstance(thrown, PowerShellError) else PowerShellError(text_of(thrown))
        if word == "exit":
            raise Exited(values[0] if values else 0)
        raise Missing(word)

    def do_if_statement(self, node: Node) -> list[Any]:
        clauses = [node, *[one for group in named(node, "elseif_clauses") for one in group.children]]
        for clause in clauses:
            condition = clause.children[[c.type for c in clause.children].index("(") + 1]
            if true(self.value(condition)):
                return self.statements(named(clause, "statement_block")[0])
        for clause in named(node, "else_clause"):
            return self.statements(named(clause, "statement_block")[0])
        return []

    def do_foreach_statement(self, node: Node) -> list[Any]:
        [variable] = named(node, "variable")
        whole = node.children[[c.type for c in node.children].index("in") + 1]
        items = self.value(whole)
        output: list[Any] = []
        for item in items if isinstance(items, list) else [] if items is None else self.enumerated(items):
            self.assign_variable(text(variable), item)
            output += self.statements(named(node, "statement_block")[0])
        return output

    def enumerated(self, items: Any) -> list[Any]:
        return list(items) if isinstance(items, Iterator) or hasattr(items, "enumerate") else [items]

    def do_for_statement(self, node: Node) -> list[Any]:
        parts = [c for c in node.children if c.type.startswith("for_")]
        self.statement(parts[0])
        output: list[Any] = []
        while true(self.value(parts[1])):
            output += self.statements(named(node, "statement_block")[0])
            self.statement(parts[2])
        return output

    def do_post_increment_expression(self, node: Node) -> list[Any]:
        self.assign(node.children[0], self.value(node.children[0]) + 1)
        return []

    def do_switch_statement(self, node: Node) -> list[Any]:
        value = self.value(named(node, "switch_condition")[0].children[1])
        output: list[Any] = []
        for clause in (one for one in walk(node) if one.type == "switch_clause"):
            condition, block = clause.children[0], named(clause, "statement_block")[0]
            if self.equal(value, self.value(condition)):
                output += self.statements(block)
        return output

    def do_try_statement(self, node: Node) -> list[Any]:
        try:
            output = self.guarded(node)
        except (PowerShellError, Returned):
            self.finish(node)
            raise
        self.finish(node)
        return output

    def guarded(self, node: Node) -> list[Any]:
        try:
            return self.statements(named(node, "statement_block")[0])
        except PowerShellError as error:
            handlers = [one for one in walk(node) if one.type == "catch_clause" and within(one, node)]
            if not handlers:
                raise
            exception = Record({"Data": error.data, "Message": str(error)})
            line = Record({"ScriptLineNumber": 0})
            self.scopes[-1]["_"] = Record({"Exception": exception, "InvocationInfo": line})
            return self.statements(named(handlers[0], "statement_block")[0])

    def finish(self, node: Node) -> None:
        for last in named(node, "finally_clause"):
            self.statements(named(last, "statement_block")[0])

    def do_assignment_expression(self, node: Node) -> list[Any]:
        target, operator, source = (c for c in node.children if c.type != "comment")
        value = self.value(source)
        if text(operator) == "+=":
            value = self.add(self.value(target), value)
        self.assign(target, value)
        return []

    def do_pipeline_chain(self, node: Node) -> list[Any]:
        stages = [c for c in node.children if c.type != "|"]
        output = self.statement(stages[0])
        for stage in stages[1:]:
            output = self.do_command(stage if stage.type == "command" else kind(stage), output)
        return output

    # -- Commands -----------------------------------------------------------------------------------------------------

    def do_command(self, node: Node, piped: list[Any] | None = None) -> list[Any]:
        name, arguments, positional = self.command_line(node)
        if isinstance(name, Block):
            self.scopes.append({})
            try:
                return self.body(name.node, arguments, positional)
            finally:
                self.scopes.pop()
        lowered = str(name).lower()
        if lowered in self.functions:
            return self.call(self.functions[lowered], arguments, positional)
        if lowered in self.programs:
            flat = [text_of(one) for each in positional for one in (each if isinstance(each, list) else [each])]
            self.scopes[0]["lastexitcode"], said = self.programs[lowered](flat)
            return said.splitlines()
        if lowered in ("where-object", "foreach-object"):
            return self.each(arguments.get("filterscript") or arguments.get("process"), lowered[0] == "w", piped or [])
        if lowered not in self.cmdlets:
            raise Missing(str(name))
        if positional:
            raise Missing(f"{name} with arguments by position")
        return self.cmdlets[lowered](arguments, piped or [])

    def command_line(self, node: Node) -> tuple[Any, Hash, list[Any]]:
        if node.type == "command_name":
            return text(node), Hash(), []
        first, *rest = node.children
        name: Any = text(first)
        if first.type == "command_invokation_operator":
            name = self.value(rest[0].children[0] if rest[0].type == "command_name_expr" else rest[0])
        arguments, positional, waiting = Hash(), [], ""
        for element in (one for group in named(node, "command_elements") for one in group.children):
            if element.type == "command_argument_sep":
                continue
            if element.type == "command_parameter":
                if waiting:
                    arguments[waiting] = True
                waiting = text(element)[1:]
                continue
            if text(element) == "@args":
                continue
            value = text(element) if kind(element).type == "generic_token" else self.value(element)
            if waiting:
                arguments[waiting], waiting = value, ""
            else:
                positional.append(value)
        if waiting:
            arguments[waiting] = True
        return name, arguments, positional

    def each(self, block: Block, keep: bool, piped: list[Any]) -> list[Any]:
        output: list[Any] = []
        outer = self.scopes[-1].get("_")
        for item in piped:
            self.scopes[-1]["_"] = item
            found = self.statements(block.node)
            output += ([item] if true(found) else []) if keep else found
        self.scopes[-1]["_"] = outer
        return output
