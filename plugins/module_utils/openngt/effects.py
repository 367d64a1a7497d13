# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""One function for each kind of side effect, so that callers can be handed another one in a test."""

import contextlib
import datetime
import errno
import os
import re
import subprocess
import tempfile
from typing import Iterator, Mapping, NamedTuple, Optional, Sequence

from .errors import OpenNGTError
from .failpoints import failpoint

__all__ = [
    "Finished",
    "file_errors",
    "fsync_directory",
    "now",
    "replace_file",
    "run",
    "sweep_unfinished",
    "write_private",
]

Finished = NamedTuple("Finished", [("returncode", int), ("stdout", str), ("stderr", str)])


def now() -> datetime.datetime:
    """Current time, aware, UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def run(
    command: Sequence[str],
    timeout: float = 60.0,
    stdin: Optional[str] = None,
    environment: Optional[Mapping[str, str]] = None,
) -> Finished:
    """Run a program without a shell and return what it said, whatever its exit status.

    Secrets go through `stdin`, never through `command`: every local user reads the argument list of a process.

    Raises COMMAND_NOT_FOUND or COMMAND_TIMED_OUT (`timeout` in seconds).
    """
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            list(command),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=timeout,
            env=None if environment is None else dict(environment),
            check=False,
        )
    except FileNotFoundError as exc:
        raise OpenNGTError("COMMAND_NOT_FOUND", "command not found: {0}".format(command[0])) from exc
    except subprocess.TimeoutExpired as exc:
        raise OpenNGTError(
            "COMMAND_TIMED_OUT", "{0} did not finish within {1:g} s".format(command[0], timeout)
        ) from exc
    return Finished(done.returncode, done.stdout, done.stderr)


def fsync_directory(path: str) -> None:
    """Make a rename or unlink in the folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: str, content: bytes, mode: int = 0o644) -> None:
    """Swap a file's content so that after a crash either the old or the new content is there, complete.

    The mode is set before the first byte is written (mkstemp starts at 0600 and a wider mode is given last).
    """
    folder = os.path.dirname(os.path.abspath(path))
    descriptor, temporary = tempfile.mkstemp(prefix="." + os.path.basename(path) + ".", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        failpoint("effects.replace_file.written")
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    fsync_directory(folder)


def sweep_unfinished(path: str) -> None:
    """Remove what a killed `replace_file(path, ...)` left beside it. Only under a lock that excludes other writers."""
    folder, name = os.path.split(os.path.abspath(path))
    unfinished = re.compile(re.escape("." + name + ".") + "[a-z0-9_]{8}")
    for entry in os.listdir(folder):
        if unfinished.fullmatch(entry):
            os.unlink(os.path.join(folder, entry))


@contextlib.contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Raise what the system says about files inside the block as PERMISSION_DENIED, NO_SPACE or FILE_UNUSABLE.

    `path` is named where the system's error names no file itself.
    """
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
        raise OpenNGTError(code, "{0}: {1}".format(name, exc.strerror or exc), {"path": name}) from exc


def write_private(path: str, content: bytes) -> None:
    """`replace_file` for a secret: 0600 from before the first byte on."""
    replace_file(path, content, mode=0o600)
