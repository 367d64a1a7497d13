# SPDX-License-Identifier: GPL-3.0-or-later
"""From a login to a connection: each kind of login has its transport."""

from __future__ import annotations

import importlib

from ..fleet.target import SshLogin, WinrmLogin
from .base import Transport

__all__ = ["connect"]


def connect(login: SshLogin | WinrmLogin, seconds: float) -> Transport:
    """Connect and log in within `seconds`. Raises what base.py lists.

    A transport is imported when it is needed first: its third-party library may be missing where nobody needs it.
    """
    if isinstance(login, WinrmLogin):
        winrm = importlib.import_module(".winrm", __package__)
        made: Transport = winrm.connect(login, seconds=seconds)
        return made
    ssh = importlib.import_module(".ssh", __package__)
    made = ssh.connect(login, connect_seconds=seconds)
    return made
