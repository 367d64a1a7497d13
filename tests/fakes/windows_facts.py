# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program in a Windows guest tells of it: one that is ready. A test changes what it is about."""

from typing import Any, Final

__all__ = ["READY"]

READY: Final[dict[str, Any]] = {
    "powershell": "5.1.20348.2110",
    "powershell_on_path": True,
    "net45": True,
    "elevated": True,
    "user": "WEB1\\Administrator",
    "windows_name": "Windows Server 2022 Standard",
    "windows_build": "20348",
    "windows_type": "Server",
    "architecture": "AMD64",
    "free_mb": {"programs": 20000, "temporary": 20000},
    "programs": "C:\\Program Files",
    "temporary": "C:\\Windows\\Temp\\",
    "other_tools": [],
    "vm_uuid": "3f2b1c9a-6a55-4c1e-9a63-0b1d5f1e2a10",
    "endpoint_error": None,
}
