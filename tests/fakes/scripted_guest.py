# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest at the other end of a Transport that speaks its program's lines by a script, and keeps what it was told."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from openngt.errors import OpenNGTError
from openngt.install.transports.base import Ended

__all__ = ["BARE_PLAN", "WELL_PLAN", "ScriptedGuest"]

Json = dict[str, Any]
READY = {"name": "python", "state": "ok", "found": "3.11", "wanted": "3.6", "remedy": ""}
BARE_PLAN: Json = {
    "operation": "install",
    "reason": "no agent is installed",
    "agent": None,
    "before": {"installed": False},
    "after": {"installed": True},
}
WELL_PLAN: Json = {
    "operation": "none",
    "reason": "version 0.1.0 runs and its link is active",
    "agent": {"agent_version": "0.1.0"},
    "before": {"installed": True},
    "after": {"installed": True},
}


@dataclass
class ScriptedGuest:
    """Transport and program in one: a guest runs one program at a time."""

    plan: Json = field(default_factory=lambda: dict(BARE_PLAN))
    findings: list[Json] = field(default_factory=lambda: [dict(READY)])
    install: Callable[[Json], Json] = lambda go: {"steps": ["agent"], "agent": {"agent_version": "0.1.0"}}
    """What comes of `go`: a part of the answer, or an OpenNGTError that the guest tells."""
    lost_in: str | None = None
    """The connection is lost where the answer of this phase would come."""
    shell: list[str] = field(default_factory=list)
    """What plain sh prints in a guest without Python; one item for each start of the program."""
    exit_status: int = 0
    """Exit status of what ends in the guest."""
    wants_agent: bool = False
    """It finds another agent on its disc."""
    instead_of_plan: bytes | None = None
    silent: bool = False
    """Its program ends without a word."""
    commands: list[str] = field(default_factory=list)
    said: list[bytes] = field(default_factory=list)
    closed: int = 0
    _answers: list[bytes | OpenNGTError] = field(default_factory=list)
    _go: Json = field(default_factory=dict)

    @property
    def headers(self) -> list[Json]:
        return [json.loads(line) for line in self.said if line.startswith(b"{")]

    @property
    def words(self) -> list[str]:
        """The lines after the header, by their first word."""
        return [line.split()[0].decode() for line in self.said if not line.startswith(b"{")]

    def start(self, command: str, *, elevated: bool = True) -> "ScriptedGuest":
        assert elevated, "an installation needs root"
        self.commands.append(command)
        self._answers.clear()
        return self

    def say(self, data: bytes) -> None:
        begin = data.find(b'{"protocol"')  # behind the program's own bytes
        line = data[max(0, begin) :].rstrip(b"\n")
        self.said.append(line)
        if self.silent:
            return
        if line.startswith(b"go "):
            self._go = json.loads(line[3:])
            if self.wants_agent:
                self._answers.append(b'{"phase": "install", "wants": "agent"}')
            else:
                self._answer("install", lambda: self.install(self._go))
        elif line.startswith(b'{"agent"'):
            self._answer("install", lambda: self.install(self._go))
        elif line.startswith(b"{"):
            if self.shell:
                self._answers += [text.encode() for text in self.shell.pop(0).splitlines()]
                return
            met = all(each["state"] != "failed" for each in self.findings)
            self._answer("prerequisites", lambda: {"findings": self.findings, "met": met, "installed": []})
            self._answer("plan", lambda: self.plan)
            if self.instead_of_plan is not None:
                self._answers[-1] = self.instead_of_plan

    def _answer(self, phase: str, content: Callable[[], Json]) -> None:
        if self.lost_in == phase:
            self._answers.append(OpenNGTError("GUEST_CONNECTION_LOST", "the guest is gone"))
            return
        try:
            answer = content()
        except OpenNGTError as error:
            answer = {"error": error.to_dict()}
        self._answers.append(json.dumps({**answer, "phase": phase}).encode())

    def close_input(self) -> None:
        """Its end is the connection's."""

    def hear(self, seconds: float) -> bytes | None:
        assert seconds > 0
        if not self._answers:
            return None
        answer = self._answers.pop(0)
        if isinstance(answer, OpenNGTError):
            raise answer
        return answer

    def end(self, seconds: float) -> Ended:
        return Ended(self.exit_status, "")

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> "ScriptedGuest":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __hash__(self) -> int:
        return id(self)
