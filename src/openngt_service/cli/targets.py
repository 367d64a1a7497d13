# SPDX-License-Identifier: GPL-3.0-or-later
"""Which guests a fleet install is for: a list of credentials or an Ansible inventory, and what `--limit` leaves."""

import fnmatch
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openngt.client import Client
from openngt.effects import run
from openngt.errors import OpenNGTError
from openngt.install.fleet import credentials
from openngt.install.fleet.inventory import target_from_variables
from openngt.install.fleet.known_guests import known_guests
from openngt.install.fleet.private_file import PrivateFile
from openngt.install.fleet.report import Refused
from openngt.install.fleet.target import Target
from openngt.install.fleet.variables import ROWS

__all__ = ["Guests", "limited", "read_credentials", "read_inventory"]

INVENTORY_SECONDS = 300.0
EVALUATED_BY = "the playbook openngt.guest_tools.fleet_install evaluates it"
STRICT = {
    # An inventory that cannot be read is an error here, where it is a warning to Ansible.
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
    "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
    # What it prints holds the passwords, and it prints into its log as well.
    "ANSIBLE_LOG_PATH": "/dev/null",
}
WORDS_OF_ANSIBLE = ("[ERROR]", "ERROR", "Origin: ")
"""How those of its lines begin that say what is wrong; others quote the file, where a password may stand."""
NEVER_EVALUATED = frozenset(variable for row in ROWS for variable in row.variables) | {"ansible_connection"}


@dataclass
class Guests:
    """Whom to install in, in the order of the source; `groups` are those of an inventory, by name."""

    targets: list[Target] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    file: PrivateFile | None = None
    """The list's, where it was read from one."""


def read_credentials(source: str, service: Callable[[], Client], *, trust_new: bool) -> Guests:
    """`source` is a file, or `-`: standard input. Raises what `read_file` and `targets_from_list` do."""
    file = None if source == "-" else credentials.read_file(source)
    content = credentials.read_stream(sys.stdin.buffer) if file is None else file.content
    with service() as client:
        known = known_guests(client.vms())
    listed = credentials.targets_from_list(content, known=known, trust_new=trust_new)
    return Guests(listed.targets, listed.refused, file=file)


def read_inventory(path: Path, environment: Mapping[str, str], *, trust_new: bool) -> Guests:
    """The hosts that `ansible-inventory` finds; `environment` is that of this process.

    COMMAND_NOT_FOUND where Ansible is not installed, INVALID_INPUT with its own words where it refuses.
    """
    beside = Path(sys.executable).with_name("ansible-inventory")
    program = str(beside) if beside.exists() else shutil.which("ansible-inventory") or "ansible-inventory"
    done = run(
        [program, "--inventory", str(path), "--list"],
        INVENTORY_SECONDS,
        stdin="",
        environment={**environment, **STRICT},
    )
    if done.returncode:
        lines = dict.fromkeys(line for line in done.stderr.splitlines() if line.startswith(WORDS_OF_ANSIBLE))
        told = "; ".join(lines) or f"exit status {done.returncode}"
        remedy = f"see it whole: ansible-inventory -i {path} --list; vaulted files need ANSIBLE_VAULT_PASSWORD_FILE"
        raise OpenNGTError("INVALID_INPUT", f"ansible-inventory refuses {path}: {told}", remedy=remedy)
    return guests_of(json.loads(done.stdout), trust_new=trust_new)


def guests_of(listing: Mapping[str, Any], *, trust_new: bool) -> Guests:
    """From the answer of `ansible-inventory --list`."""
    guests = Guests(groups={name: frozenset(_hosts_of(listing, name)) for name in listing if name != "_meta"})
    hostvars = listing.get("_meta", {}).get("hostvars", {})
    for name in _hosts_of(listing, "all"):
        variables = hostvars.get(name, {})
        try:
            _require_values(name, variables)
            guests.targets.append(target_from_variables(name, variables, trust_new=trust_new))
        except OpenNGTError as error:
            vm = variables.get("openngt_vm")
            guests.refused.append(Refused(name, vm if isinstance(vm, str) else name, error))
    if not guests.targets and not guests.refused:
        raise OpenNGTError("INVALID_INPUT", "the inventory has no hosts")
    return guests


def _hosts_of(listing: Mapping[str, Any], group: str) -> dict[str, None]:
    """Those of a group and of the groups in it, in order, each once."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    waiting = [group]
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        inside = listing.get(name) or {}
        found.update(dict.fromkeys(inside.get("hosts", [])))
        waiting += inside.get("children", [])
    return found


def _require_values(name: str, variables: Mapping[str, Any]) -> None:
    """`ansible-inventory` hands out templates and vaulted values as they stand in the inventory."""
    raw = sorted(variable for variable in NEVER_EVALUATED & variables.keys() if _unevaluated(variables[variable]))
    if raw:
        verb = "is a template or vaulted" if len(raw) == 1 else "are templates or vaulted"
        message = f"{name}: {', '.join(raw)} {verb}, which this command does not evaluate"
        raise OpenNGTError("GUEST_LOGIN_UNSUPPORTED", message, {"host": name, "variables": raw}, EVALUATED_BY)


def _unevaluated(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "__ansible_vault" in value
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def limited(guests: Guests, pattern: str | None) -> Guests:
    """What a `--limit` leaves: names, `*` patterns and groups with commas between, `!` for the opposite, `@FILE`.

    INVALID_INPUT when nothing is left, or a name of it is unknown.
    """
    if pattern is None:
        return guests
    names = [target.name for target in guests.targets] + [each.name for each in guests.refused]
    wanted, unwanted = _chosen(_patterns(pattern), names, guests.groups)
    keep = (wanted if wanted is not None else set(names)) - unwanted
    if not keep:
        raise OpenNGTError("INVALID_INPUT", f"limit: none of {len(names)} guests matches {pattern}")
    return Guests(
        [target for target in guests.targets if target.name in keep],
        [each for each in guests.refused if each.name in keep],
        guests.groups,
        guests.file,
    )


def _patterns(pattern: str) -> list[str]:
    found: list[str] = []
    for part in pattern.split(","):
        if not part.startswith("@"):
            found.append(part.strip())
            continue
        try:
            found += Path(part[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
            raise OpenNGTError("FILE_UNUSABLE", f"limit: {part[1:]} cannot be read: {why}") from exc
    return [each for each in found if each]


def _chosen(
    patterns: Iterable[str], names: Sequence[str], groups: Mapping[str, frozenset[str]]
) -> tuple[set[str] | None, set[str]]:
    """(those that are asked for, or None for all; those that are not to be)."""
    wanted: set[str] | None = None
    unwanted: set[str] = set()
    for each in patterns:
        text = each.removeprefix("!")
        matches = {name for name in names if fnmatch.fnmatchcase(name, text) or name in groups.get(text, ())}
        if not matches:
            raise OpenNGTError("INVALID_INPUT", f"limit: no guest and no group is named {text}")
        if each.startswith("!"):
            unwanted |= matches
        else:
            wanted = (wanted or set()) | matches
    return wanted, unwanted
