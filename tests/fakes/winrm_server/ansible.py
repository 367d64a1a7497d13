# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible's modules send to a Windows guest, read back: which module, with which arguments. No module runs here.

Ansible sends a wrapper of its own on standard input, as JSON, whose form is another in each release of ansible-core
(seen: 2.16 and 2.19). So it is searched for what all forms hold: the arguments, `_ansible_module_name` among them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .programs import Play, Run

__all__ = ["ModuleCall", "Modules", "module_call", "modules"]

Modules = Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]


class ModuleCall(NamedTuple):
    """One module of a play."""

    name: str
    arguments: dict[str, Any]
    """As the play has them."""
    internal: dict[str, Any]
    """Ansible's own, without `_ansible_`: check_mode, diff, …"""


def modules(answers: Modules, raw: Play | None = None) -> Play:
    """A guest where these modules succeed: name -> (arguments -> result). Anything else runs as `raw`.

    A module that is not among them fails as one that Windows lacks something for, with its name.
    """

    def play(run: Run) -> int:
        content = run.read() if _reads_wrapper(run) else b""
        call = module_call(content)
        if call is None:
            return raw(run) if raw is not None else 1
        answer = answers.get(call.name)
        result = answer(call.arguments) if answer else {"failed": True, "msg": f"no simulator of {call.name}"}
        run.say(json.dumps({"changed": False, **result}))
        return 1 if result.get("failed") else 0

    return play


def module_call(content: bytes) -> ModuleCall | None:
    """What the standard input of a command asks for, or None when it is no module."""
    for part in content.decode("utf-8", "replace").split("\0\0\0\0"):
        try:
            read = json.loads(part)
        except ValueError:
            continue
        for each in _objects(read):
            if "_ansible_module_name" in each:
                own = {key: value for key, value in each.items() if not key.startswith("_ansible_")}
                internal = {key.removeprefix("_ansible_"): each[key] for key in each.keys() - own.keys()}
                return ModuleCall(each["_ansible_module_name"], own, internal)
    return None


def _reads_wrapper(run: Run) -> bool:
    """Whether the command is Ansible's bootstrap, which takes a wrapper from standard input."""
    return run.script is not None and "$input" in run.script


def _objects(read: object) -> Iterator[dict[str, Any]]:
    if isinstance(read, dict):
        yield read
        for each in read.values():
            yield from _objects(each)
    elif isinstance(read, list):
        for each in read:
            yield from _objects(each)
