# SPDX-License-Identifier: GPL-3.0-or-later
"""What a supervisor is told: systemd's notification protocol (sd_notify(3)), which is one datagram."""

import os
import socket

__all__ = ["notify"]


def notify(state: str) -> None:
    """Send `READY=1`, `STOPPING=1` or the like; nothing without a supervisor that listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # "@" stands for the NUL byte of an abstract address.
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect(target)
        channel.sendall(state.encode())
