# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The agent as a source of the Application event log."""

import contextlib
from typing import Any

from .windows_api import registry_value
from .windows_scm import EVENT_SOURCE

__all__ = ["forget_event_source", "has_event_source", "put_event_source"]

KEY = "SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\" + EVENT_SOURCE
# It is part of Windows, and its messages are their texts alone.
MESSAGES = "%SystemRoot%\\System32\\EventCreate.exe"
ALL_TYPES = 7


def has_event_source() -> bool:
    return bool(registry_value(KEY, "EventMessageFile") == MESSAGES)


def put_event_source() -> None:
    import winreg  # there on Windows alone

    registry: Any = winreg
    access = registry.KEY_WRITE | registry.KEY_WOW64_64KEY
    with registry.CreateKeyEx(registry.HKEY_LOCAL_MACHINE, KEY, 0, access) as key:
        registry.SetValueEx(key, "EventMessageFile", 0, registry.REG_EXPAND_SZ, MESSAGES)
        registry.SetValueEx(key, "TypesSupported", 0, registry.REG_DWORD, ALL_TYPES)


def forget_event_source() -> None:
    import winreg  # there on Windows alone

    registry: Any = winreg
    with contextlib.suppress(FileNotFoundError):
        registry.DeleteKeyEx(registry.HKEY_LOCAL_MACHINE, KEY, registry.KEY_WOW64_64KEY, 0)
