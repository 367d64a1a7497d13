# SPDX-License-Identifier: GPL-3.0-or-later
"""Ends what a session has started when the session itself cannot: its process was killed, or a worker interrupted.

A process of its own that reads a pipe to its end: that comes with the session's process, however that ends.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from openngt_service.lab.service_process import ServiceProcess
from openngt_service.lab.vm import Lab

from ..conftest import ROOT, program

__all__ = ["ended_with_us"]

END: Mapping[str, Callable[[Path], object]] = {
    "lab": lambda directory: Lab(directory, lambda line: None).down(),
    "service": lambda directory: ServiceProcess(directory, Path(program("openngt")), directory / "log").stop(),
}


@contextmanager
def ended_with_us(kind: Literal["lab", "service"], directory: Path) -> Iterator[None]:
    """For as long as it is entered; what has been ended by then is left alone."""
    command = [sys.executable, "-m", __name__, kind, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True):
        yield


def main(kind: str, directory: Path) -> None:
    sys.stdin.read()
    if directory.exists():
        END[kind](directory)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
