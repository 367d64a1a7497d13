# SPDX-License-Identifier: GPL-3.0-or-later
"""How the program of a guest's platform is started, and the lines that it and the controller exchange.

The same on every platform. The controller says `Program.before`, then one line with the header, a JSON object. The
program answers with lines, each a JSON object:

    {"phase": "prerequisites", "findings": [...], "met": bool, "installed": [...]}
    {"phase": "plan", "operation": "none|install", "reason": text, "agent": status or null, "before": {}, "after": {}}

and waits for a line `go {"ca_sha256": ..., "wait_seconds": ...}` or `stop`. After `go` it installs from the disc:

    {"phase": "install", "steps": [...], "agent": status, "warnings": [...]}

Instead of any of these {"phase": ..., "error": {"code", "message", "remedy", "details"}} may come, the last line then.
The program ends by itself when its input ends or is silent for the header's `silence_seconds`.
"""

from __future__ import annotations

from typing import NamedTuple

from .target import Target

__all__ = ["Program", "command_for"]


class Program(NamedTuple):
    command: str
    """A command line of the guest's shell, for Transport.start."""
    before: bytes
    """Said first: the program itself, where it does not stand in the command."""


def command_for(target: Target) -> Program:
    """The program of the target's platform."""
    raise NotImplementedError
