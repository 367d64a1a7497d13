# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""Look at this guest: everything that the judgements in prerequisites.py read. Changes nothing."""

import os
import shutil
import socket
import stat
import sys
from typing import Dict, List, NamedTuple, Optional, Tuple

from ..effects import run
from .support import parse

__all__ = ["MIB", "Facts", "Place", "collect", "look_at", "nearest_existing", "other_tools", "read_text", "vm_uuid"]

MIB = 1024 * 1024
UUID_FILE = "/sys/class/dmi/id/product_uuid"
UNIT = "ngt_guest_agent.service"
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
# Where the original product lives; ours is /usr/local/openngt.
OTHER_VENDOR = ("/usr/local/nutanix",)
OTHER_VENDOR_UNIT = "nutanix-guest-agent.service"

Place = NamedTuple(
    "Place",
    [
        ("path", str),
        ("kind", str),  # directory | missing | other
        ("existing", str),  # the path itself or its nearest parent that exists: what decides whether it can be made
        ("writable", bool),  # by this process, on `existing`
        ("free_mb", int),
        ("mounted", Optional[str]),  # file system type when the path is a mount point
    ],
)

Facts = NamedTuple(
    "Facts",
    [
        ("python", Tuple[int, ...]),
        ("tar", Optional[str]),
        ("uid", int),
        ("sudo", str),  # passwordless | asks | none; root is not asked
        ("os_release", Dict[str, str]),
        ("systemctl", Optional[str]),
        ("systemd_running", bool),
        ("places", Dict[str, Place]),  # keys: prefix, temporary, mount_point
        ("other_tools", List[str]),
        ("vm_uuid", Optional[str]),
        ("vm_uuid_exists", bool),
        ("endpoint_error", Optional[str]),  # None: reached, or nobody asked
    ],
)


def collect(mount_point: str, endpoint: Optional[Tuple[str, int]] = None) -> Facts:
    """Facts about this guest; `endpoint` (host, port) is tried with one TCP connection of at most 5 s."""
    # /tmp because the installer and Ansible work below it, whatever TMPDIR is here.
    places = {"prefix": "/usr/local", "temporary": "/tmp", "mount_point": mount_point}  # noqa: S108  only looked at
    return Facts(
        python=tuple(sys.version_info[:3]),
        tar=shutil.which("tar"),
        uid=os.geteuid(),
        sudo="passwordless" if os.geteuid() == 0 else _sudo(),
        os_release=parse(read_text("/etc/os-release") or read_text("/usr/lib/os-release") or ""),
        systemctl=shutil.which("systemctl"),
        systemd_running=os.path.isdir("/run/systemd/system"),  # sd_booted(3)
        places={name: look_at(path) for name, path in places.items()},
        other_tools=other_tools(),
        vm_uuid=vm_uuid(),
        vm_uuid_exists=os.path.exists(UUID_FILE),
        endpoint_error=_try_to_reach(endpoint) if endpoint else None,
    )


def read_text(path: str) -> Optional[str]:
    """A small file's text, or None when it is missing or not ours to read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def vm_uuid() -> Optional[str]:
    """This VM's UUID as its hypervisor gave it by DMI, lower case; None when there is none or only root may read it."""
    return (read_text(UUID_FILE) or "").strip().lower() or None


def nearest_existing(path: str) -> str:
    """The path itself, or the first of its parents that exists."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def look_at(path: str) -> Place:
    """How a folder stands that we want to write to, or to make."""
    existing = nearest_existing(path)
    room = os.statvfs(existing)
    if existing != os.path.abspath(path):
        kind = "missing"
    else:
        kind = "directory" if stat.S_ISDIR(os.stat(existing).st_mode) else "other"
    return Place(
        path=path,
        kind=kind,
        existing=existing,
        # Root passes access() on a read-only file system's permission bits, hence both questions.
        writable=os.access(existing, os.W_OK | os.X_OK) and not room.f_flag & os.ST_RDONLY,
        free_mb=room.f_bavail * room.f_frsize // MIB,
        mounted=_mounted_type(path),
    )


def _mounted_type(path: str) -> Optional[str]:
    wanted = os.path.realpath(path)
    for line in (read_text("/proc/self/mounts") or "").splitlines():
        fields = line.split(" ")
        if len(fields) > 2 and fields[1].replace("\\040", " ") == wanted:
            return fields[2]
    return None


def _sudo() -> str:
    if shutil.which("sudo") is None:
        return "none"
    # LC_ALL: the sentence below is translated otherwise.
    answer = run(["sudo", "-n", "true"], timeout=20, environment=dict(os.environ, LC_ALL="C"))
    if answer.returncode == 0:
        return "passwordless"
    return "asks" if "password is required" in answer.stderr else "none"


def other_tools() -> List[str]:
    """Paths that show another vendor's guest tools; our own unit starts something below /usr/local/openngt."""
    found = [path for path in OTHER_VENDOR if os.path.exists(path)]
    for folder in UNIT_FOLDERS:
        for name in (UNIT, OTHER_VENDOR_UNIT):
            path = os.path.join(folder, name)
            text = read_text(path)
            if text and "/openngt/" not in text:  # an empty one is masked, by whomever
                found.append(path)
    # /lib is /usr/lib on most systems of today.
    return list(dict.fromkeys(os.path.realpath(path) for path in found))


def _try_to_reach(endpoint: Tuple[str, int]) -> Optional[str]:
    try:
        socket.create_connection(endpoint, timeout=5).close()
    except OSError as exc:
        return str(exc)
    return None
