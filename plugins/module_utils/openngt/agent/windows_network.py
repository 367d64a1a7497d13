# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""A Windows guest's network interfaces (GetAdaptersAddresses), in the form of the status record."""

import ctypes
import socket
from ctypes import POINTER, byref, c_char_p, c_int, c_ubyte, c_uint32, c_ushort, c_void_p, c_wchar_p
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .network import combine
from .windows_api import call

__all__ = ["interfaces"]

# iptypes.h, ifdef.h, iphlpapi.h
AF_UNSPEC = 0
SKIP_ANYCAST, SKIP_MULTICAST, SKIP_DNS_SERVER = 0x2, 0x4, 0x8
ERROR_BUFFER_OVERFLOW = 111
IF_TYPE_SOFTWARE_LOOPBACK = 24
ADDRESS_FAMILIES = {2: socket.AF_INET, 23: socket.AF_INET6}  # as Windows numbers them
FIRST_SIZE = 16 * 1024
ATTEMPTS = 3


class _SocketAddress(ctypes.Structure):
    _fields_ = [("address", c_void_p), ("length", c_int)]


class _Unicast(ctypes.Structure):
    pass


_Unicast._fields_ = [
    ("length", c_uint32),
    ("flags", c_uint32),
    ("next", POINTER(_Unicast)),
    ("address", _SocketAddress),
    ("prefix_origin", c_int),
    ("suffix_origin", c_int),
    ("dad_state", c_int),
    ("valid", c_uint32),
    ("preferred", c_uint32),
    ("lease", c_uint32),
    ("prefix_length", c_ubyte),
]


class _Adapter(ctypes.Structure):
    pass


_Adapter._fields_ = [
    ("length", c_uint32),
    ("index", c_uint32),
    ("next", POINTER(_Adapter)),
    ("adapter_name", c_char_p),
    ("unicast", POINTER(_Unicast)),
    ("anycast", c_void_p),
    ("multicast", c_void_p),
    ("dns_servers", c_void_p),
    ("dns_suffix", c_wchar_p),
    ("description", c_wchar_p),
    ("friendly_name", c_wchar_p),
    ("physical_address", c_ubyte * 8),
    ("physical_address_length", c_uint32),
    ("adapter_flags", c_uint32),
    ("mtu", c_uint32),
    ("kind", c_uint32),
]


def interfaces() -> Optional[List[Dict[str, Any]]]:
    """As `network.interfaces`: without loopback and link-local addresses; None where Windows does not answer."""
    found = _adapters()
    if found is None:
        return None
    links: List[Dict[str, Any]] = []
    addresses: List[Dict[str, Any]] = []
    _buffer, first = found
    for adapter in _chain(first):
        if adapter.kind == IF_TYPE_SOFTWARE_LOOPBACK:
            continue
        mac = bytes(adapter.physical_address)[: adapter.physical_address_length]
        links.append(
            {
                "index": len(links),
                "interface": adapter.friendly_name or "",
                "mac_address": ":".join("{0:02x}".format(byte) for byte in mac) if len(mac) == 6 else None,
            }
        )
        addresses += [
            dict(address, index=len(links) - 1) for address in map(_address, _chain(adapter.unicast)) if address
        ]
    return combine(links, addresses)


def _adapters() -> Optional[Tuple[Any, Any]]:
    """(what holds the list, its first entry)"""
    size = c_uint32(FIRST_SIZE)
    flags = c_uint32(SKIP_ANYCAST | SKIP_MULTICAST | SKIP_DNS_SERVER)
    for _attempt in range(ATTEMPTS):  # one that came meanwhile makes the list longer
        buffer = ctypes.create_string_buffer(size.value)
        status = call(
            "iphlpapi", "GetAdaptersAddresses", c_uint32, c_uint32(AF_UNSPEC), flags, None, buffer, byref(size)
        )
        if status == 0:
            return buffer, ctypes.cast(buffer, POINTER(_Adapter))
        if status != ERROR_BUFFER_OVERFLOW:
            return None
    return None


def _chain(pointer: Any) -> Iterator[Any]:
    while pointer:
        yield pointer.contents
        pointer = pointer.contents.next


def _address(unicast: Any) -> Optional[Dict[str, Any]]:
    """`{family, ip_address, prefix_length}`; None for what tells nobody where the guest is."""
    raw = ctypes.string_at(unicast.address.address, unicast.address.length)
    family = ADDRESS_FAMILIES.get(c_ushort.from_buffer_copy(raw[:2]).value if len(raw) >= 2 else 0)
    if family is None:
        return None
    # sockaddr_in: family, port, address; sockaddr_in6: family, port, flow, address
    packed = raw[4:8] if family == socket.AF_INET else raw[8:24]
    if len(packed) != (4 if family == socket.AF_INET else 16):
        return None
    text = socket.inet_ntop(family, packed)
    if text.startswith("169.254.") or text.lower().startswith("fe80:"):
        return None
    return {"family": family, "ip_address": text, "prefix_length": int(unicast.prefix_length)}
