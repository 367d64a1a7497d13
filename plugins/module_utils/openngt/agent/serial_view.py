# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What the agent knows of its serial port, as it shows it in the guest and reports it to the service."""

import time
from typing import Any, Callable, Dict, Optional

from .errors import AgentError
from .runtime_status import RuntimeStatus
from .times import text_of

__all__ = ["SerialView"]

SAME_SECONDS = 30.0

STATES = {
    "SERIAL_PORT_ABSENT": "absent",
    "SERIAL_PORT_BUSY": "busy",
    "SERIAL_PORT_FAILED": "failed",
    "SERIAL_PORT_SILENT": "silent",
}


class SerialView:
    """`reported` is for the status record: whether there is a port, and until when it is not returned to.

    Whether the service answers changes too often.
    """

    def __init__(self, shown: RuntimeStatus, clock: Callable[[], float] = time.time) -> None:
        self.reported: Optional[Dict[str, Any]] = None
        self._shown = shown
        self._clock = clock
        self._view: Optional[Dict[str, Any]] = None
        self._held_until: Optional[float] = None  # by the guest's clock

    def unused(self) -> None:
        """The configuration names no port."""
        self.reported = self._view = self._held_until = None
        self._shown.no_serial_port()

    def held(self, seconds: float) -> None:
        """So long the port is not returned to, since it has failed soon after a return; 0: it may be."""
        until = self._clock() + seconds if seconds > 0 else None
        if until is not None and self._held_until is not None and abs(until - self._held_until) < SAME_SECONDS:
            return  # the same moment: two clocks never agree to the second
        if until != self._held_until:
            self._held_until = until
            if self._view is not None:
                self._tell()

    def linked(self, device: str) -> None:
        self._show(device, "linked", device)

    def answers(self, device: Optional[str]) -> None:
        self._show(device, "answers", device or "")

    def failed(self, failure: AgentError) -> None:
        """One of the SERIAL_PORT codes; any other says nothing of the port."""
        if failure.code in STATES:
            self._show(None, STATES[failure.code], failure.message)

    def _show(self, device: Optional[str], state: str, message: str) -> None:
        self._view = {"device": device, "state": state, "message": message}
        self._tell()

    def _tell(self) -> None:
        if self._view is None:
            raise AssertionError("there is nothing to tell yet")
        device, state = self._view["device"], self._view["state"]
        there = state in ("linked", "answers", "silent")
        held_until = None if self._held_until is None else text_of(self._held_until)
        self.reported = {"device": device, "state": "present" if there else state, "held_until": held_until}
        self._shown.serial_port(device, state, self._view["message"], held_until)
