# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Windows, for the agent that serves: where it lives, and what it asks of the system."""

import ctypes
import logging
import os
from ctypes import byref, c_int, c_uint32, c_void_p, c_wchar_p
from typing import Any, Callable, Dict, Optional, Sequence

from .errors import AgentError
from .identity import Identity
from .key_request import KeyRequest
from .paths import Paths
from .system import Port, System
from .upgrade_disc import by_installer_only
from .upgrade_record import Stage
from .windows_api import call, checked, close_handle
from .windows_discs import DiscWatcher, MountedDiscs
from .windows_facts import gather, vm_uuid
from .windows_port import open_first

__all__ = ["Windows", "windows_paths"]

host_log = logging.getLogger("openngt.host")

TOKEN_ADJUST_PRIVILEGES, TOKEN_QUERY = 0x20, 0x8
SE_PRIVILEGE_ENABLED = 0x2
SHUTDOWN_PRIVILEGE = "SeShutdownPrivilege"
# Planned, by another cause than hardware or an application (reason.h).
SHTDN_REASON = 0x80000000


def windows_paths() -> Paths:
    """The agent's files: secrets below Program Files, what everybody may read below ProgramData."""
    # A Python of 32 bits is told another folder for programs.
    programs = os.environ.get("ProgramW6432") or os.environ.get("ProgramFiles") or "C:\\Program Files"
    data = os.environ.get("ProgramData") or "C:\\ProgramData"
    paths = Paths(programs, os.path.join(programs, "openngt"), os.path.join(data, "openngt"))
    paths.command = os.path.join(paths.home, "ngtcli.cmd")
    return paths


class Windows(System):
    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._mounted = MountedDiscs()

    def vm_uuid(self) -> Optional[str]:
        return vm_uuid()

    def record(self, serial_port: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        return gather(self.paths, serial_port)

    def disc_mounted(self) -> bool:
        return self._mounted()

    def open_port(self, devices: Sequence[str]) -> Port:
        return open_first(devices)

    def make_request(self) -> KeyRequest:
        """Windows has no openssl; the service gives a key then."""
        raise AgentError("COMMAND_NOT_FOUND", "command not found: openssl")

    def go_down(self, method: str) -> bool:
        """InitiateSystemShutdownEx, without a wait; applications that ask to save are ended, as nobody is there."""
        restart = method == "guest.reboot"
        host_log.info("%s: InitiateSystemShutdownEx, restart %s", method, restart)
        text = c_wchar_p("asked for by the host, through openngt")
        arguments = (None, text, c_uint32(0), c_int(1), c_int(restart), c_uint32(SHTDN_REASON))
        try:
            _enable(SHUTDOWN_PRIVILEGE)
            checked("advapi32", "InitiateSystemShutdownExW", *arguments)
        except OSError as exc:
            host_log.error("%s: failed: %s", method, exc)
            return False
        return True

    def check_upgrade(self, size: int) -> None:
        raise by_installer_only()

    def start_upgrade(self, staged: Stage) -> None:
        raise by_installer_only()

    def watch_discs(self, taken: Callable[[Identity], None]) -> None:
        DiscWatcher(self.paths, vm_uuid, taken).start()


class _Privileges(ctypes.Structure):
    """TOKEN_PRIVILEGES with one entry; its LUID is of two numbers of 32 bits."""

    _fields_ = [("count", c_uint32), ("low", c_uint32), ("high", c_uint32), ("attributes", c_uint32)]


def _enable(privilege: str) -> None:
    """A service has the privilege, and has to switch it on."""
    token = c_void_p()
    process = c_void_p(call("kernel32", "GetCurrentProcess", c_void_p))
    checked("advapi32", "OpenProcessToken", process, c_uint32(TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY), byref(token))
    try:
        luid = (c_uint32 * 2)()
        checked("advapi32", "LookupPrivilegeValueW", None, c_wchar_p(privilege), luid)
        wanted = _Privileges(1, luid[0], luid[1], SE_PRIVILEGE_ENABLED)
        checked("advapi32", "AdjustTokenPrivileges", token, c_int(0), byref(wanted), c_uint32(0), None, None)
    finally:
        close_handle(token.value)
