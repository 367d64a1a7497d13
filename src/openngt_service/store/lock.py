# SPDX-License-Identifier: GPL-3.0-or-later
"""One process for a state folder: what the store mirrors in memory is true only while nobody else writes."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from openngt.errors import OpenNGTError

__all__ = ["state_lock"]


@contextmanager
def state_lock(state_dir: Path) -> Iterator[None]:
    """Hold the state folder (made 0700 where it is missing), or raise SERVICE_CONFLICT at once.

    The kernel lets go of the lock when its holder dies, so nothing is left behind.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OpenNGTError("SERVICE_CONFLICT", f"another process works in {state_dir}") from None
        yield
    finally:
        os.close(descriptor)
