# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a file of secrets, and only one that nobody else can read or exchange."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from dataclasses import dataclass, field

from ...effects import file_errors, fsync_directory
from ...errors import OpenNGTError

__all__ = ["PrivateFile", "read_private_file"]

READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
STANDARD_INPUT = "give the list on standard input instead (-)"


@dataclass(frozen=True)
class PrivateFile:
    """What was read, and from which file, so that this one and no other is deleted."""

    path: str
    content: bytes = field(repr=False)
    device: int
    inode: int

    def delete(self) -> bool:
        """Overwrite and remove it; False when it is not there any more or another has taken its place.

        Overwriting reaches the old blocks on a plain disk alone; snapshots, journals and flash keep what they keep.
        """
        with file_errors(self.path):
            try:
                descriptor = os.open(self.path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                return False
            try:
                found = os.fstat(descriptor)
                if (found.st_dev, found.st_ino) != (self.device, self.inode):
                    return False
                _write_zeros(descriptor, found.st_size)
                os.fsync(descriptor)
                os.unlink(self.path)
            finally:
                os.close(descriptor)
            fsync_directory(os.path.dirname(os.path.abspath(self.path)))
        return True


def read_private_file(path: str, most_bytes: int) -> PrivateFile:
    """The content of the caller's own regular file of mode 0600 or stricter; it is judged on the open descriptor.

    CREDENTIALS_EXPOSED says who else could read or exchange it, INVALID_INPUT that it is no regular file or has more
    than `most_bytes`, PERMISSION_DENIED and FILE_UNUSABLE what the system says.
    """
    folder, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
    if not path or not name or "\0" in path:
        raise OpenNGTError("INVALID_INPUT", "the path of the list of credentials names no file")
    with file_errors(path):
        below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _judge_folder(os.fstat(below), path, folder)
            descriptor = _open(name, below, path)
        finally:
            os.close(below)
        try:
            found = os.fstat(descriptor)
            _judge_file(found, path)
            content = _read(descriptor, most_bytes + 1)
        finally:
            os.close(descriptor)
    if len(content) > most_bytes:
        raise OpenNGTError("INVALID_INPUT", "{0} has more than {1} bytes".format(path, most_bytes))
    return PrivateFile(os.path.join(folder, name), content, found.st_dev, found.st_ino)


def _open(name: str, below: int, path: str) -> int:
    try:
        return os.open(name, READ_ONLY, dir_fd=below)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise _exposed(path, "it is a symbolic link, whose end another may exchange", STANDARD_INPUT) from None
        if exc.errno == errno.ENXIO:
            raise _no_file(path, "a socket or a device") from None
        raise


def _judge_file(found: os.stat_result, path: str) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG:
        raise _no_file(path, KINDS.get(kind, "something else"))
    if found.st_uid != os.geteuid():
        raise _exposed(path, "it belongs to {0}, not to {1}".format(_user(found.st_uid), _user(os.geteuid())))
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        raise _exposed(path, "its mode is {0:04o}, others than its owner may use it".format(mode))


def _judge_folder(found: os.stat_result, path: str, folder: str) -> None:
    """Who can write to the folder can put another file in this one's place; the sticky bit forbids just that."""
    if found.st_uid not in (0, os.geteuid()):
        raise _exposed(path, "its folder {0} belongs to {1}".format(folder, _user(found.st_uid)))
    mode = stat.S_IMODE(found.st_mode)
    if mode & stat.S_ISVTX:
        return
    if mode & stat.S_IWOTH or (mode & stat.S_IWGRP and not _group_of_one(found.st_gid)):
        raise _exposed(path, "others can write to its folder {0} (mode {1:04o})".format(folder, mode))


def _group_of_one(gid: int) -> bool:
    """The group of the caller's own name, as most distributions give one to each user."""
    if gid == 0:
        return True
    with contextlib.suppress(KeyError):
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
        return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
    return False


def _read(descriptor: int, most: int) -> bytes:
    content = bytearray()
    while len(content) < most:
        more = os.read(descriptor, most - len(content))
        if not more:
            break
        content += more
    return bytes(content)


def _write_zeros(descriptor: int, size: int) -> None:
    written = 0
    while written < size:
        written += os.pwrite(descriptor, bytes(min(size - written, 1 << 16)), written)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "uid {0}".format(uid)


def _no_file(path: str, what: str) -> OpenNGTError:
    return OpenNGTError("INVALID_INPUT", "{0} is {1}, no file".format(path, what), {"path": path}, STANDARD_INPUT)


def _exposed(path: str, why: str, remedy: str | None = None) -> OpenNGTError:
    return OpenNGTError("CREDENTIALS_EXPOSED", "{0} is not read: {1}".format(path, why), {"path": path}, remedy)
