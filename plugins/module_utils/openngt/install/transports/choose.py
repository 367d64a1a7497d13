# SPDX-License-Identifier: GPL-3.0-or-later
"""From a login to a connection: each kind of login has its transport."""

from __future__ import annotations

from ...errors import OpenNGTError
from ..fleet.target import SshLogin, WinrmLogin
from . import ssh
from .base import Transport

__all__ = ["connect"]


def connect(login: SshLogin | WinrmLogin, seconds: float) -> Transport:
    """Connect and log in within `seconds`. Raises what base.py lists, and LIBRARY_MISSING."""
    if isinstance(login, WinrmLogin):
        raise OpenNGTError("GUEST_LOGIN_UNSUPPORTED", "there is no transport for WinRM in this version")
    return ssh.connect(login, connect_seconds=seconds)
