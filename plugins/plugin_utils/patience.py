# Copyright (c) 2026, openngt contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words while a module is silent: it cannot show anything before it has ended, and may wait for minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ansible.plugins.action.normal import ActionModule as Normal
from ansible.utils.display import Display

__all__ = ["PatientAction", "told_meanwhile"]

display = Display()

FIRST_SECONDS = 10.0
"""Then at twice the time, and so on: a wait of a quarter of an hour says seven lines, so that a job of many hosts stays
within the number of events that AWX shows."""


class PatientAction(Normal):  # type: ignore[misc]  # ansible-core ships no type information
    """Runs the module as Ansible does, and says every now and then that it still waits for it."""

    def waits_for(self) -> str | None:
        """What the module may wait for, for people; None when it will not wait."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, object] | None = None) -> dict[str, object]:
        awaited = None if self._task.check_mode or self._task.async_val else self.waits_for()
        if awaited is None:
            return super().run(tmp, task_vars)  # type: ignore[no-any-return]
        with told_meanwhile(f"{(task_vars or {}).get('inventory_hostname', 'localhost')}: {awaited}"):
            return super().run(tmp, task_vars)  # type: ignore[no-any-return]


@contextmanager
def told_meanwhile(what: str, first: float = FIRST_SECONDS) -> Iterator[None]:
    """Show `what` with the seconds so far, at ever longer intervals, until the block ends."""
    ended = threading.Event()

    def tell() -> None:
        begun, at = time.monotonic(), first
        while not ended.wait(begun + at - time.monotonic()):
            display.display(f"{what}, {at:.0f} s so far")
            at *= 2

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
