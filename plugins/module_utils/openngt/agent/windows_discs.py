# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""CD-ROM drives of a Windows guest, by their letters. Windows mounts what is in them by itself."""

import functools
import logging
import threading
import time
from ctypes import c_int, c_uint32, c_wchar_p, create_unicode_buffer
from typing import Callable, Dict, List, Optional, Tuple

from . import taking
from .files import file_errors
from .identity import Identity
from .paths import Paths
from .upgrade_disc import wanted_agent
from .verify import is_tools_disc, read_disc
from .windows_api import call

__all__ = ["DiscWatcher", "MountedDiscs", "drives", "label_of", "look"]

log = logging.getLogger("openngt.disc")

DRIVE_CDROM = 5
SEM_FAILCRITICALERRORS = 1
SECONDS_BETWEEN_LOOKS = 5.0
MOST_LABEL = 261


def drives() -> List[str]:
    """Root folders (`D:\\`) of the CD-ROM drives, empty ones too."""
    mask = call("kernel32", "GetLogicalDrives", c_uint32)
    roots = [chr(ord("A") + number) + ":\\" for number in range(26) if mask >> number & 1]
    return [root for root in roots if call("kernel32", "GetDriveTypeW", c_uint32, c_wchar_p(root)) == DRIVE_CDROM]


def label_of(root: str) -> Optional[Tuple[str, int]]:
    """(label, serial number) of the disc in a drive; None without one. Nobody is asked to insert one."""
    call("kernel32", "SetThreadErrorMode", c_int, c_uint32(SEM_FAILCRITICALERRORS), None)
    label, number = create_unicode_buffer(MOST_LABEL), (c_uint32 * 1)()
    arguments = (c_wchar_p(root), label, c_uint32(MOST_LABEL), number, None, None, None, c_uint32(0))
    if not call("kernel32", "GetVolumeInformationW", c_int, *arguments):
        return None
    return label.value, int(number[0])


Seen = Tuple[Tuple[str, Optional[Tuple[str, int]]], ...]


def _seen() -> Seen:
    return tuple((root, label_of(root)) for root in drives())


class MountedDiscs:
    """Is a tools disc in a drive? Called at each heartbeat: a disc is read only when the drives' contents changed."""

    def __init__(self) -> None:
        self._seen: Optional[Seen] = None
        self._answer = False

    def __call__(self) -> bool:
        seen = _seen()
        if seen != self._seen:
            self._answer = any(label is not None and is_tools_disc(root) for root, label in seen)
            self._seen = seen
        return self._answer


def look(paths: Paths, vm_uuid: Optional[str], refused: Dict[str, str]) -> Optional[Identity]:
    """Look into every loaded drive; store and return the identity of a disc that may be taken, or None.

    `refused`: as `taken_or_said` has it.
    """
    for root, label in _seen():
        if label is None:
            refused.pop(root, None)
            continue
        identity = taking.taken_or_said(root, functools.partial(_take, paths, vm_uuid, root), refused)
        if identity is not None:
            return identity
    return None


def _take(paths: Paths, vm_uuid: Optional[str], root: str) -> Optional[Identity]:
    with file_errors(root):
        copied = (read_disc(root), wanted_agent(root)) if is_tools_disc(root) else None
    return None if copied is None else taking.take(paths, vm_uuid, copied[0], copied[1])


class DiscWatcher(threading.Thread):
    """Looks at start, and every few seconds whether a drive has got another disc.

    `taken` is called from this thread with each identity that was stored.
    """

    def __init__(self, paths: Paths, vm_uuid: Callable[[], Optional[str]], taken: Callable[[Identity], None]) -> None:
        super(DiscWatcher, self).__init__(name="disc-watcher", daemon=True)
        self._paths = paths
        self._vm_uuid = vm_uuid
        self._taken = taken
        self._refused: Dict[str, str] = {}

    def run(self) -> None:
        before: Optional[Seen] = None
        while True:
            now = _seen()
            if now != before:
                self._look()
                before = now
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _look(self) -> None:
        identity = look(self._paths, self._vm_uuid(), self._refused)
        if identity is not None:
            self._taken(identity)
