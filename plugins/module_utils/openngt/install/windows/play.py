# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of a Windows guest for plays: ansible.windows runs it in three scripts, each with one answer.

The functions are those of the fleet's program (`guest_script.py`), the answers are judged by the same code. What the
fleet says in lines is given to these as parameters.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any, Literal

from ...errors import OpenNGTError
from ..fleet.guest_program import agent_package, header
from ..fleet.report import Options
from .guest_script import GUEST_PROGRAM
from .program import understood
from .removal_script import REMOVAL

__all__ = ["PARTS", "answer_of", "judged", "parameters", "script"]

Json = dict[str, Any]
CONVERSATION = "\nConverse\n"
PARAMETERS = "param([string] $Header, [string] $Go, [string] $Agent)\n"
LOOK = """
try {
    $known = $Header | ConvertFrom-Json
    $answer = @{ facts = (Get-Facts $known); agent = (Get-AgentStatus); leftovers = @(Get-Leftovers) }
} catch {
    $answer = @{ error = (Split-Failure $_) }
}
ConvertTo-Line $answer
"""
INSTALL = """
$Said = New-Object Collections.ArrayList
function Say($Answer) { [void] $Said.Add($Answer) }
function Hear([int] $Seconds) { return $Agent }
try {
    Install-FromDisc ($Header | ConvertFrom-Json) ($Go | ConvertFrom-Json)
} catch {
    Say @{ phase = 'install'; error = (Split-Failure $_) }
}
ConvertTo-Line $Said[$Said.Count - 1]
"""
REMOVE = """
try {
    if (-not (Test-Elevated)) { Stop-With 'PERMISSION_DENIED' 'to remove the agent needs an administrator, elevated' }
    $removed = Remove-Agent
    $answer = @{ phase = 'remove'; steps = $removed.steps; reboot_required = $removed.restart }
} catch {
    $answer = @{ phase = 'remove'; error = (Split-Failure $_) }
}
ConvertTo-Line $answer
"""
PARTS = {"look": LOOK, "install": INSTALL, "remove": REMOVAL + REMOVE}


def script(part: Literal["look", "install", "remove"]) -> str:
    """`look` tells what is in the guest and changes nothing, `install` installs from the disc that is mounted."""
    return PARAMETERS + GUEST_PROGRAM.removesuffix(CONVERSATION) + PARTS[part]


def parameters(options: Options, version: str, go: Json | None = None) -> dict[str, str]:
    """What a script takes; `go`, with `ca_sha256` and `python_sha256`, for `install` alone."""
    given = {"Header": json.dumps(header(options, version))}
    if go is not None:
        package = base64.b64encode(zlib.compress(agent_package().content, 9)).decode("ascii")
        given.update(Go=json.dumps(go), Agent=json.dumps({"agent": package}))
    return given


def answer_of(output: Sequence[Any]) -> Json:
    """The object that a script has answered, which stands on the last line that it put out. PROTOCOL_ERROR."""
    try:
        answer = json.loads(output[-1])
    except (IndexError, TypeError, ValueError):
        answer = None
    if not isinstance(answer, dict):
        raise OpenNGTError("PROTOCOL_ERROR", "the script in the guest gave no JSON object")
    return answer


def judged(output: Sequence[Any], options: Options, version: str, *, present: bool = True, generation: int = 0) -> Json:
    """What a script has answered; `generation` is the one that the agent must have at least.

    Of `look`: findings, met, operation, reason, agent, before, after. Of `install`: steps, agent, warnings. Of
    `remove`: steps, reboot_required. Raises what the guest tells as its error, and PROTOCOL_ERROR for anything else.
    """
    answer = answer_of(output)
    told = {**header(options, version), "present": present, "generation": generation}
    if "facts" in answer:
        found = understood({"phase": "prerequisites", "facts": answer["facts"]}, told)
        made = understood(
            {"phase": "plan", "agent": answer.get("agent"), "leftovers": answer.get("leftovers") or []}, told
        )
        return {name: value for name, value in {**made, **found}.items() if name != "phase"}
    answer = understood(answer, told)
    if isinstance(answer.get("error"), dict):
        error = answer["error"]
        details = error.get("details")
        raise OpenNGTError(
            str(error.get("code")),
            str(error.get("message")),
            details if isinstance(details, dict) else {},
            str(error.get("remedy") or ""),
        )
    return {name: value for name, value in answer.items() if name != "phase"}
