# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VM of the service is as a host of an inventory: its name, address, variables and groups. Pure.

Much of a record was said by a guest or typed by whoever named a VM, so nothing of it is believed beyond its shape.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union

from .openngt.errors import OpenNGTError

__all__ = [
    "FAMILIES",
    "FIXED_GROUPS",
    "address_of",
    "distinct_names",
    "groups_of",
    "networks",
    "variables_of",
    "without_twins",
]

Json = Mapping[str, Any]
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]  # noqa: UP007 - sanity's pylint takes no | here
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]  # noqa: UP007

FAMILIES = {"ipv4": (4,), "ipv6": (6,), "any": (4, 6)}

FIXED_GROUPS = (
    "not_enrolled",
    "clone_pending",
    "link_active",
    "link_inactive",
    "transport_serial",
    "transport_tls",
    "power_on",
    "power_off",
    "power_paused",
    "power_unknown",
    "expiry_pass",
    "expiry_info",
    "expiry_warn",
    "expiry_fail",
    "reboot_required",
)
"""There are always these, without a host too, so that a pattern never names a group that is missing today."""

LONGEST_WORD = 64
# What Ansible gives a meaning of its own. A VM called localhost would be where each play runs its controller's tasks.
RESERVED = frozenset({"all", "ungrouped", "localhost", "127.0.0.1", "::1", ".", ".."})
# A path, a template, or what no terminal shows as it is: a name is also a file below host_vars, and is templated.
NOT_PLAIN = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]|\{\{|\{%|\{#|^\s*$|^-")


def groups_of(record: Json) -> list[str]:
    """Groups of a VM record, or of a VM of the hypervisor that is not enrolled; without the prefix."""
    found = [f"power_{record.get('power_state') or 'unknown'}"]
    if "communication_link_active" not in record:
        return ["not_enrolled", *found, *(["clone_pending"] if record.get("clone_pending") else [])]
    found.append("link_active" if record["communication_link_active"] else "link_inactive")
    if record.get("transport"):
        found.append(f"transport_{record['transport']}")
    if record.get("certificate"):
        found.append(f"expiry_{record['certificate']['expiry'].lower()}")
    if record.get("reboot_required"):
        found.append("reboot_required")
    for name, said in (("version", record.get("agent_version")), ("os", _guest(record).get("guest_os_id"))):
        word = _word(said)
        if word:
            found.append(f"{name}_{word}")
    return found


def variables_of(record: Json, prefix: str) -> dict[str, Any]:
    """Every field of the record, named `<prefix><field>` (once where a field begins with it), and `openngt_vm`."""
    fields = {**record, "enrolled": record.get("enrolled", True)}
    named = {field if field.startswith(prefix) else prefix + field: value for field, value in fields.items()}
    return {**named, "openngt_vm": record["vm_uuid"]}


def networks(subnets: Sequence[str]) -> list[Network]:
    """INVALID_INPUT names what is no network; host bits are refused, as they are usually a slip."""
    found = []
    for number, text in enumerate(subnets, 1):
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError:
            message = f"subnets: entry {number} is no network; give one such as 10.0.0.0/8 or 2001:db8::/32"
            raise OpenNGTError("INVALID_INPUT", message, {"field": "subnets", "entry": number}) from None
    return found


def address_of(record: Json, family: str, wanted: Sequence[Network]) -> str | None:
    """The first address that the guest has said and that others can reach, or None.

    `family` is a key of FAMILIES. With `wanted` only addresses in those networks, the first network first.
    """
    usable = [address for address in _addresses(record) if address.version in FAMILIES[family]]
    usable.sort(key=lambda address: address.version)  # stable: the guest's own order within a family
    if wanted:
        usable = [address for network in wanted for address in usable if address in network]
    return str(usable[0]) if usable else None


def without_twins(records: Sequence[Json]) -> tuple[list[Json], list[str]]:
    """The records whose UUID is theirs alone, and a warning for each UUID that several have: which is meant?"""
    count = Counter(record["vm_uuid"] for record in records)
    alone = [record for record in records if count[record["vm_uuid"]] == 1]
    warnings = [
        f"{number} VMs of the hypervisor have the UUID {vm_uuid} and are left out; give all but one another UUID"
        for vm_uuid, number in sorted(count.items())
        if number > 1
    ]
    return alone, warnings


def distinct_names(wanted: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """By VM UUID the name of each host, different for all, and warnings about those that are not what was wanted.

    Who shares a name gets it with eight digits of the UUID, all of them: no run may call one VM by what was the other's
    name. A name that Ansible would take for something else becomes the UUID.
    """
    names, warnings = {}, []
    for vm_uuid, name in wanted.items():
        plain = not NOT_PLAIN.search(name) and name.lower() not in RESERVED
        names[vm_uuid] = name if plain else vm_uuid
        if not plain:
            warnings.append(f"the name of VM {vm_uuid} cannot be a host's ({name[:64]!r}); its UUID is used")
    shared = {name for name, number in Counter(names.values()).items() if number > 1}
    for name in sorted(shared):
        warnings.append(f"several VMs are called {name}: their hosts are called {name}_<8 digits of the UUID>")
    suffixed = {vm_uuid: f"{name}_{vm_uuid[:8]}" if name in shared else name for vm_uuid, name in names.items()}
    still = {name for name, number in Counter(suffixed.values()).items() if number > 1}
    return {vm_uuid: vm_uuid if name in still else name for vm_uuid, name in suffixed.items()}, warnings


def _guest(record: Json) -> Json:
    said = record.get("vm_info")
    return said if isinstance(said, Mapping) else {}


def _word(said: Any) -> str:
    """What a guest says as a part of a group's name, at most 64 characters; empty for what is no text."""
    return re.sub(r"[^a-z0-9]+", "_", said.lower())[:LONGEST_WORD].strip("_") if isinstance(said, str) else ""


def _addresses(record: Json) -> Iterator[Address]:
    """In the guest's order, without those that mean nothing outside of it."""
    interfaces = _guest(record).get("network_interfaces")
    for interface in interfaces if isinstance(interfaces, list) else ():
        for family in ("ipv4", "ipv6"):
            entries = interface.get(family) if isinstance(interface, Mapping) else None
            for entry in entries if isinstance(entries, list) else ():
                text = entry.get("ip_address") if isinstance(entry, Mapping) else None
                address = _parsed(text)
                if address is not None:
                    yield address


def _parsed(text: Any) -> Address | None:
    try:
        address = ipaddress.ip_address(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if address is None or getattr(address, "scope_id", None):
        return None
    unreachable = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    return None if unreachable else address
