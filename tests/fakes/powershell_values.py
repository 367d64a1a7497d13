# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of PowerShell as powershell_run.py has them: hashtables, objects, truth, comparisons, casts and members."""

from __future__ import annotations

import datetime
import fnmatch
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tree_sitter
from tests.fakes import powershell

__all__ = [
    "Block",
    "Hash",
    "Missing",
    "Node",
    "PowerShellError",
    "Record",
    "Values",
    "kind",
    "named",
    "read",
    "text",
    "text_of",
    "true",
    "walk",
    "within",
]


class Node:
    """A node of the grammar's tree, made once: the grammar's own are made anew each time that somebody looks."""

    def __init__(self, node: tree_sitter.Node, parent: Node | None = None) -> None:
        self.type, self.text, self.parent = node.type, node.text or b"", parent
        self.start_byte, self.end_byte = node.start_byte, node.end_byte
        self.children = [Node(child, self) for child in node.children]


@functools.cache
def read(script: str) -> Node:
    return Node(powershell.tree(script))


def text(node: Node) -> str:
    return node.text.decode()


def walk(node: Node) -> Iterator[Node]:
    """In the order of the text."""
    yield node
    for child in node.children:
        yield from walk(child)


class PowerShellError(Exception):
    """What `throw` throws, and what a command that fails ends with; `data` is its exception's Data."""

    def __init__(self, message: str, data: Hash | None = None) -> None:
        super().__init__(message)
        self.data = Hash() if data is None else data


class Missing(NotImplementedError):
    """Something that our scripts have not used before."""


class Hash(dict[str, Any]):
    """A hashtable: its keys' case does not count, and a missing one is $null."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        for key, value in (values or {}).items():
            self[key] = value

    def own(self, key: str) -> str:
        return next((known for known in self if known.lower() == str(key).lower()), str(key))

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(self.own(key), value)

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(self.own(key), default)

    def has(self, key: str) -> bool:
        return self.own(key) in self


class Record(Hash):
    """An object with properties, as ConvertFrom-Json and the providers give it."""


class Block:
    """A script block, in the scope that it was written in."""

    def __init__(self, node: Node) -> None:
        self.node = node


def true(value: Any) -> bool:
    if isinstance(value, list):
        return true(value[0]) if len(value) == 1 else bool(value)
    return value is not None and value is not False and value != "" and value != 0


def text_of(value: Any) -> str:
    """As a string cast and an expandable string write it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, list):
        return " ".join(text_of(one) for one in value)
    return str(value)


WHOLE = {
    "command",
    "statement_list",
    "script_block",
    "command_elements",
    "expandable_string_literal",
    "flow_control_statement",
}


def kind(node: Node) -> Node:
    """Past the chain of precedence levels: the first node that says something."""
    while len(node.children) == 1 and node.type not in WHOLE:
        if node.children[0].type in ("command_name", "command_invokation_operator"):
            return node
        node = node.children[0]
    return node


def named(node: Node, *types: str) -> list[Node]:
    return [child for child in node.children if child.type in types]


class Values:
    """What an expression is worth. `types` answers `[name]::member` and `New-Object`'s -TypeName by short name."""

    types: Mapping[str, Any]
    environment: Mapping[str, str]
    scopes: list[dict[str, Any]]

    def statement(self, node: Node) -> list[Any]:
        """What a statement puts out."""
        raise NotImplementedError

    def statements(self, node: Node) -> list[Any]:
        """What all of a block's put out."""
        raise NotImplementedError

    # -- Values -------------------------------------------------------------------------------------------------------

    def value(self, node: Node) -> Any:
        """What an assignment or an argument takes: nothing is $null, one thing is itself, several are a list."""
        node = kind(node)
        if hasattr(self, f"do_{node.type}"):
            output = self.statement(node)
            return None if not output else output[0] if len(output) == 1 else output
        return self.expression(node)

    def expression(self, node: Node) -> Any:
        node = kind(node)
        # Inside of a method's parentheses the grammar has names of its own for the same.
        method = getattr(self, f"see_{node.type.replace('_argument_expression', '_expression')}", None)
        if method is None:
            raise Missing(f"{node.type}: {text(node)[:80]}")
        return method(node)

    def see_variable(self, node: Node) -> Any:
        name = text(node)[1:].strip("{}").lower()
        if name in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[name]
        if name.startswith("env:"):
            return self.environment.get(name[4:])
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        raise PowerShellError(f"The variable '${name}' cannot be retrieved because it has not been set.")

    locals()["see_$_"] = see_variable

    def see_verbatim_string_characters(self, node: Node) -> str:
        return text(node)[1:-1].replace("''", "'")

    def see_expandable_string_literal(self, node: Node) -> str:
        begin, raw, output = node.start_byte, node.text or b"", ""
        at = 1
        for child in [*node.children, None]:
            end = len(raw) - 1 if child is None else child.start_byte - begin
            output += unescaped(raw[at:end].decode())
            if child is not None:
                output += text_of(self.value(child))
                at = child.end_byte - begin
        return output

    see_decimal_integer_literal = see_hexadecimal_integer_literal = lambda self, node: int(text(node), 0)

    def see_real_literal(self, node: Node) -> float:
        return float(text(node))

    def see_parenthesized_expression(self, node: Node) -> Any:
        return self.value(node.children[1])

    def see_sub_expression(self, node: Node) -> Any:
        output = self.statements(node)
        return output[0] if len(output) == 1 else output or None

    def see_array_expression(self, node: Node) -> list[Any]:
        return [value for child in node.children if child.type not in ("@(", ")") for value in self.listed(child)]

    def listed(self, node: Node) -> list[Any]:
        return self.statements(node) if node.type == "statement_list" else self.statement(node)

    def see_array_literal_expression(self, node: Node) -> list[Any]:
        return [self.value(child) for child in node.children if child.type not in (",", "comment")]

    def see_hash_literal_expression(self, node: Node) -> Hash:
        found = Hash()
        for entry in (one for one in walk(node) if one.type == "hash_entry" and within(one, node)):
            key, _, source = [c for c in entry.children if c.type not in (";", "comment")][:3]
            name = kind(key)
            plain = name.type == "simple_name"
            found[text(name) if plain else text_of(self.expression(name))] = self.value(source)
        return found

    def see_script_block_expression(self, node: Node) -> Block:
        return Block(node)

    def see_cast_expression(self, node: Node) -> Any:
        target = text(node.children[0])[1:-1].lower()
        if target == "ref":
            return Reference(self, node.children[1])
        return self.cast(target, self.value(node.children[1]))

    def cast(self, target: str, value: Any) -> Any:
        if target == "void":
            return None
        if target == "string":
            return text_of(value)
        if target in ("bool", "switch"):
            return true(value)
        if target == "int":
            return int(value)
        if target.endswith("[]") and target != "byte[]":
            return [] if value is None else value if isinstance(value, list) else [value]
        return value

    def see_expression_with_unary_operator(self, node: Node) -> Any:
        operator, operand = text(node.children[0]).lower(), node.children[1]
        if operator == "-not":
            return not true(self.value(operand))
        if operator == ",":
            return [self.value(operand)]
        raise Missing(operator)

    def see_logical_expression(self, node: Node) -> bool:
        left, operator, right = (c for c in node.children if c.type != "comment")
        first = true(self.value(left))
        if text(operator).lower() == "-and":
            return first and true(self.value(right))
        return first or true(self.value(right))

    def see_additive_expression(self, node: Node) -> Any:
        left, operator, right = node.children
        if text(operator) != "+":
            raise Missing(text(operator))
        return self.add(self.value(left), self.value(right))

    def add(self, left: Any, right: Any) -> Any:
        if isinstance(left, list):
            return left + (right if isinstance(right, list) else [right])
        if left is None:
            return right
        return left + (text_of(right) if isinstance(left, str) else right)

    def see_comparison_expression(self, node: Node) -> Any:
        left, operator, right = node.children
        return self.compare(text(operator).lower(), self.value(left), right)

    def compare(self, operator: str, left: Any, node: Node) -> Any:
        if operator == "-is":
            return isinstance(left, self.type_of(kind(node)))
        right = self.value(node)
        if operator == "-join":
            return text_of(right).join(text_of(one) for one in (left if isinstance(left, list) else [left]))
        if operator in ("-contains", "-notcontains"):
            found = any(self.equal(one, right) for one in (left if isinstance(left, list) else [left]))
            return found == (operator == "-contains")
        negated = operator in ("-ne", "-notlike", "-notmatch")
        if isinstance(left, list):
            raise Missing(f"{operator} on a list")
        if operator in ("-eq", "-ne"):
            return self.equal(left, right) != negated
        if operator in ("-like", "-notlike"):
            return fnmatch.fnmatchcase(text_of(left).lower(), text_of(right).lower()) != negated
        if operator in ("-match", "-notmatch"):
            matched = re.search(text_of(right), text_of(left), re.IGNORECASE)
            if matched:
                self.scopes[-1]["matches"] = {number: matched[number] for number in range((matched.re.groups or 0) + 1)}
            return (matched is not None) != negated
        orders: dict[str, Callable[[Any, Any], bool]] = {
            "-lt": lambda a, b: a < b,
            "-le": lambda a, b: a <= b,
            "-gt": lambda a, b: a > b,
            "-ge": lambda a, b: a >= b,
        }
        if operator in orders:
            return orders[operator](left, right)
        raise Missing(operator)

    def equal(self, left: Any, right: Any) -> bool:
        if left is None or right is None:
            return left is None and right is None
        if isinstance(left, bool):
            return left == true(right)
        if isinstance(left, str):
            return left.lower() == text_of(right).lower()
        if isinstance(left, int) and isinstance(right, str):
            return str(left) == right
        return bool(left == right)

    # -- Members ------------------------------------------------------------------------------------------------------

    def type_of(self, node: Node) -> Any:
        name = text(node)[1:-1].rpartition(".")[2].lower()
        if name not in self.types:
            raise Missing(f"[{name}]")
        return self.types[name]

    def see_type_literal(self, node: Node) -> Any:
        return self.type_of(node)

    def owner(self, node: Node) -> Any:
        node = kind(node)
        return self.type_of(node) if node.type == "type_literal" else self.value(node)

    def member_name(self, node: Node) -> str:
        node = kind(node)
        return text_of(self.value(node)) if node.type == "variable" else text(node)

    def see_member_access(self, node: Node) -> Any:
        return self.member(self.owner(node.children[0]), self.member_name(node.children[2]))

    def member(self, owner: Any, name: str) -> Any:
        if owner is None:
            return 0 if name.lower() == "count" else None
        if name.lower() in ("count", "length"):
            return len(owner) if isinstance(owner, list | Hash | str | bytes) else getattr(owner, "count", 1)
        if name.lower() == "psobject":
            return Record({"Properties": [Record({"Name": key, "Value": value}) for key, value in owner.items()]})
        if isinstance(owner, Hash):
            return list(owner) if name.lower() == "keys" else owner.get(name)
        if isinstance(owner, list):
            return [self.member(one, name) for one in owner]
        return getattr(owner, attribute(owner, name), None)

    def see_element_access(self, node: Node) -> Any:
        owner, key = self.value(node.children[0]), self.value(node.children[2])
        if owner is None:
            raise PowerShellError("Cannot index into a null array.")
        if isinstance(owner, Hash):
            return owner.get(text_of(key))
        if isinstance(owner, dict):
            return owner.get(key)
        return owner[key] if -len(owner) <= key < len(owner) else None

    def see_invokation_expression(self, node: Node) -> Any:
        owner, name = self.owner(node.children[0]), self.member_name(node.children[2])
        arguments: list[Any] = []
        for group in named(node, "argument_list"):
            for child in (c for c in group.children if c.type not in ("(", ")")):
                lists = child.children if child.type == "argument_expression_list" else [child]
                arguments += [self.value(one) for one in lists if one.type != ","]
        if owner is None:
            raise PowerShellError("You cannot call a method on a null-valued expression.")
        return self.invoke(owner, name.lower(), arguments)

    def invoke(self, owner: Any, name: str, arguments: list[Any]) -> Any:
        if isinstance(owner, str):
            return string_method(owner, name, arguments)
        if name == "tostring" and not isinstance(owner, type):
            return owner.strftime(dates(arguments[0])) if isinstance(owner, datetime.datetime) else text_of(owner)
        if isinstance(owner, datetime.datetime):
            return owner if name == "touniversaltime" else owner + datetime.timedelta(days=arguments[0])
        if isinstance(owner, Hash) and name == "containskey":
            return owner.has(arguments[0])
        method = getattr(owner, attribute(owner, name), None)
        if method is None:
            raise Missing(f"{type(owner).__name__}.{name}()")
        return method(*arguments)

    # -- Assignment ---------------------------------------------------------------------------------------------------

    def assign(self, target: Node, value: Any) -> None:
        target = kind(target)
        if target.type == "variable":
            self.assign_variable(text(target), value)
        elif target.type == "element_access":
            self.value(target.children[0])[text_of(self.value(target.children[2]))] = value
        elif target.type == "member_access":
            owner, name = self.value(target.children[0]), self.member_name(target.children[2])
            if isinstance(owner, Hash):
                owner[name] = value
            else:
                setattr(owner, attribute(owner, name), value)
        else:
            raise Missing(f"assignment to {target.type}")

    def assign_variable(self, name: str, value: Any) -> None:
        self.scopes[-1][name[1:].lower()] = value


class Reference:
    """`[ref] $variable`."""

    def __init__(self, shell: Values, node: Node) -> None:
        self.shell, self.node = shell, node

    def set(self, value: Any) -> None:
        self.shell.assign(self.node, value)


def within(node: Node, owner: Node) -> bool:
    """Whether `owner` is the closest of its type around a node."""
    parent = node.parent
    while parent is not None and parent.type != owner.type:
        parent = parent.parent
    return parent is owner


def attribute(owner: Any, name: str) -> str:
    """The Python name of a member, whose case does not count."""
    members = (known for known in dir(owner) if not known.startswith("__"))
    return next((known for known in members if known.replace("_", "").lower() == name.lower()), name)


def unescaped(text: str) -> str:
    return re.sub(
        r"`(.)", lambda match: {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}.get(match[1], match[1]), text, flags=re.S
    )


def dates(pattern: str) -> str:
    """A .NET date format that our scripts use, as strftime writes it."""
    for net, python in (("yyyy", "%Y"), ("MM", "%m"), ("dd", "%d"), ("HH", "%H"), ("mm", "%M"), ("ss", "%S")):
        pattern = pattern.replace(net, python)
    return pattern


def string_method(owner: str, name: str, arguments: list[Any]) -> Any:
    methods: dict[str, Callable[..., Any]] = {
        "tolowerinvariant": owner.lower,
        "toupperinvariant": owner.upper,
        "tostring": lambda: owner,
        "replace": owner.replace,
        "split": owner.split,
        "trim": owner.strip,
        "contains": lambda part: part in owner,
    }
    if name not in methods:
        raise Missing(f"string.{name}()")
    return methods[name](*arguments)
