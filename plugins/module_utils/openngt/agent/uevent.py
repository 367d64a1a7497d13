# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The kernel's news about devices (netlink), as far as a CD-ROM drive got a disc."""

import socket
from typing import Dict

__all__ = ["announces_disc", "open_socket", "parse", "receive"]

NETLINK_KOBJECT_UEVENT = 15
KERNEL_GROUP = 1
MOST = 16384


def open_socket() -> socket.socket:
    """A socket that hears what the kernel tells; OSError where it may not be had (a container)."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT)
    try:
        sock.bind((0, KERNEL_GROUP))
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def receive(sock: socket.socket) -> Dict[str, str]:
    """The next piece of news as its variables; empty for what did not come from the kernel itself, or none."""
    try:
        data, sender = sock.recvfrom(MOST)
    except OSError:  # none any more, or some were lost: the next one comes
        return {}
    return parse(data) if sender[0] == 0 else {}


def parse(data: bytes) -> Dict[str, str]:
    """`ACTION=change`, `DEVNAME=sr0` and so on, from the form in which the kernel sends them."""
    pairs = (part.partition("=") for part in data.decode("utf-8", "replace").split("\0"))
    return {name: value for name, separator, value in pairs if separator}


def announces_disc(news: Dict[str, str]) -> bool:
    """May there be a new disc in a drive? Never for an eject request: to look then would pull the tray back in."""
    if news.get("SUBSYSTEM") != "block" or not news.get("DEVNAME", "").startswith("sr"):
        return False
    if "DISK_EJECT_REQUEST" in news:
        return False
    return news.get("ACTION") == "add" or news.get("DISK_MEDIA_CHANGE") == "1"
