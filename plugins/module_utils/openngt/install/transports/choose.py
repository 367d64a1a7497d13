# SPDX-License-Identifier: GPL-3.0-or-later
"""From a login to a connection: each kind of login has its transport."""

from __future__ import annotations

from ..fleet.target import SshLogin, WinrmLogin
from . import ssh, winrm
from .base import Transport

__all__ = ["connect"]


def connect(login: SshLogin | WinrmLogin, seconds: float) -> Transport:
    """Connect and log in within `seconds`. Raises what base.py lists, and LIBRARY_MISSING."""
    if isinstance(login, WinrmLogin):
        return winrm.connect(login, seconds=seconds)
    return ssh.connect(login, connect_seconds=seconds)
