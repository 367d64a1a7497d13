# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The one place where the agent waits: for sockets, for another thread, for a signal, for time."""

import contextlib
import selectors
import socket
import time
from typing import Callable, Optional, Tuple

__all__ = ["READ", "WRITE", "Waiter"]

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class Waiter:
    """Waits in short turns and calls `beat` at each, so that a watchdog sees that nobody hangs.

    `wake` may be called from a signal handler or another thread; `stop` is a wake that stays.
    """

    def __init__(
        self,
        beat: Callable[[], None] = lambda: None,
        turn_seconds: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stopping = False
        self.monotonic = monotonic
        self._beat = beat
        self._turn_seconds = turn_seconds
        # Not a pipe: Windows selects nothing but sockets.
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    def close(self) -> None:
        self._wake_read.close()
        self._wake_write.close()

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it will wake all the same
            self._wake_write.send(b"w")

    def stop(self) -> None:
        self.stopping = True
        self.wake()

    def wait(self, seconds: float, descriptor: Optional[int] = None, interest: int = 0) -> int:
        """Until `seconds` are over, the turn ends, somebody wakes us, or the descriptor is ready for READ or WRITE.

        What it is ready for; 0 otherwise.
        """
        ready, _woken = self._turn(seconds, descriptor, interest)
        return ready

    def pause(self, seconds: float) -> None:
        """Until `seconds` are over or somebody wakes us."""
        end = self.monotonic() + seconds
        while not self.stopping and self.monotonic() < end:
            _ready, woken = self._turn(end - self.monotonic(), None, 0)
            if woken:
                return

    def _turn(self, seconds: float, descriptor: Optional[int], interest: int) -> Tuple[int, bool]:
        self._beat()
        ready, woken = 0, False
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, READ)
            if descriptor is not None and interest:
                selector.register(descriptor, interest)
            for key, mask in selector.select(max(0.0, min(seconds, self._turn_seconds))):
                if key.fileobj is self._wake_read:
                    woken = True
                    with contextlib.suppress(BlockingIOError):
                        self._wake_read.recv(4096)
                else:
                    ready = mask
        return ready, woken
