# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: play_outcome
short_description: Count what became of the hosts of the play so far
version_added: 0.1.0
author: openngt contributors (@openngt)
description:
  - For C(set_stats) in the C(always) part of a play's tasks, so that a job's artifacts have numbers also when it
    failed.
  - All hosts of the play count, those of other batches as well. Why a host failed is read from what its tasks have
    registered under names that begin as those of this collection do.
options:
  _terms:
    description: Names of registered results. A host counts as changed when one of them has changed.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Leave the numbers to what comes after
  ansible.builtin.set_stats:
    data:
      my_numbers: "{{ lookup('openngt.guest_tools.play_outcome', 'openngt_verdict') }}"
    aggregate: false
  run_once: true
"""

RETURN = r"""
_raw:
  description: One row.
  type: list
  elements: dict
  contains:
    counts:
      description: >-
        How many hosts are C(changed), C(unchanged), C(failed), C(unreachable) and C(not_begun). A host is C(not_begun)
        until the playbook has checked the variables of its batch.
      type: dict
    failures:
      description: >-
        Of those that failed or were unreachable, how many by error code; C(TASK_FAILED) where a task gave none.
      type: dict
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ansible.plugins.lookup import LookupBase

OURS = (
    "openngt_",
    "awx_setup_",
    "guest_agent_",
    "guest_customization_",
    "guest_tools_service_",
    "linux_prerequisites_",
    "winrm_prep_",
)
BEGUN = "openngt_validated"
STATES = ("changed", "unchanged", "failed", "unreachable", "not_begun")
IN_TEXT = re.compile(r"(?:\[([A-Z][A-Z0-9_]+)\]|^([A-Z][A-Z0-9_]+): .*;) remedy:", re.DOTALL)
Json = dict[str, Any]


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core ships no type information
    def run(self, terms: Sequence[Any], variables: Any = None, **kwargs: Any) -> list[Json]:
        self.set_options(var_options=variables, direct=kwargs)
        going = set(map(str, variables["ansible_play_hosts"]))
        counts = dict.fromkeys(STATES, 0)
        failures: Counter[str] = Counter()
        for host in map(str, variables["ansible_play_hosts_all"]):
            # Registered results are no templates; to template those of a large fleet for each host would take minutes.
            raw = variables["hostvars"].raw_get(host)
            state, code = judged(raw, terms, host in going)
            counts[state] += 1
            failures.update([code] if code else [])
        return [{"counts": counts, "failures": dict(sorted(failures.items()))}]


def judged(raw: Mapping[str, Any], names: Sequence[str], going: bool) -> tuple[str, str | None]:
    """State and error code of one host, by what was registered for it."""
    if going:
        if BEGUN not in raw:
            return "not_begun", None
        changed = any(result.get("changed") for result in map(raw.get, names) if isinstance(result, Mapping))
        return ("changed" if changed else "unchanged"), None
    results = list(registered(raw))
    for result in results:
        if result.get("failed"):
            return "failed", code_of(result)
    if any(result.get("unreachable") for result in results):
        return "unreachable", "GUEST_UNREACHABLE"
    return "failed", "TASK_FAILED"


def registered(raw: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name, value in raw.items():
        if name.startswith(OURS) and isinstance(value, Mapping):
            yield value


def code_of(result: Mapping[str, Any]) -> str:
    """A module of ours returns it; a verdict of a playbook has it in its text."""
    found = IN_TEXT.search(str(result.get("msg", "")))
    return str(result.get("code") or (found[1] or found[2] if found else "TASK_FAILED"))
