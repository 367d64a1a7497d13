# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What posix_files.py does, on Windows: ACLs for modes, renames that are written through, a lock file in the folder."""

import contextlib
import ctypes
import errno
import os
import stat
import tempfile
import time
import uuid
from ctypes import byref, c_int, c_uint32, c_void_p, c_wchar_p
from typing import Any, Iterator

from .windows_api import call, checked, error, local_pointer, security_descriptor

__all__ = [
    "anonymous_file",
    "locked",
    "open_below",
    "protect_folder",
    "replace",
    "set_mode",
    "sweep_pairs",
    "sync_folder",
]

# Owner Administrators, nothing inherited: SYSTEM and Administrators may do everything, in all that is made below.
PRIVATE = "O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
# The same, and users may look. Below ProgramData they could write otherwise.
READABLE = PRIVATE + "(A;OICI;0x1200a9;;;BU)"
OWNERS = ("S-1-5-18", "S-1-5-32-544")  # SYSTEM, Administrators

SE_FILE_OBJECT = 1
OWNER_SECURITY_INFORMATION, DACL_SECURITY_INFORMATION = 0x1, 0x4
PROTECTED_DACL_SECURITY_INFORMATION = 0x80000000
MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH = 0x1, 0x8
REPARSE_POINT = 0x400

LOCK = ".lock"
LOCK_SECONDS = 0.1
REPLACE_ATTEMPTS = 50
REPLACE_SECONDS = 0.02

PAIR, PAIR_FOLDER = "pair.pem", "openngt-pair-"
LEFTOVER_SECONDS = 3600.0


class _SecurityAttributes(ctypes.Structure):
    _fields_ = [("length", c_uint32), ("descriptor", c_void_p), ("inherit", c_int)]


def sync_folder(path: str) -> None:
    """Nothing: a rename is written through when it is made, and there is no handle to flush a folder by."""


def protect_folder(path: str, mode: int) -> None:
    """An existing or missing folder, whose parent is there, for SYSTEM and Administrators alone (0700) or for all to
    read.

    A folder that is somebody else's, or a link to one, is refused: OSError (EPERM). Its owner could open it again.
    """
    sddl = PRIVATE if mode == 0o700 else READABLE
    with security_descriptor(sddl) as descriptor:
        attributes = _SecurityAttributes(ctypes.sizeof(_SecurityAttributes), descriptor, 0)
        if call("kernel32", "CreateDirectoryW", c_int, c_wchar_p(path), byref(attributes)):
            return
        failure = error()
        if not os.path.isdir(path):
            raise failure
        if _is_link(path) or _owner(path) not in OWNERS:
            raise OSError(errno.EPERM, "it belongs to somebody else; remove it, or give it to Administrators", path)
        _set_acl(path, descriptor)


def _owner(path: str) -> str:
    """The SID of a folder's owner, as text."""
    owner = c_void_p()
    with local_pointer() as descriptor, local_pointer() as text:
        arguments = (byref(owner), None, None, None, byref(descriptor))
        information = c_uint32(OWNER_SECURITY_INFORMATION)
        status = call(
            "advapi32",
            "GetNamedSecurityInfoW",
            c_uint32,
            c_wchar_p(path),
            c_uint32(SE_FILE_OBJECT),
            information,
            *arguments,
        )
        if status:
            raise error(status)
        checked("advapi32", "ConvertSidToStringSidW", owner, byref(text))
        return str(ctypes.cast(text, c_wchar_p).value)


def _set_acl(path: str, descriptor: Any) -> None:
    present, acl, defaulted = c_int(), c_void_p(), c_int()
    arguments = (byref(present), byref(acl), byref(defaulted))
    checked("advapi32", "GetSecurityDescriptorDacl", descriptor, *arguments)
    information = c_uint32(DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION)
    what = (c_wchar_p(path), c_uint32(SE_FILE_OBJECT), information)
    status = call("advapi32", "SetNamedSecurityInfoW", c_uint32, *what, None, None, acl, None)
    if status:
        raise error(status)


def _is_link(path: str) -> bool:
    """A symbolic link, a junction, or anything else that stands for what is elsewhere."""
    found = os.lstat(path)
    return stat.S_ISLNK(found.st_mode) or bool(getattr(found, "st_file_attributes", 0) & REPARSE_POINT)


def set_mode(descriptor: int, mode: int) -> None:
    """Nothing: the ACL of its folder holds for each file."""


def replace(temporary: str, path: str) -> None:
    """Rename, over what is there, and through to the disk. Who reads the old file at this moment is waited for."""
    flags = c_uint32(MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH)
    for attempt in range(1, REPLACE_ATTEMPTS + 1):
        if call("kernel32", "MoveFileExW", c_int, c_wchar_p(temporary), c_wchar_p(path), flags):
            return
        failure = error()
        if attempt == REPLACE_ATTEMPTS or failure.errno != errno.EACCES:
            raise failure
        time.sleep(REPLACE_SECONDS)


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Nobody else who calls this on the folder is inside at the same time. Windows lets go when a holder dies."""
    import msvcrt  # there on Windows alone

    runtime: Any = msvcrt
    descriptor = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            try:
                runtime.locking(descriptor, runtime.LK_NBLCK, 1)
                break
            except OSError:
                time.sleep(LOCK_SECONDS)
        try:
            yield
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
            runtime.locking(descriptor, runtime.LK_UNLCK, 1)
    finally:
        os.close(descriptor)


def open_below(folder: str, path: str) -> int:
    """A descriptor of the regular file `folder`/`path`; OSError for a link in any part of `path`, and for what is no
    regular file.
    """
    here = folder
    for part in path.split("/"):
        here = os.path.join(here, part)
        if _is_link(here):
            raise OSError(errno.ELOOP, "a link is not followed", path)
    if not stat.S_ISREG(os.stat(here).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    return os.open(here, os.O_RDONLY | getattr(os, "O_BINARY", 0))


@contextlib.contextmanager
def anonymous_file(content: bytes) -> Iterator[str]:
    """A path to the content that SYSTEM and Administrators alone can open, and that is gone with the block.

    For `ssl`, which takes a key from a path only, and opens no file that another process may delete.
    """
    folder = os.path.join(tempfile.gettempdir(), PAIR_FOLDER + str(uuid.uuid4()))
    protect_folder(folder, 0o700)
    path = os.path.join(folder, PAIR)
    try:
        with open(path, "wb") as stream:
            stream.write(content)
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            with open(path, "r+b") as stream:
                stream.write(b"\0" * len(content))
            os.unlink(path)
        os.rmdir(folder)


def sweep_pairs() -> None:
    """Remove what killed processes left of `anonymous_file`; nothing that is somebody else's."""
    folder = tempfile.gettempdir()
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            old = name.startswith(PAIR_FOLDER) and time.time() - os.lstat(path).st_mtime > LEFTOVER_SECONDS
            if old and not _is_link(path) and _owner(path) in OWNERS:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(path, PAIR))
                os.rmdir(path)
