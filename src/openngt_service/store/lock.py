# SPDX-License-Identifier: GPL-3.0-or-later
"""One process for a state folder: what the store mirrors in memory is true only while nobody else writes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openngt.errors import OpenNGTError

__all__ = ["LOCK_FILE", "state_lock"]

LOCK_FILE = "service.lock"


@contextmanager
def state_lock(state_dir: Path) -> Iterator[None]:
    """Hold the state folder (made 0700 where it is missing), or raise SERVICE_CONFLICT at once.

    The kernel lets go of the lock when its holder dies, so nothing is left behind. The file holds the holder's pid, for
    people; it is never the lock itself.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise OpenNGTError("PERMISSION_DENIED", f"state_dir {state_dir} cannot be used: {exc.strerror}") from exc
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 32).decode("ascii", "replace").strip()
            message = f"process {pid or '(starting)'} works in {state_dir}"
            raise OpenNGTError("SERVICE_CONFLICT", message, {"pid": pid, "state_dir": str(state_dir)}) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
