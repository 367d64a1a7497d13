# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of Linux guests as a table, from which input is checked, and from which pages and modules are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from ..errors import OpenNGTError
from ..install.fleet.shapes import nearest

__all__ = ["Option", "checked", "invalid"]

Kind = Literal["str", "bool", "int", "list", "dict", "raw"]

SHAPES: dict[str, tuple[type, str]] = {
    "str": (str, "a string"),
    "bool": (bool, "true or false"),
    "int": (int, "a whole number"),
    "list": (list, "a list"),
    "dict": (dict, "a mapping"),
}


class Option(NamedTuple):
    """`type`, `elements` and `options` mean what they mean in an Ansible argument specification."""

    name: str
    type: Kind
    description: str
    elements: Kind = "str"
    """Of a list."""
    options: tuple[Option, ...] = ()
    """Of a mapping, or of a list's mappings."""
    problem: Callable[[Any], str | None] = lambda value: None
    """What is wrong with a value, or an element, of the right type, as the end of a sentence that starts with its
    field; None for a good one. It never says the value.
    """
    required: bool = False
    secret: bool = False


def invalid(field: str, problem: str) -> OpenNGTError:
    return OpenNGTError("INVALID_INPUT", f"{field} {problem}", {"field": field})


def checked(given: object, table: tuple[Option, ...], field: str) -> dict[str, Any]:
    """The options that were given, in the table's order; None and an empty list count as not given.

    INVALID_INPUT names the field as `options.users[0].name`, and never says its value.
    """
    mapping = _of_type(given, "dict", field)
    known = {option.name for option in table}
    for name in mapping:
        if name not in known:
            shown = name[:64] if isinstance(name, str) else type(name).__name__
            meant = nearest(shown.replace("-", "_"), known)
            there = f"did you mean {meant}?" if meant else f"there are: {', '.join(sorted(known))}"
            raise invalid(field, f"has no option {shown!a}; {there}")
    result = {}
    for option in table:
        value = mapping.get(option.name)
        if value is not None and value != []:
            result[option.name] = _value(value, option, f"{field}.{option.name}")
        elif option.required:
            raise invalid(f"{field}.{option.name}", "is missing")
    return result


def _value(value: object, option: Option, field: str) -> Any:
    if option.type != "list":
        return _one(value, option.type, option, field)
    items = _of_type(value, "list", field)
    return [_one(item, option.elements, option, f"{field}[{number}]") for number, item in enumerate(items)]


def _one(value: object, kind: Kind, option: Option, field: str) -> Any:
    if kind == "dict" and option.options:
        value = checked(value, option.options, field)
    elif kind != "raw":
        value = _of_type(value, kind, field)
    problem = option.problem(value)
    if problem is not None:
        raise invalid(field, problem)
    return value


def _of_type(value: object, kind: Kind, field: str) -> Any:
    wanted, words = SHAPES[kind]
    if isinstance(value, Mapping) and not isinstance(value, dict):
        value = dict(value)
    if isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        hint = "; quote it in YAML" if wanted is str and isinstance(value, bool | int | float) else ""
        raise invalid(field, f"must be {words}, and is {_shape(value)}{hint}")
    return value


def _shape(value: object) -> str:
    names = dict(SHAPES.values())
    return names.get(type(value), f"of type {type(value).__name__}")
