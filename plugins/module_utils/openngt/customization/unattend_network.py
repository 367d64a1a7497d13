# SPDX-License-Identifier: GPL-3.0-or-later
"""A network config of version 2 as an answer file of Windows tells it: TCPIP and DNS-Client, both in specialize.

Interfaces are named by their MAC, as the pages of both components' `Identifier` allow: other names are not the same
from one image to the next. Their pages also give the order of the settings, which counts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from .answer_tree import AnswerFile, add_item, child, set_texts
from .network_config import MAC, dns_of, routes_of, unwrapped
from .options import invalid

__all__ = ["add_network"]

TCPIP = "Microsoft-Windows-TCPIP"
DNS = "Microsoft-Windows-DNS-Client"
PASS = "specialize"  # noqa: S105 - of an answer file
SAID = frozenset({"match", "dhcp4", "dhcp6", "addresses", "gateway4", "gateway6", "routes", "nameservers"})
ONE_LENGTH = 64
"""The page of Route's `Prefix`: of IPv6 no other length is taken, unless the first 16 bits are zero."""


def add_network(answers: AnswerFile, network: Mapping[str, Any]) -> None:
    """INVALID_INPUT names what an answer file cannot say, as `network.ethernets.nic0.mtu`."""
    config = unwrapped(network)
    for key in config:
        if key not in ("version", "ethernets"):
            raise _unsayable(f"network.{key}")
    if config.get("version") != 2:
        raise invalid("network.version", "must be 2")
    servers: dict[str, list[str]] = {}
    domains: dict[str, None] = {}
    for name, given in _mapping(config.get("ethernets", {}), "network.ethernets").items():
        field = f"network.ethernets.{name}"
        interface = _mapping(given, field)
        identifier = _identifier(interface, field)
        _addresses(answers, identifier, interface, field)
        dns = dns_of(interface, field)
        servers[identifier] = dns.get("dns_nameservers", [])
        domains.update(dict.fromkeys(dns.get("dns_search", ())))
    _name_servers(answers, servers, list(domains))


def _name_servers(answers: AnswerFile, servers: Mapping[str, Sequence[str]], domains: Sequence[str]) -> None:
    """The domains to search are the machine's, and stand before the interfaces."""
    if domains:
        _listed(child(answers.component(DNS, PASS), "DNSSuffixSearchOrder"), "DomainName", domains)
    for identifier, addresses in servers.items():
        if addresses:
            added = add_item(child(answers.component(DNS, PASS), "Interfaces"), "Interface")
            set_texts(added, Identifier=identifier)
            _listed(child(added, "DNSServerSearchOrder"), "IpAddress", addresses)


def _addresses(answers: AnswerFile, identifier: str, interface: Mapping[str, Any], field: str) -> None:
    addresses = [_address(text, f"{field}.addresses") for text in interface.get("addresses") or ()]
    routes = [route for _version, route in routes_of(interface, field)]
    added = add_item(child(answers.component(TCPIP, PASS), "Interfaces"), "Interface")
    set_texts(child(added, "Ipv4Settings"), DhcpEnabled=_flag(interface.get("dhcp4")))
    if interface.get("dhcp6") is not None or any(address.version == 6 for address in addresses):
        set_texts(child(added, "Ipv6Settings"), DhcpEnabled=_flag(interface.get("dhcp6")))
    set_texts(added, Identifier=identifier)
    if addresses:
        _listed(child(added, "UnicastIpAddresses"), "IpAddress", [str(address) for address in addresses])
    for number, route in enumerate(routes):
        prefix = _prefix(route, field)
        set_texts(
            add_item(child(added, "Routes"), "Route"),
            Identifier=number,
            NextHopAddress=route["gateway"],
            Prefix=prefix,
        )


def _identifier(interface: Mapping[str, Any], field: str) -> str:
    for key in interface:
        if key not in SAID:
            raise _unsayable(f"{field}.{key}")
    match = _mapping(interface.get("match", {}), f"{field}.match")
    mac = match.get("macaddress")
    if set(match) != {"macaddress"} or not isinstance(mac, str) or not MAC.fullmatch(mac):
        raise invalid(f"{field}.match", "must name the interface by macaddress alone for an answer file")
    return mac.upper().replace(":", "-")


def _address(text: Any, field: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        if "/" in text:
            return ipaddress.ip_interface(text)
    except (TypeError, ValueError):
        pass
    raise invalid(field, "must hold IP addresses with their prefix length")


def _prefix(route: Mapping[str, str], field: str) -> str:
    network = ipaddress.ip_network(f"{route['network']}/{route['netmask']}") if "." in route["netmask"] else None
    if network is not None:
        return str(network)
    length = bin(int(ipaddress.IPv6Address(route["netmask"]))).count("1")
    if length != ONE_LENGTH and int(ipaddress.IPv6Address(route["network"])) >> 112:
        raise invalid(f"{field}.routes", f"holds a route of IPv6 with another prefix length than {ONE_LENGTH}")
    return f"{route['network']}/{length}"


def _listed(parent: ElementTree.Element, name: str, values: Sequence[str]) -> None:
    """In the order of their keys, which is the one that counts."""
    for number, value in enumerate(values, 1):
        add_item(parent, name, str(number)).text = value


def _flag(value: Any) -> str:
    return "true" if value else "false"


def _mapping(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise invalid(field, "must be a mapping")
    return value


def _unsayable(field: str) -> Exception:
    return invalid(field, "cannot be told by an answer file: leave it out, or set it by options.first_logon_commands")
