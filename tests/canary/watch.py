# SPDX-License-Identifier: GPL-3.0-or-later
"""The argument lists of all processes while something runs: what every local user can read."""

import threading
from pathlib import Path
from typing import Self

__all__ = ["Arguments"]

PAUSE = 0.02


class Arguments:
    """`with Arguments() as seen:` then `seen.text` has each line that any process of this host has had meanwhile."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def text(self) -> bytes:
        return b"\n".join(sorted(self._seen))

    def _watch(self) -> None:
        while not self._end.wait(PAUSE):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self._seen.add(path.read_bytes())
                except OSError:  # it has ended
                    continue
