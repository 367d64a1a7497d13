# SPDX-License-Identifier: GPL-3.0-or-later
"""Types for the table of Windows options: each finds all that is wrong with a value, without ever repeating it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from ..errors import OpenNGTError
from ..install.fleet.shapes import nearest, shape_of
from .network_config import INTERFACE_OPTIONS, static_network
from .options import checked

__all__ = [
    "INTERFACES",
    "Flag",
    "Interfaces",
    "ListOf",
    "MappingOf",
    "Number",
    "OneOf",
    "Option",
    "OptionType",
    "Problem",
    "Text",
    "unknown",
]

INTERFACES = tuple(option for option in INTERFACE_OPTIONS if option.name not in ("name", "mtu"))
"""As Linux guests have them, but for what no answer file can say."""


class Problem(NamedTuple):
    key: str
    """Dotted, as `local_accounts.0.password`."""
    message: str
    """What is wrong; begins after the key."""
    remedy: str


class OptionType(Protocol):
    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        """All that is wrong with a value; nothing where it is right."""


@dataclass(frozen=True)
class Text:
    pattern: re.Pattern[str]
    wanted: str
    """For the remedy: what would be right."""

    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield Problem(key, f"is {shape_of(value)}; text is wanted", f"give {self.wanted}")
        elif not self.pattern.fullmatch(value):
            yield Problem(key, f"is {shape_of(value)} of another form than Windows takes", f"give {self.wanted}")


@dataclass(frozen=True)
class Flag:
    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        if not isinstance(value, bool):
            yield Problem(key, f"is {shape_of(value)}", "give true or false")


@dataclass(frozen=True)
class Number:
    least: int
    most: int

    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        if isinstance(value, bool) or not isinstance(value, int):
            yield Problem(key, f"is {shape_of(value)}", f"give a whole number from {self.least} to {self.most}")
        elif not self.least <= value <= self.most:
            yield Problem(key, "is out of bounds", f"give a whole number from {self.least} to {self.most}")


@dataclass(frozen=True)
class OneOf:
    choices: tuple[str, ...]

    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        if value not in self.choices:
            yield Problem(key, f"is {shape_of(value)} that is no choice", f"give one of {', '.join(self.choices)}")


@dataclass(frozen=True)
class ListOf:
    item: OptionType
    most: int = 100

    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        if not isinstance(value, (list, tuple)):
            yield Problem(key, f"is {shape_of(value)}; a list is wanted", "give a list, also for one")
        elif len(value) > self.most:
            yield Problem(key, f"is {shape_of(value)}", f"give at most {self.most}")
        else:
            for number, item in enumerate(value):
                yield from self.item.problems(item, f"{key}.{number}")


@dataclass(frozen=True)
class MappingOf:
    fields: Mapping[str, OptionType]
    required: tuple[str, ...] = ()

    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        if not isinstance(value, Mapping):
            yield Problem(key, f"is {shape_of(value)}; a mapping is wanted", f"give {', '.join(self.fields)}")
            return
        for name in value:
            if name not in self.fields:
                yield unknown(name, self.fields, key)
        for name in self.required:
            if value.get(name) is None:
                yield Problem(f"{key}.{name}", "is missing", "give it")
        for name, kind in self.fields.items():
            if value.get(name) is not None:
                yield from kind.problems(value[name], f"{key}.{name}")


@dataclass(frozen=True)
class Interfaces:
    """Addresses by MAC, by the table INTERFACES."""

    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        if not isinstance(value, (list, tuple)):
            yield Problem(key, f"is {shape_of(value)}; a list is wanted", "give a list, also for one")
            return
        try:
            static_network([checked(item, INTERFACES, f"{key}.{number}") for number, item in enumerate(value)], key)
        except OpenNGTError as exc:
            field = str(exc.details["field"])
            yield Problem(field, exc.message.removeprefix(field).strip(), "see the table of options: interfaces")


@dataclass(frozen=True)
class Option:
    kind: OptionType
    says: str
    """For the pages: one line."""
    formats: tuple[str, ...] = ("sysprep",)
    install_types: tuple[str, ...] = ("prepared", "fresh")
    secret: bool = False


def unknown(name: Any, known: Mapping[str, Any], prefix: str = "") -> Problem:
    """A key that is not known may be a value in the wrong place, so only what looks like a name is repeated."""
    there = ", ".join(known)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,39}", name):
        return Problem(prefix or "options", "has a key that is not known", f"there are {there}")
    meant = nearest(name.replace("-", "_"), known)
    remedy = f"did you mean {meant}?" if meant else f"there are {there}"
    return Problem(f"{prefix}.{name}" if prefix else name, "is not known", remedy)
