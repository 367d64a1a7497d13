# SPDX-License-Identifier: GPL-3.0-or-later
"""A network config of version 2 before it is written: cloud-init's schema, and addresses that are none."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .findings import finding
from .model import Finding
from .safe_yaml import Document, key_of
from .schema_findings import finding_of
from .schemas import Schemas

__all__ = ["validate_network"]

PART = "network"
DEVICES = ("ethernets", "bonds", "bridges", "vlans")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
Path = tuple[Any, ...]
"""Keys and numbers of items, as they lead to a value."""


def validate_network(network: Mapping[str, Any], schemas: Schemas) -> list[Finding]:
    """With or without netplan's `network:` around it, which cloud-init takes as well. LIBRARY_MISSING."""
    inner = network.get("network") if set(network) == {"network"} else None
    config = inner if isinstance(inner, Mapping) else network
    if config.get("version") != 2:
        remedy = "write version: 2; version 1 is not taken here"
        code = "BAD_VALUE" if "version" in config else "MISSING_KEY"
        return [finding(code, PART, "is no network config of version 2", remedy=remedy, key="version")]
    # As in cloud_config_validation: loaded by who judges.
    from ._jsonschema import violations

    document = Document(config, [], None)
    wanted = schemas.network.get("$defs", {})
    schema = {"$ref": "#/$defs/network_config_version2", "$defs": wanted}
    found = [item for one in violations(config, schema) for item in finding_of(one, document, PART)]
    broken = {item.key for item in found}
    return found + [item for item in _addresses(config) if item.key not in broken]


def _addresses(config: Mapping[str, Any]) -> Iterator[Finding]:
    for path, device in _devices(config):
        match = device.get("match")
        mac = match.get("macaddress") if isinstance(match, Mapping) else None
        if isinstance(mac, str) and MAC.fullmatch(mac) is None:
            yield _bad((*path, "match", "macaddress"), "is no MAC address in small letters, as 52:54:00:12:34:56")
        for number, address in enumerate(_texts(device.get("addresses"))):
            if not _is_interface(address):
                yield _bad((*path, "addresses", number), "is no address with its prefix, as 192.0.2.21/24")
        for name, version in (("gateway4", 4), ("gateway6", 6)):
            if isinstance(device.get(name), str) and not _is_address(device[name], version):
                yield _bad((*path, name), f"is no address of IPv{version}")
        servers = device.get("nameservers")
        for number, address in enumerate(_texts(servers.get("addresses") if isinstance(servers, Mapping) else None)):
            if not _is_address(address):
                yield _bad((*path, "nameservers", "addresses", number), "is no address")
        yield from _routes(path, device.get("routes"))


def _routes(path: Path, routes: Any) -> Iterator[Finding]:
    for number, route in enumerate(routes if isinstance(routes, list) else ()):
        if not isinstance(route, Mapping):
            continue
        if isinstance(route.get("to"), str) and route["to"] != "default" and not _is_interface(route["to"]):
            yield _bad((*path, "routes", number, "to"), "is neither default nor a network, as 198.51.100.0/24")
        if isinstance(route.get("via"), str) and not _is_address(route["via"]):
            yield _bad((*path, "routes", number, "via"), "is no address of a gateway")


def _devices(config: Mapping[str, Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for kind in DEVICES:
        devices = config.get(kind)
        for name, device in devices.items() if isinstance(devices, Mapping) else ():
            if isinstance(device, Mapping):
                yield (kind, name), device


def _texts(value: Any) -> list[str]:
    return [item if isinstance(item, str) else "" for item in value] if isinstance(value, list) else []


def _is_address(text: str, version: int | None = None) -> bool:
    try:
        return version in (None, ipaddress.ip_address(text).version)
    except ValueError:
        return False


def _is_interface(text: str) -> bool:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return "/" in text


def _bad(path: Path, what: str) -> Finding:
    return finding("BAD_ADDRESS", PART, what, key=key_of(path))
