# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What the agent knows of its serial port, as it shows it in the guest and reports it to the service."""

from typing import Any, Dict, Optional

from .errors import AgentError
from .runtime_status import RuntimeStatus

__all__ = ["SerialView"]

STATES = {
    "SERIAL_PORT_ABSENT": "absent",
    "SERIAL_PORT_BUSY": "busy",
    "SERIAL_PORT_FAILED": "failed",
    "SERIAL_PORT_SILENT": "silent",
}


class SerialView:
    """`reported` is for the status record: whether there is a port. Whether the service answers changes too often."""

    def __init__(self, shown: RuntimeStatus) -> None:
        self.reported: Optional[Dict[str, Any]] = None
        self._shown = shown

    def unused(self) -> None:
        """The configuration names no port."""
        self.reported = None
        self._shown.no_serial_port()

    def linked(self, device: str) -> None:
        self._show(device, "linked", device)

    def answers(self, device: Optional[str]) -> None:
        self._show(device, "answers", device or "")

    def failed(self, failure: AgentError) -> None:
        """One of the SERIAL_PORT codes; any other says nothing of the port."""
        if failure.code in STATES:
            self._show(None, STATES[failure.code], failure.message)

    def _show(self, device: Optional[str], state: str, message: str) -> None:
        there = state in ("linked", "answers", "silent")
        self.reported = {"device": device, "state": "present" if there else state}
        self._shown.serial_port(device, state, message)
