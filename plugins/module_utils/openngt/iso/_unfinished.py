# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that appear under their name complete or not at all, and the sweeping of what killed writers left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from ..effects import file_errors, fsync_directory
from ..failpoints import failpoint

__all__ = ["sweep", "unfinished"]

UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.partial")


@contextlib.contextmanager
def unfinished(destination: Path, *, fsync: bool = True) -> Iterator[int]:
    """A descriptor on a new file (0600) that becomes `destination` when the block ends, and is gone when it fails.

    With `fsync` the file, and its name, survive a power cut once the block has ended. NO_SPACE, PERMISSION_DENIED and
    FILE_UNUSABLE name the file.
    """
    with file_errors(str(destination)):
        path, descriptor = _create(destination)
        try:
            failpoint("iso.publish.created")
            yield descriptor
            if fsync:
                os.fsync(descriptor)
            failpoint("iso.publish.synced")
            path.replace(destination)
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
        failpoint("iso.publish.renamed")
        if fsync:
            fsync_directory(str(destination.parent))


def _create(destination: Path) -> tuple[Path, int]:
    """A new file that its writer holds by a lock, which the kernel frees when the writer dies: see `sweep`."""
    while True:
        path = destination.with_name(f".{destination.name}.{secrets.token_hex(4)}.partial")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)  # a sweep came between creation and lock


def sweep(folder: Path, older_than: float = 0.0) -> list[Path]:
    """Remove unfinished files whose writer is gone and that were last written more than `older_than` seconds ago.

    Safe beside living writers. Returns what was removed.
    """
    removed = []
    with file_errors(str(folder)):
        for entry in os.scandir(folder):
            if UNFINISHED.fullmatch(entry.name) and _remove_abandoned(Path(entry.path), older_than):
                removed.append(Path(entry.path))
    return removed


def _remove_abandoned(path: Path, older_than: float) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False  # its writer has just finished
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        abandoned = time.time() - os.fstat(descriptor).st_mtime >= older_than
        if abandoned:
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return False  # its writer lives
    finally:
        os.close(descriptor)
    return abandoned
