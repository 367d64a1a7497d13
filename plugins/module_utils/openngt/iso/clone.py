# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's ISO from its template: clone the file, write the slots. The cost does not depend on the payload where the file
system shares blocks (xfs, btrfs, …); elsewhere it is that of copying the file.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ..effects import file_errors
from ..failpoints import failpoint
from ._iso9660 import invalid
from ._unfinished import unfinished
from .layout import SLOTS
from .template import Template, padded

__all__ = ["CloneMethod", "clone"]

CloneMethod = Literal["reflink", "copy_file_range", "copy"]

# <linux/fs.h>, on all architectures but mips, powerpc and sparc, where the kernel answers ENOTTY and we copy.
FICLONE = 0x40049409

# What a file system, a pair of them, or a kernel says that cannot do it this way.
NOT_THIS_WAY = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY, errno.EXDEV}
)
CHUNK = 1 << 20


def clone(template: Template, slots: Mapping[str, bytes], destination: Path, *, fsync: bool = True) -> CloneMethod:
    """Make `destination` (0600; replaced where it exists) the template with each slot filled; tells how it was cloned.

    `slots` names all of SLOTS. ISO_TOO_LARGE before anything is written; DISC_INVALID when the template's file is no
    longer what was opened; NO_SPACE and PERMISSION_DENIED name the file. Nothing partial ever bears the name, and
    without `fsync` that holds for a crash of the process but not of the machine.
    """
    content = {path: padded(path, slots[path]) for path in SLOTS}
    with file_errors(str(template.path)):
        source = os.open(template.path, os.O_RDONLY)
    try:
        _check_unchanged(template, source)
        with unfinished(destination, fsync=fsync) as target:
            method = copy(source, target, template.size)
            failpoint("iso.clone.copied")
            for path, slot in content.items():
                _write(target, slot, template.slots[path])
            failpoint("iso.clone.patched")
    finally:
        os.close(source)
    return method


def _check_unchanged(template: Template, source: int) -> None:
    """A slot is written only where the file, as it is now, has that slot empty."""
    changed = os.fstat(source).st_size != template.size or any(
        os.pread(source, size, template.slots[path]) != template.blank(path) for path, size in SLOTS.items()
    )
    if changed:
        raise invalid(f"the template {template.path} is not the file that was opened; open it again")


def copy(source: int, target: int, size: int) -> CloneMethod:
    """Give an empty file the first `size` bytes of another, by the cheapest way that both can."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as exc:
        if exc.errno not in NOT_THIS_WAY:
            raise
    else:
        return "reflink"
    done = _copy_in_kernel(source, target, size)
    if done == size:
        return "copy_file_range"
    while done < size:
        chunk = os.pread(source, min(CHUNK, size - done), done)
        if not chunk:
            raise OSError(errno.EIO, "the template became shorter while it was copied")
        _write(target, chunk, done)
        done += len(chunk)
    return "copy"


def _copy_in_kernel(source: int, target: int, size: int) -> int:
    """How many bytes the kernel copied before it said that it cannot."""
    done = 0
    try:
        while done < size:
            count = os.copy_file_range(source, target, size - done, done, done)
            if count == 0:
                break
            done += count
    except OSError as exc:
        if exc.errno not in NOT_THIS_WAY:
            raise
    return done


def _write(target: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(target, view, offset)
        view, offset = view[written:], offset + written
