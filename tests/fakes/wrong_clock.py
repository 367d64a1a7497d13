# SPDX-License-Identifier: GPL-3.0-or-later
"""Another time for a process that is started here, and a jump while it runs; by libfaketime, as all of it sees."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["LIBRARY", "WrongClock"]

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
"""None: the package libfaketime is not installed (`make system-packages`)."""


class WrongClock:
    """`with clock.worn():` what is started within has this clock; `set` makes it jump, unless it is `steady`.

    A jump leaves the monotonic clock alone, as it is where somebody sets a clock. A program that sleeps by that one
    cannot be told so (libfaketime gets its sum wrong): for such a one the clock is steady, and wrong as a whole.
    """

    def __init__(self, file: Path, offset: str = "+0", *, steady: bool = False) -> None:
        self._file = file
        self._steady = steady
        self.set(offset)

    def set(self, offset: str) -> None:
        """By so much it is ahead of the machine's: `-5m`, `+3650d`. A process notices within a second."""
        partial = self._file.with_name(self._file.name + ".partial")
        partial.write_text(offset + "\n")
        partial.replace(self._file)

    @contextlib.contextmanager
    def worn(self) -> Iterator[None]:
        assert LIBRARY is not None, "ask for LIBRARY before"
        ours = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            **({} if self._steady else {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}),
        }
        os.environ.update(ours)
        try:
            yield
        finally:
            for name in ours:
                del os.environ[name]
