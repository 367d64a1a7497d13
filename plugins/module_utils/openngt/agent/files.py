# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The side effects on files and processes, one function each."""

import contextlib
import errno
import fcntl
import os
import re
import stat
import subprocess
import tempfile
from typing import IO, Callable, Iterator, List, NamedTuple, Optional, Sequence

from .errors import AgentError

__all__ = [
    "TEMPORARY",
    "Finished",
    "Runner",
    "anonymous_file",
    "file_errors",
    "locked",
    "make_folder",
    "open_below",
    "read_capped",
    "read_text",
    "replace_file",
    "replace_link",
    "run",
    "sync_folder",
    "sweep",
]

TEMPORARY = ".openngt-"
"""How the names of files begin that are not complete yet."""

Finished = NamedTuple("Finished", [("returncode", int), ("stdout", str), ("stderr", str)])
Runner = Callable[[Sequence[str]], Finished]


def run(command: Sequence[str], timeout: float = 60.0) -> Finished:
    """Run a program without a shell; what it said, whatever its exit status.

    COMMAND_NOT_FOUND or COMMAND_TIMED_OUT (`timeout` in seconds).
    """
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=False,
            env=dict(os.environ, LC_ALL="C"),
        )
    except FileNotFoundError as exc:
        raise AgentError("COMMAND_NOT_FOUND", "command not found: {0}".format(command[0])) from exc
    except subprocess.TimeoutExpired as exc:
        raise AgentError("COMMAND_TIMED_OUT", "{0} did not finish within {1:g} s".format(command[0], timeout)) from exc
    return Finished(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


@contextlib.contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Raise what the system says about files inside the block as PERMISSION_DENIED, NO_SPACE or FILE_UNUSABLE."""
    try:
        yield
    except OSError as exc:
        name = os.fsdecode(exc.filename) if isinstance(exc.filename, (str, bytes)) else path
        if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            code = "PERMISSION_DENIED"
        elif exc.errno in (errno.ENOSPC, errno.EDQUOT):
            code = "NO_SPACE"
        else:
            code = "FILE_UNUSABLE"
        raise AgentError(code, "{0}: {1}".format(name, exc.strerror or exc), {"path": name}) from exc


def sync_folder(path: str) -> None:
    """Make a rename or unlink in the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: str, mode: int = 0o755) -> None:
    """The folder and its parents, whatever the umask; the mode is that of the last one and is set if it differs."""
    os.makedirs(path, mode=0o755, exist_ok=True)
    if stat.S_IMODE(os.stat(path).st_mode) != mode:
        os.chmod(path, mode)


def replace_file(
    path: str,
    content: bytes,
    mode: int = 0o644,
    durable: bool = True,
    at: Callable[[str], None] = lambda step: None,
) -> None:
    """Swap a file's content: after a crash the old or the new one is there, complete, and after return the new one.

    0600 until the last byte is written. `at` is told `written` and `renamed`: the places where a crash leaves
    something. Without `durable` (files below /run) nothing is waited for.
    """
    folder, name = os.path.split(os.path.abspath(path))
    descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY + name + ".", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            if durable:
                os.fsync(stream.fileno())
        at("written")
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    at("renamed")
    if durable:
        sync_folder(folder)


def replace_link(path: str, target: str) -> None:
    """Point a symbolic link elsewhere in one step."""
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, TEMPORARY + name + ".link")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, path)
    sync_folder(folder)


def sweep(folder: str) -> List[str]:
    """Remove what killed runs left half-written in a folder; their names. Only where no other writer can be."""
    swept = [name for name in sorted(os.listdir(folder)) if re.match(re.escape(TEMPORARY), name)]
    for name in swept:
        os.unlink(os.path.join(folder, name))
    return swept


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Nobody else who calls this on the folder is inside at the same time. The kernel lets go when a holder dies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_text(path: str, limit: int = 65536) -> Optional[str]:
    """The beginning of a text file of the system, or None where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(limit).decode("utf-8", "replace")
    except OSError:
        return None


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


def read_capped(folder: str, path: str, limit: int) -> bytes:
    """The whole of a regular file below a folder; OSError (EFBIG) when it holds more than `limit` bytes."""
    with os.fdopen(open_below(folder, path), "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, "more than {0} bytes".format(limit), path)
    return content


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
    return tempfile.TemporaryFile(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)  # noqa: S108 - nameless
