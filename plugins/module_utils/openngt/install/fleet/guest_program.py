# SPDX-License-Identifier: GPL-3.0-or-later
"""How the program of a guest's platform is started, and the lines that it and the controller exchange.

The same on every platform. The controller says `Program.before`, then one line with the header, a JSON object. The
program answers with lines, each a JSON object:

    {"phase": "prerequisites", "findings": [...], "met": bool, "installed": [...], "python": path or null,
     "python_magic": hex}
    {"phase": "plan", "operation": "none|install", "reason": text, "agent": status or null, "before": {}, "after": {}}

and waits for a line `go {"ca_sha256": ..., "compiled": ...}` or `stop`. `compiled` comes only where the magic number
of the guest's Python is the controller's: the agent's modules as agent_bundle has compiled them, base64 of zlib, which
spares the guest a third of its work. After `go` it installs from the disc:

    {"phase": "install", "steps": [...], "agent": status, "warnings": [...]}

Before that it may ask, once, for the controller's own agent, which is then said as `{"agent": base64 of zlib}`:

    {"phase": "install", "wants": "agent"}

Instead of any of these {"phase": ..., "error": {"code", "message", "remedy", "details"}} may come, the last line then.
The program ends by itself when its input ends or is silent for the header's `silence_seconds`.

A first line that is no JSON is from a Linux guest without Python: all that comes is then what `bare_guest` reads.
A program that ends without a word there is started once more, in the first Python that shows to have all that it needs.

A Windows guest tells `facts` in place of findings, and `leftovers` in place of a plan: `Program.understood` judges them
here. To install it needs the digest of the Python that its disc carries: `go {"ca_sha256": ..., "python_sha256": ...}`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import shlex
import threading
import zlib
from collections.abc import Callable, Mapping
from importlib.util import MAGIC_NUMBER
from typing import Any, NamedTuple

from ...agent_bundle import build_zipapp, compiled_modules
from ...errors import REMEDIES, OpenNGTError
from ..bare_guest import probe, starts
from ..transports.base import GuestProgram
from ..windows import program as windows_program
from . import guest_bundle
from .report import Options
from .target import Target

__all__ = [
    "MINIMUM_PYTHON",
    "AgentPackage",
    "Conversation",
    "Program",
    "agent_package",
    "careful_command_for",
    "command_for",
    "header",
]

Json = dict[str, Any]
MINIMUM_PYTHON = "3.6"
INTERPRETERS = (
    "/usr/bin/python3",
    "python3",
    *(f"python3.{minor}" for minor in range(14, 5, -1)),
    "/usr/libexec/platform-python",
)
"""Where nobody names one. The last is RHEL's own, which is there when no other is."""
# Of MINIMUM_PYTHON, by the word of a program that starts no Python for it: one that is broken says so when it begins.
SUITS = (
    'case "$("$python" -V </dev/null 2>/dev/null)" in'
    ' "Python 3."[6-9]* | "Python 3."[1-9][0-9]*) true ;; *) false ;; esac'
)
# -I: nothing of the user's environment or home; -S: no packages of the guest's; -B: no .pyc file. Python 3.6 takes
# UTF-8 by the locale alone.
FOUND = 'export LC_ALL=C.UTF-8; exec "$python" -I -S -B -X utf8 -c "{bootstrap}"'
SILENCE_SECONDS = 600
ENDED_SECONDS = 10.0


class Program(NamedTuple):
    command: str
    """A command line of the guest's shell, for Transport.start."""
    before: bytes
    """Said first: the program itself, where it does not stand in the command."""
    understood: Callable[[Json, Json], Json] = lambda answer, header: answer
    """Brings an answer, by the header, into the form above."""


class AgentPackage(NamedTuple):
    """The agent that this controller carries."""

    content: bytes
    sha256: str
    compiled: str
    """For a guest whose Python is of this one's magic number: as `go` carries it."""


_building = threading.Lock()


def agent_package() -> AgentPackage:
    with _building:
        return _agent_package()


@functools.cache
def _agent_package() -> AgentPackage:
    content = build_zipapp()
    return AgentPackage(content, hashlib.sha256(content).hexdigest(), _deflated(compiled_modules()))


def command_for(target: Target) -> Program:
    """The program of the target's platform. GUEST_LOGIN_UNSUPPORTED where there is none."""
    if target.platform not in PROGRAMS:
        raise OpenNGTError("GUEST_LOGIN_UNSUPPORTED", f"{target.name}: {target.platform} guests have no installer here")
    return PROGRAMS[target.platform](target)


def careful_command_for(target: Target) -> Program | None:
    """For a guest whose program ended without a word: each Python is tried before it is taken. None: no other way."""
    if target.platform != "linux":
        return None
    return _linux(target, f"{SUITS} && {starts(guest_bundle.standard_modules())}")


def header(options: Options, version: str) -> Json:
    """The conversation's first line; `version` of the agent is wanted."""
    gateway = options.gateway and {"host": options.gateway[0], "port": options.gateway[1]}
    return {
        "protocol": 1,
        "check": options.check,
        "version": version,
        "label": options.label,
        "mount_point": options.mount_point,
        "minimum_free_mb": options.minimum_free_mb,
        "minimum_python": MINIMUM_PYTHON,
        "gateway": gateway,
        "wait_seconds": options.wait_seconds,
        "silence_seconds": SILENCE_SECONDS,
        "allow_unsupported_distribution": options.allow_unsupported_distribution,
        "install_prerequisites": options.install_prerequisites,
        "agent_sha256": agent_package().sha256,
    }


class Conversation:
    """The controller's side of it."""

    def __init__(self, program: GuestProgram, left: Callable[[], float]) -> None:
        """`left` gives the seconds that the guest may still take in all, and raises when there are none."""
        self._program = program
        self._left = left
        self._understood: Callable[[Json], Json] = lambda answer: answer
        self._python_magic: str | None = None

    def begin(self, program: Program, first: Json) -> None:
        self._understood = lambda answer: program.understood(answer, first)
        self._program.say(program.before + _line(first))

    def hear_first(self, seconds: float) -> Json | str | None:
        """The first answer; a guest without Python: what its shell has printed. None: it has ended without a word."""
        line = self._hear(seconds)
        if line is None:
            return None
        if line.lstrip().startswith(b"{"):
            answer = self._read(line)
            self._python_magic = answer.get("python_magic")
            return answer
        printed = [line]
        while (line := self._hear(seconds)) is not None:
            printed.append(line)
        return b"\n".join(printed).decode("utf-8", "replace")

    def hear(self, phase: str, seconds: float) -> Json:
        """The next answer, which has to be of that phase. Raises what the guest tells as its error."""
        line = self._hear(seconds)
        if line is None:
            raise self.ended()
        answer = self._read(line)
        if answer.get("phase") != phase:
            raise OpenNGTError("PROTOCOL_ERROR", f"the guest's program speaks of {answer.get('phase')!r}, not {phase}")
        return answer

    def go(self, word: Json, seconds: float) -> Json:
        """Have the guest install from its disc; its answer."""
        if self._python_magic == MAGIC_NUMBER.hex():
            word = {**word, "compiled": agent_package().compiled}
        self._program.say(b"go " + _line(word))
        answer = self.hear("install", seconds)
        if answer.get("wants") == "agent":
            self._program.say(_line({"agent": _deflated(agent_package().content)}))
            answer = self.hear("install", seconds)
        return answer

    def stop(self) -> None:
        self._program.say(b"stop\n")
        self._program.close_input()

    def _hear(self, seconds: float) -> bytes | None:
        return self._program.hear(min(seconds, self._left()))

    def _read(self, line: bytes) -> Json:
        try:
            answer = json.loads(line)
        except ValueError as exc:
            raise OpenNGTError("PROTOCOL_ERROR", "the guest's program said a line that is no JSON") from exc
        if not isinstance(answer, dict):
            raise OpenNGTError("PROTOCOL_ERROR", "the guest's program said a line that is no JSON object")
        answer = self._understood(answer)
        if isinstance(answer.get("error"), dict):
            raise _error_of(answer["error"])
        return answer

    def ended(self) -> OpenNGTError:
        """How the program ended that says nothing any more: COMMAND_FAILED with its last words."""
        ended = self._program.end(ENDED_SECONDS)
        said = ended.stderr.strip().splitlines()[-20:]
        message = f"the program in the guest ended with status {ended.exit_status}: {said[-1] if said else 'silent'}"
        return OpenNGTError("COMMAND_FAILED", message, {"exit_status": ended.exit_status, "stderr": said})


def _error_of(told: Mapping[str, Any]) -> OpenNGTError:
    """The guest's own error; a code that this version does not know keeps the guest's remedy."""
    code, details, remedy = str(told.get("code")), told.get("details"), told.get("remedy")
    return OpenNGTError(
        code,
        str(told.get("message")),
        details if isinstance(details, dict) else {},
        remedy if isinstance(remedy, str) and remedy else REMEDIES.get(code, REMEDIES["COMMAND_FAILED"]),
    )


def _deflated(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode("ascii")


def _line(message: Json) -> bytes:
    return json.dumps(message).encode("ascii") + b"\n"


def _linux(target: Target, suits: str = SUITS) -> Program:
    candidates = [target.python] if target.python else list(INTERPRETERS)
    # Stands in double quotes there; single ones are for whatever hands the whole command on.
    found = FOUND.format(bootstrap=guest_bundle.BOOTSTRAP.replace('"', r"\""))
    script = probe(candidates, suits, found)
    return Program(f"exec sh -c {shlex.quote(script)}", guest_bundle.package())


def _windows(_target: Target) -> Program:
    return Program(windows_program.command(), windows_program.package(), windows_program.understood)


PROGRAMS: dict[str, Callable[[Target], Program]] = {"linux": _linux, "windows": _windows}
