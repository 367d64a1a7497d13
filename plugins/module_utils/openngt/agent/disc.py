# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""CD-ROM drives and the discs in them: found by their manifest, opened without pulling the tray back in."""

import contextlib
import fcntl
import glob
import os
import re
from typing import Iterator, List, NamedTuple, Optional, Tuple

from .errors import AgentError
from .files import Runner, make_folder, read_text
from .paths import Paths
from .verify import is_tools_disc

__all__ = ["LABEL", "MountedDiscs", "drives", "is_loaded", "mounted_at", "mounted_privately", "parse_mountinfo"]

LABEL = "NUTANIX_TOOLS"

# linux/cdrom.h
CDROM_DRIVE_STATUS, CDSL_CURRENT, CDS_DISC_OK = 0x5326, 0x7FFFFFFF, 4

# Nothing is started from a disc, and no device node or set-uid bit on it counts.
MOUNT_OPTIONS = "ro,nosuid,nodev,noexec"
FILE_SYSTEMS = ("iso9660", "udf")

Mount = NamedTuple("Mount", [("identifier", int), ("point", str), ("file_system", str), ("source", str)])


def drives(paths: Paths) -> List[str]:
    """Device nodes of the guest's CD-ROM drives, the one that udev found under the label first; each once."""
    by_label = paths.at("dev/disk/by-label", LABEL)
    found = [os.path.realpath(by_label)] if os.path.exists(by_label) else []
    found += [paths.at("dev", os.path.basename(entry)) for entry in sorted(glob.glob(paths.at("sys/block/sr*")))]
    return list(dict.fromkeys(found))


def is_loaded(device: str) -> bool:
    """Is there a readable disc in the drive? Asked so that an open tray stays open."""
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return fcntl.ioctl(descriptor, CDROM_DRIVE_STATUS, CDSL_CURRENT) == CDS_DISC_OK
    except OSError:
        return False
    finally:
        os.close(descriptor)


def parse_mountinfo(text: str) -> List[Mount]:
    """The mounts of /proc/<pid>/mountinfo (proc(5)) in order; a line that is none is passed over."""
    found = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, rest = left.split(" "), right.split(" ")
        if separator and len(fields) >= 6 and len(rest) >= 2 and fields[0].isdigit():
            found.append(Mount(int(fields[0]), _unescaped(fields[4]), rest[0], _unescaped(rest[1])))
    return found


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)


def _mounts(paths: Paths) -> List[Mount]:
    return parse_mountinfo(read_text(paths.at("proc/self/mountinfo"), 4 << 20) or "")


def mounted_at(paths: Paths, folder: str) -> bool:
    return any(mount.point == os.path.realpath(folder) for mount in _mounts(paths))


class MountedDiscs:
    """Is a tools disc mounted in the guest? Called at each heartbeat: a disc is read only when the mounts changed."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._seen: Optional[Tuple[Mount, ...]] = None
        self._answer = False

    def __call__(self) -> bool:
        mounts = tuple(
            mount
            for mount in _mounts(self._paths)
            if mount.file_system in FILE_SYSTEMS and mount.point != self._paths.disc  # not the agent's own look
        )
        if mounts != self._seen:
            self._answer = any(is_tools_disc(self._paths.at(mount.point.lstrip("/"))) for mount in mounts)
            self._seen = mounts
        return self._answer


@contextlib.contextmanager
def mounted_privately(paths: Paths, device: str, run: Runner) -> Iterator[str]:
    """Folder where the device's disc is mounted, for the agent alone. COMMAND_FAILED for what cannot be mounted."""
    make_folder(paths.run)
    make_folder(paths.disc, 0o700)
    _checked(run, ["mount", "-n", "-t", "iso9660", "-o", MOUNT_OPTIONS, device, paths.disc])
    try:
        yield paths.disc
    finally:
        _checked(run, ["umount", "-n", paths.disc])


def _checked(run: Runner, command: List[str]) -> None:
    done = run(command)
    if done.returncode != 0:
        said = done.stderr.strip() or "exit status {0}".format(done.returncode)
        raise AgentError("COMMAND_FAILED", "{0} {1}: {2}".format(command[0], command[-1], said[:500]))
