# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""One installation from a disc at a time in a guest.

What a killed controller has begun in a guest goes on there to its end, and then unmounts the disc: without a turn,
under the feet of the run that came to make up for it (F31).
"""

import contextlib
import fcntl
import os
import time
from typing import Callable, Iterator, Optional

from ..errors import OpenNGTError

__all__ = ["LOCK", "turn"]

LOCK = "/run/openngt-install.lock"
TURN_SECONDS = 150


@contextlib.contextmanager
def turn(path: str = LOCK, seconds: int = TURN_SECONDS, pause: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Wait until nobody else installs in this guest. INSTALL_UNDER_WAY when that takes longer than `seconds`.

    Nothing is left of it. Who may not write there, and so cannot mount either, is not held up.
    """
    try:
        held = _taken(path)
        for _second in range(seconds):
            if held is not None:
                break
            pause(1.0)
            held = _taken(path)
    except PermissionError:
        yield
        return
    if held is None:
        raise OpenNGTError("INSTALL_UNDER_WAY", "another installation is at work in this guest", {"path": path})
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(held)


def _taken(path: str) -> Optional[int]:
    """The locked file; None while somebody else has it, or had it when it was opened and has removed it since."""
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(held), os.stat(path)):
            return held
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(held)
    return None
