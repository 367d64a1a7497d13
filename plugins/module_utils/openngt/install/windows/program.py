# SPDX-License-Identifier: GPL-3.0-or-later
"""How the fleet's program is started in a Windows guest, and what its answers mean."""

from __future__ import annotations

from typing import Any

from ...errors import REMEDIES
from ..agent_plan import Observed, Wanted, plan
from ..transports.powershell import as_input, bootstrap_command
from .guest_script import GUEST_PROGRAM
from .prerequisites import findings

__all__ = ["command", "package", "understood"]

Json = dict[str, Any]


def command() -> str:
    """A line of cmd.exe that makes PowerShell wait for its program."""
    return bootstrap_command()


def package() -> bytes:
    """The program, said first; the header follows."""
    return as_input(GUEST_PROGRAM)


def understood(answer: Json, header: Json) -> Json:
    """An answer of the program in the form that a Linux guest gives it: facts judged, the plan made, remedies added."""
    if isinstance(answer.get("error"), dict):
        code = str(answer["error"].get("code"))
        told = answer["error"].get("remedy") or REMEDIES.get(code, "")
        return {**answer, "error": {**answer["error"], "remedy": told}}
    if answer.get("phase") == "prerequisites" and isinstance(answer.get("facts"), dict):
        judged = findings(answer["facts"], header)
        met = not any(finding.state == "failed" for finding in judged)
        told = [finding._asdict() for finding in judged]
        return {"phase": "prerequisites", "findings": told, "met": met, "installed": [], "python": None}
    if answer.get("phase") == "plan" and "leftovers" in answer:
        status = answer.get("agent")
        observed = Observed(
            status if isinstance(status, dict) else None, [str(each) for each in answer["leftovers"] or []]
        )
        linked, generation = header["wait_seconds"] > 0, header.get("generation", 0)
        wanted = Wanted(header.get("present", True), header["version"], None, linked, generation)
        made = plan(observed, wanted)
        return {**made._asdict(), "phase": "plan", "agent": observed.status}
    return answer
