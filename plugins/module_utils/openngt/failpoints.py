# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""Named places to be killed at, so that a test can prove that the next run converges.

A failpoint stands after an effect, named `<room>.<operation>.<step that is done>`. The names are found by reading the
code (fixture `failpoints` in tests/conftest.py), so a step without its kill case fails the test of its room.
Whoever can set the environment of a process can also kill it: an armed name gives nobody a new power.
"""

import os
import signal

__all__ = ["failpoint"]


def failpoint(name: str) -> None:
    """End this process by SIGKILL, as a crash would, when the environment's OPENNGT_FAILPOINT is `name`."""
    if os.environ.get("OPENNGT_FAILPOINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
