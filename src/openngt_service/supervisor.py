# SPDX-License-Identifier: GPL-3.0-or-later
"""What a supervisor is told: systemd's notification protocol (sd_notify(3)), which is one datagram."""

import os
import socket

import structlog

__all__ = ["notify"]

log = structlog.get_logger(__name__)


def notify(state: str) -> None:
    """Send `READY=1`, `STOPPING=1` or the like, where there is a supervisor; one that is gone stops nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # "@" stands for the NUL byte of an abstract address.
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.connect(target)
            channel.sendall(state.encode())
        except OSError as exc:
            log.warning("supervisor_not_told", state=state, reason=exc.strerror)
