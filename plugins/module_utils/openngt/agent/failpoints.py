# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Named places to be killed at, so that a test can prove that the next run converges (see openngt/failpoints.py)."""

import os
import signal

__all__ = ["failpoint"]


def failpoint(name: str) -> None:
    """End this process by SIGKILL, as a power cut would, when the environment's OPENNGT_FAILPOINT is `name`."""
    if os.environ.get("OPENNGT_FAILPOINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
