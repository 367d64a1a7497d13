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
BLOCK = 4096
"""Of the usual file systems."""


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
        regions = _filled_regions(template, source, content)
        with unfinished(destination, fsync=fsync) as target:
            method = copy(source, target, template.size)
            failpoint("iso.clone.copied")
            for offset, region in regions:
                _write(target, region, offset)
            failpoint("iso.clone.patched")
    finally:
        os.close(source)
    return method


def _filled_regions(template: Template, source: int, content: Mapping[str, bytes]) -> list[tuple[int, bytes]]:
    """(offset, bytes) to write: whole blocks of the template with the slots filled.

    A write of a part of a shared block would make the file system read the rest of it from the disk first. A slot is
    filled only where the file, as it is now, has that slot empty: otherwise it is DISC_INVALID.
    """
    regions = [(start, bytearray(os.pread(source, end - start, start))) for start, end in _blocks(template)]
    unchanged = os.fstat(source).st_size == template.size
    for path, slot in content.items():
        start, region = next(found for found in reversed(regions) if found[0] <= template.slots[path])
        at = slice(template.slots[path] - start, template.slots[path] - start + len(slot))
        unchanged = unchanged and region[at] == template.blank(path)
        region[at] = slot
    if not unchanged:
        raise invalid(f"the template {template.path} is not the file that was opened; open it again")
    return [(start, bytes(region)) for start, region in regions]


def _blocks(template: Template) -> list[tuple[int, int]]:
    """Spans of whole blocks that hold the slots, ascending; neighbours are one."""
    spans: list[tuple[int, int]] = []
    for offset, size in sorted((template.slots[path], size) for path, size in SLOTS.items()):
        start = offset // BLOCK * BLOCK
        end = min(-(-(offset + size) // BLOCK) * BLOCK, template.size)
        if spans and start <= spans[-1][1]:
            start = spans.pop()[0]
        spans.append((start, end))
    return spans


def copy(source: int, target: int, size: int) -> CloneMethod:
    """Give an empty file the first `size` bytes of another, by the cheapest way that both can."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as exc:
        if exc.errno not in NOT_THIS_WAY:
            raise
    else:
        return "reflink"
    _reserve(target, size)
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


def _reserve(target: int, size: int) -> None:
    """Claim the space first: a full disk is found before the copying, which is a fifth cheaper then (ext4)."""
    try:
        os.posix_fallocate(target, 0, size)
    except OSError as exc:
        if exc.errno not in NOT_THIS_WAY:
            raise


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
