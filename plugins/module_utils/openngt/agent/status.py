# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The status record: what the guest says about itself (ARCHITECTURE.md, section 4). What cannot be known is null."""

import datetime
import os
import re
import socket
import sys
from typing import Any, Callable, Dict, List, Optional

from . import customized, network, os_release, upgrade_record
from .files import read_text
from .paths import Paths
from .version import __version__

__all__ = ["boot_id", "changed", "gather", "reboot_required"]

ZONE = re.compile(r".*/zoneinfo/(?:posix/|right/)?([A-Za-z0-9_+/-]{1,64})")
# What package managers leave for people and tools to look at (Debian and Ubuntu; libzypp of SUSE).
REBOOT_MARKS = ("run/reboot-required", "run/reboot-needed")
# Who leaves them: where none is there, the lack of a mark says nothing.
REBOOT_MARKERS = ("usr/share/update-notifier/notify-reboot-required", "usr/bin/zypper")
# The original's pair of hooks around a snapshot.
BACKUP_SCRIPTS = ("usr/local/sbin/pre_freeze", "usr/local/sbin/post_thaw")


def gather(
    paths: Paths,
    serial_port: Optional[Dict[str, Any]] = None,
    interfaces: Callable[[], Optional[List[Dict[str, Any]]]] = network.interfaces,
) -> Dict[str, Any]:
    """The record of this moment; the same state gives an equal record. `serial_port`: as in SerialView."""
    release = os_release.read(paths)
    machine = os.uname().machine
    return {
        "ngt_version": __version__,
        "guest_os_type": "linux",
        "guest_os_name": release.get("PRETTY_NAME") or release.get("NAME"),
        "guest_os_id": release.get("ID"),
        "guest_os_release": release.get("VERSION_ID"),
        "kernel_version": _line(paths, "proc/sys/kernel/osrelease"),
        "architecture": machine or None,
        "hostname": _line(paths, "proc/sys/kernel/hostname") or socket.gethostname(),
        "python_version": sys.version.split()[0],
        "is_64_bit": machine.endswith("64") or machine in ("s390x", "ppc64le"),
        "boot_time": boot_time(read_text(paths.at("proc/stat"), 1 << 20) or ""),
        "boot_id": boot_id(paths),
        "timezone": _timezone(paths),
        "network_interfaces": interfaces(),
        "serial_port": serial_port,
        "components": {"guest_agent": __version__},
        "upgrade": upgrade_record.shown(paths),
        "customization": customized.shown(paths),
        "reboot_required": reboot_required(paths),
        "backup_scripts_installed": all(os.path.isfile(paths.at(script)) for script in BACKUP_SCRIPTS),
    }


def changed(old: Optional[Dict[str, Any]], new: Dict[str, Any]) -> bool:
    """Is there something to report? That the boot moved by a second, as the clock is adjusted, is nothing."""
    return old is None or dict(old, boot_time=None) != dict(new, boot_time=None)


def reboot_required(paths: Paths) -> Optional[bool]:
    """Do updates wait for a restart of the guest? None where nothing in the guest writes that down."""
    if any(os.path.exists(paths.at(mark)) for mark in REBOOT_MARKS):
        return True
    return False if any(os.path.exists(paths.at(marker)) for marker in REBOOT_MARKERS) else None


def boot_id(paths: Paths) -> Optional[str]:
    """Another one after each boot of this kernel."""
    return _line(paths, "proc/sys/kernel/random/boot_id")


def boot_time(proc_stat: str) -> Optional[str]:
    """RFC 3339 from the `btime` line of /proc/stat, which the kernel keeps in step with the wall clock."""
    match = re.search(r"^btime (\d{1,12})$", proc_stat, re.MULTILINE)
    if match is None:
        return None
    moment = datetime.datetime.fromtimestamp(int(match.group(1)), datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _timezone(paths: Paths) -> Optional[str]:
    try:
        match = ZONE.fullmatch(os.readlink(paths.at("etc/localtime")))
    except OSError:
        return _line(paths, "etc/timezone")
    return match.group(1) if match else None


def _line(paths: Paths, path: str) -> Optional[str]:
    text = (read_text(paths.at(path), 4096) or "").strip()
    return text.splitlines()[0] if text else None
