# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection's playbooks take, and what is wrong with what they were given. No value is ever quoted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ..module_utils.openngt.install.fleet.shapes import nearest, shape_of

__all__ = ["Catalogue", "problem_of"]

ROOT = Path(__file__).resolve().parents[2]
CHECKED = ("type", "choices", "elements")
Json = dict[str, Any]


class Catalogue:
    """The data files of the playbooks and the arguments of the roles; `load(path)` parses a file of YAML."""

    def __init__(self, load: Callable[[str], Any]) -> None:
        self._load = load

    def options(self, playbook: Mapping[str, Any]) -> Json:
        """All variables of one playbook by name, those of its roles as well."""
        found = dict(playbook["options"])
        for role in playbook["roles"]:
            found.update(self._arguments(role))
        return found

    def roles(self) -> list[str]:
        return sorted(path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))

    def names(self) -> set[str]:
        """Every name that some playbook or role takes, and those of the numbers that they leave behind."""
        found: set[str] = set()
        for path in sorted(ROOT.glob("playbooks/vars/*.yml")):
            playbook = self._load(str(path))["openngt_playbook"]
            found |= {*playbook["options"], playbook["artifact"]}
        for role in self.roles():
            found |= set(self._arguments(role))
        return found

    def strangers(self, given: Iterable[str]) -> list[str]:
        """Those of the given names that look like ours and are none."""
        ours = ("openngt_", *(f"{role}_" for role in self.roles()))
        looking = [name for name in given if name.startswith(ours)]
        return sorted(set(looking) - self.names()) if looking else []

    def correction(self, name: str) -> str:
        meant = nearest(name, self.names())
        return f"; {meant} is meant, perhaps" if meant else ""

    def _arguments(self, role: str) -> Json:
        path = ROOT / "roles" / role / "meta/argument_specs.yml"
        found: Json = self._load(str(path))["argument_specs"]["main"]["options"]
        return found


def problem_of(name: str, option: Mapping[str, Any], value: Any) -> str | None:
    """What is wrong with a given value; None: nothing. A survey hands empty text over where nobody has answered."""
    if value is None or value == "":
        return f"{name} is missing: {lowered(option['description'])}" if option.get("required") else None
    if fits(name, option, value):
        return None
    return f"{name} is {shape_of(value)}; wanted is {wanted(option)}"


def fits(name: str, option: Mapping[str, Any], value: Any) -> bool:
    # As Ansible does it for a module, but that any object is text to it.
    if option["type"] in ("str", "path") and isinstance(value, (Mapping, list)):
        return False
    checked = ArgumentSpecValidator({name: spec_of(option)}).validate({name: value})
    return not checked.error_messages


def spec_of(option: Mapping[str, Any]) -> Json:
    spec = {key: option[key] for key in CHECKED if key in option}
    if "options" in option:
        spec["options"] = {name: spec_of(each) for name, each in option["options"].items()}
    return spec


def wanted(option: Mapping[str, Any]) -> str:
    if option.get("choices"):
        return "one of " + ", ".join(map(str, option["choices"]))
    if option.get("options"):
        return "an object of " + ", ".join(option["options"])
    words = {
        "str": "text",
        "path": "a path",
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "dict": "an object",
        "list": f"a list of {option.get('elements', 'values')}",
    }
    return words.get(option["type"], option["type"])


def lowered(description: str | list[str]) -> str:
    text = description if isinstance(description, str) else description[0]
    return text[:1].lower() + text[1:].rstrip(".")
