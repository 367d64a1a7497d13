# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The side effects on files and processes, one function each. What each system does in its own way is chosen here."""

import contextlib
import errno
import os
import subprocess
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence

from .errors import AgentError

if os.name == "nt":
    from .windows_files import (
        anonymous_file,
        locked,
        open_below,
        protect_folder,
        replace,
        set_mode,
        sync_folder,
    )
else:
    from .posix_files import (
        anonymous_file,
        locked,
        open_below,
        protect_folder,
        replace,
        set_mode,
        sync_folder,
    )

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
        done = subprocess.run(  # pylint: disable=ansible-bad-function
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


def make_folder(path: str, mode: int = 0o755) -> None:
    """The folder and its parents, whatever the umask; the mode is that of the last one and is set if it differs."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o755, exist_ok=True)
    protect_folder(path, mode)


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
    # As tempfile has it, whose import costs a start of the agent more than all that it does with files.
    temporary = os.path.join(folder, "{0}{1}.{2}".format(TEMPORARY, name, os.urandom(8).hex()))
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            set_mode(stream.fileno(), mode)
            if durable:
                os.fsync(stream.fileno())
        at("written")
        replace(temporary, path)
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
    swept = [name for name in sorted(os.listdir(folder)) if name.startswith(TEMPORARY)]
    for name in swept:
        os.unlink(os.path.join(folder, name))
    return swept


def read_text(path: str, limit: int = 65536) -> Optional[str]:
    """The beginning of a text file of the system, or None where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(limit).decode("utf-8", "replace")
    except OSError:
        return None


def read_capped(folder: str, path: str, limit: int) -> bytes:
    """The whole of a regular file below a folder; OSError (EFBIG) when it holds more than `limit` bytes."""
    with os.fdopen(open_below(folder, path), "rb") as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, "more than {0} bytes".format(limit), path)
    return content
