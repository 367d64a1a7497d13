# SPDX-License-Identifier: GPL-3.0-or-later
"""Order without a task for each idle key."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Sequencer"]

Job = Callable[[], Coroutine[Any, Any, None]]


class Sequencer:
    """Runs jobs of one key one after the other, those of different keys at the same time.

    A job that raises does not stop the next one; `on_failure` is told.
    """

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self._on_failure = on_failure
        self._queues: dict[str, deque[Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, key: str, job: Job) -> None:
        queue = self._queues.get(key)
        if queue is not None:
            queue.append(job)
            return
        self._queues[key] = deque([job])
        self._start(key)

    def pending(self, key: str) -> int:
        """Jobs of a key that are not done."""
        queue = self._queues.get(key)
        return 0 if queue is None else len(queue)

    async def drain(self, seconds: float) -> bool:
        """Wait until nothing is left to do; False when `seconds` were not enough (what is left is cancelled)."""
        try:
            async with asyncio.timeout(seconds):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            self._queues.clear()
            for task in self._tasks:
                task.cancel()
            return False
        return True

    def _start(self, key: str) -> None:
        task = asyncio.get_running_loop().create_task(self._queues[key][0]())
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finished(key, done))

    def _finished(self, key: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        queue = self._queues.get(key)
        if queue is not None:
            queue.popleft()
            if queue:
                self._start(key)
            else:
                del self._queues[key]
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._on_failure(key, failure)
