# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What files can do on Linux and not everywhere: descriptors of folders, locks, links, files without a name."""

import contextlib
import errno
import fcntl
import os
import stat
from typing import IO, Iterator

__all__ = ["anonymous_file", "locked", "open_below", "protect_folder", "replace", "set_mode", "sync_folder"]


def sync_folder(path: str) -> None:
    """Make a rename or unlink in the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def protect_folder(path: str, mode: int) -> None:
    """An existing or missing folder, whose parent is there, with this mode."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, mode)
    if stat.S_IMODE(os.stat(path).st_mode) != mode:
        os.chmod(path, mode)


def set_mode(descriptor: int, mode: int) -> None:
    os.fchmod(descriptor, mode)


def replace(temporary: str, path: str) -> None:
    """Rename, over what is there."""
    os.replace(temporary, path)


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Nobody else who calls this on the folder is inside at the same time. The kernel lets go when a holder dies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def open_below(folder: str, path: str) -> int:
    """A descriptor of the regular file `folder`/`path`, opened without following a link in any part of `path`.

    OSError, also for what is no regular file. A pipe or device in its place is never waited for.
    """
    # As bytes: in the C locale, Python 3.6 cannot turn a name beyond ASCII into one of the file system's.
    parts = path.encode("utf-8").split(b"/")
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        descriptor = os.open(parts[-1], flags, dir_fd=here)
    finally:
        os.close(here)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return descriptor


@contextlib.contextmanager
def anonymous_file(content: bytes) -> Iterator[str]:
    """A path to the content that no other user can open and that is gone with the block.

    For `ssl`, which takes a key from a path only. It is in memory where the system allows.
    """
    with _nameless() as stream:
        stream.write(content)
        stream.flush()
        yield "/proc/self/fd/{0}".format(stream.fileno())


def _nameless() -> IO[bytes]:
    if hasattr(os, "memfd_create"):  # Python 3.8
        return os.fdopen(os.memfd_create("openngt"), "w+b")
    import tempfile  # here alone: it costs a start as much as a quarter of the agent

    return tempfile.TemporaryFile(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)  # noqa: S108 - nameless
