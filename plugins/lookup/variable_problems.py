# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: variable_problems
short_description: Say what is wrong with the variables that a playbook of this collection was given
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - Compares what the hosts of the play's batch were given, by the inventory and by C(-e), with the playbook's data
    file. Only what was given is judged; of several hosts with the same problem a few are named.
  - An extra variable that begins as ours do and that no playbook and no role of this collection takes is a problem,
    too, with the nearest right name. In the inventory it may belong to something else, and is a warning where a right
    name is near.
  - A playbook that asks the service needs its address and a token, from a variable or from the environment. Where one
    is missing that is a problem, told once and not by each task.
  - No value is ever quoted, only what it is like.
options:
  _terms:
    description: The variable C(openngt_playbook) of one file in the collection's folder C(playbooks/vars).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Check the variables
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('; ') }}"
  vars:
    options:
      openngt_via:
        description: The way.
        type: str
        choices: [auto, link, iso]
    problems: "{{ query('openngt.guest_tools.variable_problems', {'roles': [], 'options': options}) }}"
  run_once: true
"""

RETURN = r"""
_raw:
  description: One line for each problem; none when all is well.
  type: list
  elements: str
"""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars

from ..plugin_utils.fleet_hosts import plain
from ..plugin_utils.playbook_variables import Catalogue, problem_of

display = Display()

FEW = 3
SERVICE = {"openngt_endpoint": "OPENNGT_ENDPOINT", "openngt_token": "OPENNGT_TOKEN"}
SLIP = 0.92
"""How like a right name one of the inventory is that is a slip, and not somebody's own."""


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core ships no type information
    def run(self, terms: Sequence[Any], variables: Any = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        catalogue = Catalogue(self._loader.load_from_file)
        options = catalogue.options(plain(terms[0]))
        extra = set(map(str, load_extra_vars(self._loader)))
        problems = [
            f"{name} is no variable of a playbook or role of this collection{catalogue.correction(name)}"
            for name in catalogue.strangers(extra)
        ]
        hosts = [str(host) for host in variables.get("ansible_play_batch") or [variables["inventory_hostname"]]]
        seen: dict[str, list[str]] = {}
        names: set[str] = set()
        for host in hosts:
            given = variables["hostvars"][host]
            names |= {str(name) for name in given}
            for problem in [*problems_of(options, given), *without_service(options, given, variables)]:
                seen.setdefault(problem, []).append(host)
        self._warn(catalogue, names - extra)
        return problems + [text + of_hosts(at, len(hosts)) for text, at in seen.items()]

    def _warn(self, catalogue: Catalogue, names: set[str]) -> None:
        strangers = catalogue.strangers(names)
        known = sorted(catalogue.names()) if strangers else []
        for name in strangers:
            near = difflib.get_close_matches(name, known, n=1, cutoff=SLIP)
            if near:
                display.warning(f"the inventory has {name}, which nothing reads; {near[0]} is meant, perhaps")


def problems_of(options: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    for name, option in options.items():
        try:
            problem = problem_of(name, option, plain(given[name]) if name in given else None)
        except AnsibleError as exc:  # its text may quote the value
            problem = f"{name} cannot be evaluated ({type(exc).__name__})"
        if problem:
            yield problem


def without_service(options: Mapping[str, Any], *given: Mapping[str, Any]) -> Iterator[str]:
    """What a playbook that asks the service was not told: not by a host's variables, the play's or the environment."""
    for name, variable in SERVICE.items():
        if name in options and not os.environ.get(variable) and not any(has(each, name) for each in given):
            yield f"{name} is not given and {variable} is not set; in AWX the template lacks the service's credential"


def has(given: Mapping[str, Any], name: str) -> bool:
    try:
        return name in given and bool(given[name])
    except AnsibleError:  # it was given, and what is wrong with it is told elsewhere
        return True


def of_hosts(hosts: Sequence[str], total: int) -> str:
    """Which hosts have it, where not all of them do."""
    if len(hosts) == total:
        return ""
    more = f" and {len(hosts) - FEW} more" if len(hosts) > FEW else ""
    return f" ({', '.join(hosts[:FEW])}{more})"
