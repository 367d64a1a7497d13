# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service knows of a guest that a list of credentials does not say: its address and its kind. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["KnownGuest", "known_guests"]


@dataclass(frozen=True)
class KnownGuest:
    address: str | None = None
    os: str | None = None
    """`linux` or `windows`."""


def known_guests(vms: Iterable[Mapping[str, Any]]) -> dict[str, KnownGuest]:
    """By UUID and, where only one VM has it, by name; `vms` are VM records of the API.

    Only a guest that was linked once is known: a hypervisor's own record has no addresses. What a guest has said is
    believed to be an address where it has the form of one.
    """
    found: dict[str, KnownGuest] = {}
    names: dict[str, list[KnownGuest]] = {}
    for vm in vms:
        told = vm.get("vm_info")
        told = told if isinstance(told, Mapping) else {}
        kind = told.get("guest_os_type")
        guest = KnownGuest(_address(vm, told), kind if kind in ("linux", "windows") else None)
        found[str(vm["vm_uuid"])] = guest
        names.setdefault(str(vm["vm_name"]), []).append(guest)
    return {**{name: guests[0] for name, guests in names.items() if len(guests) == 1}, **found}


def _address(vm: Mapping[str, Any], told: Mapping[str, Any]) -> str | None:
    """The one that it called from where that is its own, else its first that others can reach; IPv4 before IPv6."""
    interfaces = _mappings(told.get("network_interfaces"))
    said = [each for family in ("ipv4", "ipv6") for one in interfaces for each in _mappings(one.get(family))]
    own = [address for each in said if (address := _reachable(each.get("ip_address"))) is not None]
    peer = str((vm.get("link") or {}).get("peer") or "")
    for address in own:
        if peer == address or peer.startswith((address + ":", "[" + address + "]:")):
            return address
    return own[0] if own else None


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _reachable(text: Any) -> str | None:
    try:
        address = ipaddress.ip_address(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if address is None or address.is_loopback or address.is_link_local or address.is_multicast:
        return None
    return None if address.is_unspecified else str(address)
