# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines of the original's tools: words of a command, then `key=value` or bare values. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openngt.client import Client
from openngt.errors import OpenNGTError

__all__ = ["Arguments", "Command", "parse"]


@dataclass(frozen=True)
class Arguments:
    named: Mapping[str, str] = field(default_factory=dict)
    bare: Sequence[str] = ()

    def listed(self, *keys: str) -> list[str]:
        """The values of the first of `keys` that was given, separated by commas; a name may hold spaces.

        INVALID_INPUT for a list without a value: no names are not all VMs.
        """
        key = next((key for key in keys if key in self.named), None)
        if key is None:
            return []
        values = [part.strip() for part in self.named[key].split(",") if part.strip()]
        if not values:
            raise OpenNGTError("INVALID_INPUT", f"{key}= is empty", remedy=f"give {key}=VALUE,… or leave it out")
        return values

    def flag(self, key: str) -> bool | None:
        """True or False as `t…`, `f…` in any case; None when it was not given."""
        text = self.named.get(key)
        if text is None:
            return None
        if text.lower() not in {"t", "true", "f", "false"}:
            raise OpenNGTError("INVALID_INPUT", f"{key}: give true or false, not {text!r}")
        return text.lower().startswith("t")

    def number(self, key: str, default: int) -> int:
        text = self.named.get(key, str(default))
        if not text.isascii() or not text.isdigit():
            raise OpenNGTError("INVALID_INPUT", f"{key}: give a whole number, not {text!r}")
        return int(text)


@dataclass(frozen=True)
class Command:
    """One command of a tool. `act` says lines; `keys` may be given, of `bare` values at most so many."""

    act: Callable[[Client, Arguments], Sequence[str]]
    usage: str
    keys: frozenset[str] = frozenset()
    bare: int = 0


def parse(tool: str, commands: Mapping[tuple[str, ...], Command], words: Sequence[str]) -> tuple[Command, Arguments]:
    """The command that `words` begin with, and the rest of them. INVALID_INPUT says what there is instead."""
    for length in range(len(words), 0, -1):
        command = commands.get(tuple(words[:length]))
        if command is not None:
            return command, _arguments(command, words[length:])
    known = "; ".join(command.usage for command in commands.values())
    said = " ".join(words) or "nothing"
    raise OpenNGTError("INVALID_INPUT", f"{tool}: there is no command {said!r}", remedy=f"one of: {known}")


def _arguments(command: Command, words: Sequence[str]) -> Arguments:
    named: dict[str, str] = {}
    bare: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            bare.append(word)
        elif key in named or key not in command.keys:
            what = "twice" if key in named else "unknown here"
            raise OpenNGTError("INVALID_INPUT", f"{key}=: {what}", remedy=f"usage: {command.usage}")
        else:
            named[key] = value
    if len(bare) > command.bare:
        raise OpenNGTError(
            "INVALID_INPUT", f"{bare[command.bare]!r} is one word too many", remedy=f"usage: {command.usage}"
        )
    return Arguments(named, bare)


def required(values: Sequence[Any], what: str, usage: str) -> None:
    if not values:
        raise OpenNGTError("INVALID_INPUT", f"{what} is missing", remedy=f"usage: {usage}")
