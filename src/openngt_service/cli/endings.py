# SPDX-License-Identifier: GPL-3.0-or-later
"""How a command ends whose answer finds no place, or for which nobody waits any longer: never with a traceback."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from openngt.errors import OpenNGTError

__all__ = ["exit_status", "no_longer_waiting"]

INTERRUPTED = 130
"""As a shell shows a program that SIGINT has ended."""


def exit_status(command: Callable[[], int | None], tell: Callable[[OpenNGTError], None]) -> int:
    """Run it; everything it said is written when this returns. `tell` gets its failure, for which the status is 1.

    A reader that has seen enough (`| head`) makes the status 1 as well, without a word.
    """
    give_streams()
    try:
        status = command() or 0
        sys.stdout.flush()
    except OpenNGTError as error:
        tell(error)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        give_up_stdout()
        return 1
    except OSError as exc:
        if exc.filename is not None:  # of a file that the command has opened: a defect, and to be seen as one
            raise
        give_up_stdout()
        tell(OpenNGTError("NO_SPACE", f"the answer cannot be written to standard output: {exc.strerror}"))
        return 1
    return status


def give_streams() -> None:
    """A command that was started with a closed stream writes to nowhere, as to /dev/null."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  for as long as the process lives


def give_up_stdout() -> None:
    """The interpreter flushes once more when it ends; let that succeed."""
    with contextlib.suppress(OSError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


@contextlib.contextmanager
def no_longer_waiting(how_to_look: str) -> Iterator[None]:
    """Tell who presses Ctrl-C that the service goes on with it, and how to look at it."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nnot waited for any longer; the service goes on with it: {how_to_look}\n")
        raise
