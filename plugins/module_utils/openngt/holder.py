# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a mount, written so that a later run on the same machine can tell whether that holder still lives.

`alice@ctl1 pid 4711 (ansible) at 1f0c8a2b9d3e/77ab01cd`: person, machine and process for people; behind `at` a digest
of the place (machine, host name, process namespace) and one of the process's birth. A pid alone says nothing: another
process gets it again, and two containers may both be called `localhost`.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Literal

__all__ = ["describe", "is_dead"]

PATTERN = re.compile(r" pid (?P<pid>[0-9]+) \((?:ansible|fleet)\) at (?P<place>[0-9a-f]{12})/(?P<birth>[0-9a-f]{8})$")


def describe(pid: int, kind: Literal["ansible", "fleet"] = "ansible") -> str:
    """The holder text for this machine's process `pid`: a run of Ansible, or of a fleet's installation."""
    return f"{_user()}@{socket.gethostname()} pid {pid} ({kind}) at {_place()}/{_birth(pid) or '0' * 8}"


def is_dead(holder: str | None) -> bool:
    """True only if the holder was a process of this very place and that process is gone.

    A text of another form or from another place is never judged dead: its lease decides.
    """
    match = PATTERN.search(holder or "")
    if match is None or match["place"] != _place():
        return False
    return _birth(int(match["pid"])) != match["birth"]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's uid without a name; the type depends on the Python version
        return str(os.getuid())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _digest(length: int, *parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]


def _place() -> str:
    # machine-id(5) asks not to hand the id out; a digest tells apart as well.
    machine = _read("/etc/machine-id") or _read("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    return _digest(12, machine, socket.gethostname(), str(namespace.readlink()) if namespace.exists() else "")


def _birth(pid: int) -> str | None:
    """A digest that no other process on this place ever has; None when there is no such process."""
    if Path("/proc/self/stat").exists():
        # The name in parentheses may hold spaces; field 22 of proc(5), ticks since boot, is the 20th behind it.
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if not fields or fields[0] == "Z":
            return None
        return _digest(8, _read("/proc/sys/kernel/random/boot_id"), fields[19])
    # A BSD or macOS controller.
    ps = ["ps", "-o", "lstart=", "-p", str(pid)]
    listed = subprocess.run(ps, capture_output=True, text=True, check=False)  # pylint: disable=ansible-bad-function
    return _digest(8, listed.stdout.strip()) if listed.stdout.strip() else None
