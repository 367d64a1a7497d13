# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a CA folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..effects import file_errors

__all__ = ["locked"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder alone, waiting for whoever holds it now; the kernel lets go of it when the holder dies.

    The lock is on the folder itself, so no lock file can be left behind.
    """
    with file_errors(str(folder)):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
