# SPDX-License-Identifier: GPL-3.0-or-later
"""How the fleet's program is started in a Windows guest, and what its answers mean.

`-Command -` makes PowerShell read its commands from standard input, line by line, so that what follows the first line
is still there for the program to read: with a script in the command line it would take all of its input for a pipeline.
"""

from __future__ import annotations

import base64
import gzip
from typing import Any

from ...errors import REMEDIES
from ..agent_plan import Observed, Wanted, plan
from .guest_script import GUEST_PROGRAM
from .prerequisites import findings

__all__ = ["COMMAND", "package", "understood"]

Json = dict[str, Any]

COMMAND = "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -Command -"

# The second line is the program, gzipped, in base64. Its own output is the conversation, so nothing else may print.
FIRST_LINE = (
    "$packed = [Convert]::FromBase64String([Console]::In.ReadLine());"
    " $stream = New-Object IO.Compression.GZipStream ((New-Object IO.MemoryStream (,$packed)),"
    " [IO.Compression.CompressionMode]::Decompress);"
    " . ([ScriptBlock]::Create((New-Object IO.StreamReader $stream).ReadToEnd())); exit 0"
)


def package() -> bytes:
    """Said first, before the header: the two lines that make PowerShell the program."""
    packed = base64.b64encode(gzip.compress(GUEST_PROGRAM.encode("ascii"), 9, mtime=0))
    return FIRST_LINE.encode("ascii") + b"\n" + packed + b"\n"


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
        made = plan(observed, Wanted(True, header["version"], None, header["wait_seconds"] > 0))
        return {**made._asdict(), "phase": "plan", "agent": observed.status}
    return answer
