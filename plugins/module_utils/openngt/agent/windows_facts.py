# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What a Windows guest says about itself: its UUID, its boot, its version, the status record."""

import datetime
import os
import platform
import socket
import time
import uuid
from ctypes import c_uint32, create_string_buffer
from typing import Any, Callable, Dict, List, Optional

from . import upgrade_record, windows_network
from .paths import Paths
from .version import __version__
from .windows_api import call, registry_value, uptime_seconds, volatile_key

__all__ = ["boot_id", "gather", "machine", "parse_smbios", "reboot_required", "vm_uuid", "windows_version"]

RSMB = 0x52534D42  # the signature 'RSMB' of GetSystemFirmwareTable
MOST_TABLE = 1 << 20
SYSTEM_INFORMATION, END_OF_TABLE = 1, 127

VERSION_KEY = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
BOOT_KEY = "SOFTWARE\\openngt\\ThisBoot"
ZONE_KEY = "SYSTEM\\CurrentControlSet\\Control\\TimeZoneInformation"
SESSION_MANAGER = "SYSTEM\\CurrentControlSet\\Control\\Session Manager"
REBOOT_KEYS = (
    "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Component Based Servicing\\RebootPending",
    "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\WindowsUpdate\\Auto Update\\RebootRequired",
)
FIRST_BUILD_OF_11 = 22000
MACHINES = {"AMD64": "x86_64", "ARM64": "aarch64", "X86": "i686"}


def machine() -> str:
    """As uname has it on Linux; of the system, also for a Python of 32 bits."""
    name = os.environ.get("PROCESSOR_ARCHITEW6432") or os.environ.get("PROCESSOR_ARCHITECTURE") or platform.machine()
    return MACHINES.get(name.upper(), name)


def vm_uuid() -> Optional[str]:
    """The VM's UUID in lower case as its firmware gives it (SMBIOS); None where there is none."""
    buffer = create_string_buffer(MOST_TABLE)
    size = call(
        "kernel32", "GetSystemFirmwareTable", c_uint32, c_uint32(RSMB), c_uint32(0), buffer, c_uint32(MOST_TABLE)
    )
    return parse_smbios(buffer.raw[: min(int(size), MOST_TABLE)])


def parse_smbios(raw: bytes) -> Optional[str]:
    """The system's UUID of RawSMBIOSData: 8 bytes of head, then the table (SMBIOS specification, 7.2.1).

    Its first three fields are little-endian, as Linux, Windows (Win32_ComputerSystemProduct) and QEMU have them; only
    firmware from before SMBIOS 2.6 meant otherwise.
    """
    at = 8
    while at + 4 <= len(raw):
        kind, length = raw[at], raw[at + 1]
        if kind == SYSTEM_INFORMATION and length >= 24 and at + 24 <= len(raw):
            content = raw[at + 8 : at + 24]
            if content in (b"\0" * 16, b"\xff" * 16):  # none, and none yet
                return None
            return str(uuid.UUID(bytes_le=content))
        end = raw.find(b"\0\0", at + max(length, 4))
        if kind == END_OF_TABLE or end < 0:
            return None
        at = end + 2
    return None


def boot_id() -> Optional[str]:
    """Another one after each boot: it lies in a part of the registry that lives no longer."""
    try:
        return volatile_key(BOOT_KEY, "id", str(uuid.uuid4()))
    except OSError:
        return None


def windows_version() -> Dict[str, Optional[str]]:
    """`{name, id, release, build}`: `Windows Server 2022 Standard`, `windows_server`, `2022`, `10.0.20348.2113`."""
    build = str(registry_value(VERSION_KEY, "CurrentBuildNumber") or "")
    name = registry_value(VERSION_KEY, "ProductName")
    server = registry_value(VERSION_KEY, "InstallationType") != "Client"
    if name is not None and not server and build.isdigit() and int(build) >= FIRST_BUILD_OF_11:
        name = str(name).replace("Windows 10", "Windows 11")  # Microsoft left the name as it was
    major = registry_value(VERSION_KEY, "CurrentMajorVersionNumber")
    kernel = (
        "{0}.{1}".format(major, registry_value(VERSION_KEY, "CurrentMinorVersionNumber"))
        if major is not None
        else registry_value(VERSION_KEY, "CurrentVersion")  # 6.3 and before have no other
    )
    update = registry_value(VERSION_KEY, "UBR")
    parts = [kernel, build or None, update]
    return {
        "name": None if name is None else str(name),
        "id": "windows_server" if server else "windows",
        "release": release_of(str(name or ""), server),
        "build": ".".join(str(part) for part in parts if part is not None) or None,
    }


def release_of(name: str, server: bool) -> Optional[str]:
    """`2022` of `Windows Server 2022 Standard`, `2012 R2`, `11` of `Windows 11 Pro`; None where the name has none."""
    words = name.split()
    after = words[words.index("Server") + 1 :] if server and "Server" in words else words[1:]
    if not after or not after[0].replace(".", "").isdigit():
        return None
    return " ".join(after[:2]) if after[1:2] == ["R2"] else after[0]


def reboot_required() -> bool:
    """Do updates or files in use wait for a restart of the guest?"""
    if any(registry_value(key, "") for key in REBOOT_KEYS):
        return True
    return bool(registry_value(SESSION_MANAGER, "PendingFileRenameOperations"))


def boot_time() -> str:
    moment = datetime.datetime.fromtimestamp(int(time.time() - uptime_seconds()), datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def gather(
    paths: Paths,
    serial_port: Optional[Dict[str, Any]] = None,
    interfaces: Callable[[], Optional[List[Dict[str, Any]]]] = windows_network.interfaces,
) -> Dict[str, Any]:
    """The record of this moment, as `status.gather` has it; what Windows has no word for is null."""
    version, here = windows_version(), machine()
    return {
        "ngt_version": __version__,
        "guest_os_type": "windows",
        "guest_os_name": version["name"],
        "guest_os_id": version["id"],
        "guest_os_release": version["release"],
        "kernel_version": version["build"],
        "architecture": here,
        "hostname": socket.gethostname(),
        "python_version": platform.python_version(),
        "is_64_bit": here.endswith("64"),
        "boot_time": boot_time(),
        "boot_id": boot_id(),
        "timezone": registry_value(ZONE_KEY, "TimeZoneKeyName"),
        "network_interfaces": interfaces(),
        "serial_port": serial_port,
        "components": {"guest_agent": __version__},
        "upgrade": upgrade_record.shown(paths),
        "customization": None,
        "reboot_required": reboot_required(),
        "backup_scripts_installed": None,
    }
