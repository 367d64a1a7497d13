# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's network: from addresses by MAC to network config version 2, and from that to a config drive's form."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .options import Option, invalid

__all__ = [
    "INTERFACE_OPTIONS",
    "MAC",
    "dns_of",
    "macs_wanted",
    "network_data",
    "routes_of",
    "static_network",
    "unwrapped",
]

Json = dict[str, Any]

MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
INTERFACE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")
SEARCH_DOMAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")
DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}


def _mac(value: str) -> str | None:
    return None if MAC.fullmatch(value) else "must be a MAC address, as 52:54:00:12:34:56"


def _interface_name(value: str) -> str | None:
    return None if INTERFACE_NAME.fullmatch(value) else "must be a name of at most 15 characters, as lan0"


def _with_prefix(value: str) -> str | None:
    try:
        ipaddress.ip_interface(value)
    except ValueError:
        return "must be an IP address with its prefix length, as 192.0.2.10/24"
    return None if "/" in value else "lacks its prefix length, as in 192.0.2.10/24"


def _address_of(version: int | None) -> Any:
    def problem(value: str) -> str | None:
        try:
            good = version in (None, ipaddress.ip_address(value).version)
        except ValueError:
            good = False
        return None if good else f"must be an IP{'' if version is None else f'v{version}'} address"

    return problem


def _destination(value: str) -> str | None:
    try:
        prefix = ipaddress.ip_network(value).prefixlen
    except ValueError:
        return "must be a network, as 198.51.100.0/24 (no bits behind the prefix)"
    return "is the default route: say gateway4 or gateway6" if prefix == 0 else None


def _search(value: str) -> str | None:
    return None if SEARCH_DOMAIN.fullmatch(value) else "must be a domain, as example.com"


def _mtu(value: int) -> str | None:
    return None if 68 <= value <= 65535 else "must be between 68 and 65535"


ROUTE_OPTIONS = (
    Option("to", "str", "The network.", problem=_destination, required=True),
    Option("via", "str", "The gateway.", problem=_address_of(None), required=True),
)

INTERFACE_OPTIONS = (
    Option("mac", "str", "MAC address of the interface that is meant.", problem=_mac, required=True),
    Option("name", "str", "Name that the interface gets; it keeps the one it has.", problem=_interface_name),
    Option("dhcp4", "bool", "Whether to ask for an IPv4 address."),
    Option("dhcp6", "bool", "Whether to ask for an IPv6 address."),
    Option("addresses", "list", "Addresses with their prefix length.", problem=_with_prefix),
    Option("gateway4", "str", "Default gateway for IPv4.", problem=_address_of(4)),
    Option("gateway6", "str", "Default gateway for IPv6.", problem=_address_of(6)),
    Option("nameservers", "list", "Addresses of name servers.", problem=_address_of(None)),
    Option("search", "list", "Domains in which short names are looked for.", problem=_search),
    Option("mtu", "int", "Largest packet, in bytes.", problem=_mtu),
    Option("routes", "list", "Further routes.", elements="dict", options=ROUTE_OPTIONS),
)


def static_network(interfaces: list[Json], field: str) -> Json:
    """Network config version 2 of checked `INTERFACE_OPTIONS`. INVALID_INPUT names a MAC or a name given twice."""
    ethernets: Json = {}
    taken: set[str] = set()
    for number, interface in enumerate(interfaces):
        mac = interface["mac"].lower().replace("-", ":")
        for key, value in (("mac", mac), ("name", interface.get("name"))):
            if value in taken:
                raise invalid(f"{field}[{number}].{key}", "was given to an earlier interface")
            taken.update([value] if value else [])
        ethernets[f"nic{number}"] = _ethernet(mac, interface)
    return {"version": 2, "ethernets": ethernets}


def _ethernet(mac: str, interface: Json) -> Json:
    result: Json = {"match": {"macaddress": mac}}
    if "name" in interface:
        result["set-name"] = interface["name"]
    # netplan would rather have default routes among the routes, and newer cloud-init says so, without an error. But it
    # makes ::/64 of ::/0 there for all other renderers, NetworkManager gets IPv6's route among those of IPv4, and
    # ifupdown runs `route`, which a guest without net-tools does not have.
    for key in ("dhcp4", "dhcp6", "mtu", "addresses", "gateway4", "gateway6", "routes"):
        if key in interface:
            result[key] = interface[key]
    servers = {"addresses": interface.get("nameservers"), "search": interface.get("search")}
    if any(servers.values()):
        result["nameservers"] = {key: value for key, value in servers.items() if value}
    return result


def unwrapped(network: Mapping[str, Any]) -> Json:
    """The network config without netplan's `network:` around it, which cloud-init takes, too."""
    inner = network.get("network")
    return dict(inner) if set(network) == {"network"} and isinstance(inner, Mapping) else dict(network)


def macs_wanted(network: Mapping[str, Any]) -> list[str]:
    """The MACs (small letters, colons) by which a network config names interfaces, but for those that may be missing.

    Where one is missing cloud-init sets up no network at all, and runs nothing.
    """
    ethernets = unwrapped(network).get("ethernets")
    found = []
    for interface in ethernets.values() if isinstance(ethernets, Mapping) else ():
        match = interface.get("match") if isinstance(interface, Mapping) else None
        mac = match.get("macaddress") if isinstance(match, Mapping) else None
        if isinstance(mac, str) and MAC.fullmatch(mac) and not interface.get("optional"):
            found.append(mac.lower().replace("-", ":"))
    return found


SAID_BY_A_CONFIG_DRIVE = frozenset(
    {"match", "set-name", "dhcp4", "dhcp6", "addresses", "gateway4", "gateway6", "routes", "nameservers", "mtu"}
)


def network_data(network: Mapping[str, Any], *, gateways: bool = False) -> Json:
    """Network config version 2 as a config drive's network_data.json: links by MAC, networks and name servers.

    OpenStack's format knows less. INVALID_INPUT names what it cannot say; the datasource nocloud takes all of it.
    The `name` of a link and the `dns_…` of a network are not in OpenStack's schema; cloud-init reads them (22.4, where
    most renderers leave the services' name servers aside). So it is with `gateway`, which `gateways` writes in place of
    a default route: for a route, Debian's ifupdown is told to run `route`, which no guest without net-tools has.
    Where no interface of the guest has a MAC that is named, cloud-init does nothing at all with a config drive.
    """
    config = unwrapped(network)
    for key in config:
        if key not in ("version", "ethernets", "renderer"):
            raise _unsayable(f"network.{key}")
    if config.get("version") != 2:
        raise invalid("network.version", "must be 2")
    links, networks, services = [], [], []
    for name, interface in _mapping(config.get("ethernets", {}), "network.ethernets").items():
        field = f"network.ethernets.{name}"
        found = _mapping(interface, field)
        links.append(_link(str(name), found, field))
        networks += _networks(str(name), found, field, gateways)
        services += [{"type": "dns", "address": address} for address in dns_of(found, field).get("dns_nameservers", ())]
    return {"links": links, "networks": networks, "services": services}


def _unsayable(field: str) -> Exception:
    return invalid(field, "cannot be told by a config drive: use the datasource nocloud, or leave it out")


def _mapping(value: object, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise invalid(field, "must be a mapping")
    return value


def _list(given: Mapping[str, Any], key: str, field: str) -> list[Any]:
    value = given.get(key, [])
    if not isinstance(value, list | tuple):
        raise invalid(f"{field}.{key}", "must be a list")
    return list(value)


def _link(name: str, interface: Mapping[str, Any], field: str) -> Json:
    for key in interface:
        if key not in SAID_BY_A_CONFIG_DRIVE:
            raise _unsayable(f"{field}.{key}")
    match = _mapping(interface.get("match", {}), f"{field}.match")
    mac = match.get("macaddress")
    if set(match) != {"macaddress"} or not isinstance(mac, str) or not MAC.fullmatch(mac):
        raise invalid(f"{field}.match", "must name the interface by macaddress alone for a config drive")
    link: Json = {"id": name, "type": "phy", "ethernet_mac_address": mac.lower().replace("-", ":")}
    if "set-name" in interface:
        link["name"] = interface["set-name"]
    if "mtu" in interface:
        link["mtu"] = interface["mtu"]
    return link


def _networks(name: str, interface: Mapping[str, Any], field: str, gateways: bool) -> list[Json]:
    result: list[Json] = []
    for version in (4, 6):
        if interface.get(f"dhcp{version}"):
            result.append({"type": f"ipv{version}_dhcp"})
    for number, text in enumerate(_list(interface, "addresses", field)):
        if not isinstance(text, str) or _with_prefix(text):
            raise invalid(f"{field}.addresses[{number}]", "must be an IP address with its prefix length")
        address = ipaddress.ip_interface(text)
        kind = f"ipv{address.version}"
        result.append({"type": kind, "ip_address": str(address.ip), "netmask": str(address.netmask)})
    for version, route in routes_of(interface, field):
        carrier = next((item for item in result if item["type"].startswith(f"ipv{version}")), None)
        if carrier is None:
            raise invalid(f"{field}.routes", f"holds a route of IPv{version}, but the interface has no such address")
        if gateways and "gateway" not in carrier and route["netmask"] in ("0.0.0.0", "::"):  # noqa: S104
            carrier["gateway"] = route["gateway"]
        else:
            carrier.setdefault("routes", []).append(route)
    dns = dns_of(interface, field)
    if "dns_search" in dns and not result:
        raise invalid(f"{field}.nameservers.search", "needs an address or DHCP beside it on a config drive")
    return [{"id": f"{name}-{number}", "link": name, **item, **dns} for number, item in enumerate(result)]


def routes_of(interface: Mapping[str, Any], field: str) -> Iterator[tuple[int, Json]]:
    """The IP version, and `network`, `netmask` and `gateway`, of each route, the default ones first."""
    for version in (4, 6):
        if f"gateway{version}" in interface:
            yield _route(DEFAULT[version], interface[f"gateway{version}"], f"{field}.gateway{version}")
    for number, route in enumerate(_list(interface, "routes", field)):
        at = f"{field}.routes[{number}]"
        given = _mapping(route, at)
        for key in given:
            if key not in ("to", "via"):
                raise _unsayable(f"{at}.{key}")
        yield _route(given.get("to"), given.get("via"), at)


def _route(to: object, via: object, field: str) -> tuple[int, Json]:
    try:
        gateway = ipaddress.ip_address(str(via))
        network = ipaddress.ip_network(DEFAULT[gateway.version] if to == "default" else str(to))
    except ValueError as exc:
        raise invalid(field, "must lead to a network via the address of a gateway") from exc
    if network.version != gateway.version:
        raise invalid(field, "leads to a network of one IP version via a gateway of the other")
    route = {"network": str(network.network_address), "netmask": str(network.netmask), "gateway": str(gateway)}
    return gateway.version, route


def dns_of(interface: Mapping[str, Any], field: str) -> Json:
    """`dns_nameservers` and `dns_search`, where there are any."""
    servers = _mapping(interface.get("nameservers", {}), f"{field}.nameservers")
    pairs = (("dns_nameservers", "addresses"), ("dns_search", "search"))
    found = {ours: _list(servers, theirs, f"{field}.nameservers") for ours, theirs in pairs}
    return {key: value for key, value in found.items() if value}
