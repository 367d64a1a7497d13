# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The guest's network interfaces, asked of the kernel itself (rtnetlink), so that no program need be installed."""

import socket
import struct
from typing import Any, Dict, Iterator, List, Optional, Tuple

__all__ = ["interfaces", "parse_addresses", "parse_links"]

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 18, 20, 22
IFLA_ADDRESS, IFLA_IFNAME = 1, 3
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFF_LOOPBACK = 0x8
RT_SCOPE_LINK = 253

HEADER = struct.Struct("=IHHII")
LINK = struct.Struct("=BxHiII")
ADDRESS = struct.Struct("=BBBBI")
ATTRIBUTE = struct.Struct("=HH")

MOST_BYTES = 4 * 1024 * 1024
MOST_INTERFACES = 256
SECONDS = 2.0


def interfaces() -> Optional[List[Dict[str, Any]]]:
    """Interfaces with their addresses in the form of the status record, or None where the kernel does not answer.

    Without the loopback interface and without link-local addresses: they tell nobody where the guest is.
    """
    try:
        links, addresses = _dump(RTM_GETLINK), _dump(RTM_GETADDR)
    except OSError:
        return None
    return combine(parse_links(links), parse_addresses(addresses))


def combine(links: List[Dict[str, Any]], addresses: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """The status record's list: sorted, so that the same state is the same record."""
    found = []
    for link in sorted(links, key=lambda link: str(link["interface"]))[:MOST_INTERFACES]:
        own = [entry for entry in addresses if entry["index"] == link["index"]]
        record: Dict[str, Any] = {"interface": link["interface"], "mac_address": link["mac_address"]}
        for name, family in (("ipv4", socket.AF_INET), ("ipv6", socket.AF_INET6)):
            record[name] = sorted(
                (
                    {"ip_address": entry["ip_address"], "prefix_length": entry["prefix_length"]}
                    for entry in own
                    if entry["family"] == family
                ),
                key=lambda entry: str(entry["ip_address"]),
            )
        found.append(record)
    return found


def parse_links(dump: bytes) -> List[Dict[str, Any]]:
    """`{index, interface, mac_address}` of each interface but loopback, from the messages of RTM_GETLINK."""
    found = []
    for kind, body in _messages(dump):
        if kind != RTM_NEWLINK or len(body) < LINK.size:
            continue
        _family, _type, index, flags, _change = LINK.unpack_from(body)
        attributes = dict(_attributes(body[LINK.size :]))
        if flags & IFF_LOOPBACK or IFLA_IFNAME not in attributes:
            continue
        mac = attributes.get(IFLA_ADDRESS, b"")
        found.append(
            {
                "index": index,
                "interface": attributes[IFLA_IFNAME].rstrip(b"\0").decode("utf-8", "replace"),
                "mac_address": ":".join("{0:02x}".format(byte) for byte in mac) if len(mac) == 6 else None,
            }
        )
    return found


def parse_addresses(dump: bytes) -> List[Dict[str, Any]]:
    """`{index, family, ip_address, prefix_length}` of each address, from the messages of RTM_GETADDR."""
    found = []
    for kind, body in _messages(dump):
        if kind != RTM_NEWADDR or len(body) < ADDRESS.size:
            continue
        family, prefix_length, _flags, scope, index = ADDRESS.unpack_from(body)
        attributes = dict(_attributes(body[ADDRESS.size :]))
        # Of a point-to-point interface, IFA_ADDRESS is the other end.
        raw = attributes.get(IFA_LOCAL) or attributes.get(IFA_ADDRESS) or b""
        if scope == RT_SCOPE_LINK or len(raw) != {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family):
            continue
        text = socket.inet_ntop(family, raw)
        found.append({"index": index, "family": family, "ip_address": text, "prefix_length": prefix_length})
    return found


def _dump(request: int) -> bytes:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.settimeout(SECONDS)
        sock.send(HEADER.pack(HEADER.size + 1, request, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + b"\0")
        parts: List[bytes] = []
        while sum(map(len, parts)) < MOST_BYTES:
            part = sock.recv(65536)
            parts.append(part)
            if any(kind in (NLMSG_DONE, NLMSG_ERROR) for kind, _body in _messages(part)):
                break
    return b"".join(parts)


def _messages(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """(type, body) of each netlink message; ends at the first that is cut short."""
    while len(data) >= HEADER.size:
        length, kind, _flags, _sequence, _port = HEADER.unpack_from(data)
        if not HEADER.size <= length <= len(data):
            return
        yield kind, data[HEADER.size : length]
        data = data[_aligned(length) :]


def _attributes(data: bytes) -> Iterator[Tuple[int, bytes]]:
    while len(data) >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data)
        if not ATTRIBUTE.size <= length <= len(data):
            return
        yield kind & 0x3FFF, data[ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
