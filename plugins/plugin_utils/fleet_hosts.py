# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From hosts of the inventory, with templates and vaults, to guests. What it reads stays in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError

from ..module_utils.openngt.errors import OpenNGTError
from ..module_utils.openngt.install.fleet.inventory import target_from_variables
from ..module_utils.openngt.install.fleet.report import Refused
from ..module_utils.openngt.install.fleet.target import Target
from ..module_utils.openngt.install.fleet.variables import FAMILIES, ROWS

__all__ = ["guests_of", "plain"]

NAMES = frozenset({"ansible_connection"} | {name for row in ROWS for name in row.variables})
PREFIXES = tuple(sorted({prefix for prefixes in FAMILIES.values() for prefix in prefixes}))


def guests_of(
    hosts: Sequence[str], hostvars: Mapping[str, Any], defaults: Mapping[str, Any], *, trust_new: bool
) -> tuple[list[Target], list[Refused]]:
    """Targets, and the hosts that are none, with the reason. `defaults` count where a host has no such variable."""
    targets, refused = [], []
    for host in map(str, hosts):
        vm = host
        try:
            variables = {**defaults, **_evaluated(host, hostvars)}
            vm = str(variables.get("openngt_vm") or host)
            targets.append(target_from_variables(host, variables, trust_new=trust_new))
        except OpenNGTError as error:
            refused.append(Refused(host, vm, error))
    return targets, refused


def _evaluated(host: str, hostvars: Mapping[str, Any]) -> dict[str, Any]:
    """The host's variables that are about its connection, as plain values."""
    if host not in hostvars:
        raise OpenNGTError("INVALID_INPUT", f"the inventory has no host {host!r}")
    variables = hostvars[host]
    found = {}
    for name in variables:
        if name in NAMES or name.startswith(PREFIXES):
            try:
                found[str(name)] = plain(variables[name])
            except AnsibleError as exc:  # its text may quote the value
                message = f"{host}: {name} cannot be evaluated ({type(exc).__name__})"
                raise OpenNGTError("INVALID_INPUT", message, {"host": host, "variable": str(name)}) from None
    return found


def plain(value: Any) -> Any:
    """Ansible's tagged, vaulted and lazy values as what they stand for."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    return str(value)
