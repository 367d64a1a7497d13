# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What became of cloud-init in this guest: its own status, the module that failed, and what that one said.

Any release since 0.7.9 will do: `cloud-init status --format json` came with 22.4 and has had other words since 23.4;
a guest of before answers by the files of cloud-init's run folder. This file imports nothing of its siblings, so that
it does elsewhere, too.
"""

import ast
import json
import os
import re
import subprocess
from typing import Any, Dict, List, NamedTuple, Optional

__all__ = ["STATES", "judge", "read"]

STATES = ("absent", "disabled", "pending", "running", "done", "failed")

STATUS_SECONDS = 30.0
MOST_MESSAGE = 2048
MOST_LINES = 20
MOST_LINE = 300
TAIL_BYTES = 256 * 1024
PROGRAMS = ("usr/bin/cloud-init", "usr/local/bin/cloud-init")

# cloud-init's word -> ours. `degraded done` is 24.1's for a run whose modules only warned.
WORDS = {
    "disabled": "disabled",
    "not run": "pending",
    "not started": "pending",
    "running": "running",
    "degraded running": "running",
    "done": "done",
    "degraded done": "done",
    "error": "failed",
    "error - running": "running",
    "error - done": "failed",
}
# An error of a stage is a module's where it is a pair, as text: ('scripts-user', RuntimeError('...')).
OF_A_MODULE = re.compile(r"^\('([\w.-]+)', ?(.*)\)$", re.S)
WARNED = re.compile(r" - ([\w.]+)\[(WARNING|ERROR|CRITICAL)\]: (.*)")
SAYS_FAILED = re.compile(r"(?:Failed to run module|Running module) ([\w.-]+) \(")
STAGE = re.compile(r"Cloud-init v\. \S+ running '")
FINISHED = re.compile(r"Cloud-init v\. \S+ finished ")
FIRST_STAGE = re.compile(r"^.*Cloud-init v\. \S+ running 'init-local'", re.M)
# Before 23.1 a password that cloud-init made up went to the console, and so into the output's log.
MADE_UP_PASSWORDS = re.compile(r"(Set the following 'random' passwords\n)(?:[^\s:]+:\S+\n?)+")

Answer = Dict[str, Any]
Failure = NamedTuple("Failure", [("module", Optional[str]), ("raised", str)])


def read(root: str = "/", ask: bool = True) -> Answer:
    """All that `judge` returns, and `version` and `instance_id`. What is not known is None; nothing is changed.

    For root; others are shown the state, and no log. Without `ask` cloud-init's files alone are read, which starts no
    process and tells no version.
    """
    program = next((at(root, path) for path in PROGRAMS if os.access(at(root, path), os.X_OK)), None)
    asked = _ask(program) if ask else {}
    stages = _object(_text(at(root, "run/cloud-init/status.json"))).get("v1")
    answer = judge(
        present=program is not None,
        asked=asked,
        stages=stages if isinstance(stages, dict) else {},
        ended=os.path.exists(at(root, "run/cloud-init/result.json")),
        disabled=any(
            os.path.exists(at(root, path)) for path in ("etc/cloud/cloud-init.disabled", "run/cloud-init/disabled")
        ),
        log=_text(at(root, "var/log/cloud-init.log")) or "",
        output=_text(at(root, "var/log/cloud-init-output.log")) or "",
    )
    instance = _text(at(root, "var/lib/cloud/data/instance-id"))
    answer["instance_id"] = instance.strip() or None if instance is not None else None
    answer["version"] = _version(program) if ask else None
    return answer


def judge(present: bool, asked: Answer, stages: Answer, ended: bool, disabled: bool, log: str, output: str) -> Answer:
    """The verdict, from what was read.

    `state` (of STATES); `module`, the first that failed; `message`, what every failed one said, at most 2 KiB;
    `errors` as cloud-init has them; `warnings`, what its log of the last boot holds from WARNING up; `last_lines` of
    its output; `datasource`.
    """
    errors = _errors(asked, stages)
    state = _state(present, asked, stages, ended, disabled, bool(errors))
    log, output = _last_boot(log), _without_passwords(_last_boot(output))
    failures = _failures(errors, log) if state == "failed" else []
    return {
        "state": state,
        "module": next((failure.module for failure in failures if failure.module), None),
        "message": _message(failures, output) if failures else None,
        "errors": errors,
        "warnings": _warnings(log),
        "last_lines": _cut([line for line in output.splitlines() if line.strip()]),
        "datasource": asked.get("datasource") or _datasource(stages.get("datasource")),
    }


def at(root: str, path: str) -> str:
    return os.path.join(root, path)


def _ask(program: Optional[str]) -> Answer:
    """Its JSON; {} of one that is too old for it, or is silent. Exit status 1 and 2 are verdicts, not failures."""
    said = _run(program, ["status", "--format", "json"])
    return _object(said[said.find("{") :] if said and "{" in said else None)


def _version(program: Optional[str]) -> Optional[str]:
    found = re.search(r"^\S*cloud-init (\d\S*)", _run(program, ["--version"]) or "", re.M)
    return found.group(1) if found else None


def _run(program: Optional[str], arguments: List[str]) -> Optional[str]:
    """stdout and stderr: releases before 21 tell their version on the latter."""
    if program is None:
        return None
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            [program] + arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=STATUS_SECONDS,
            env=dict(os.environ, LC_ALL="C"),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace")


def _text(path: str) -> Optional[str]:
    """The end of a file; a log of days may be long. None: not there, or not for us to read."""
    try:
        with open(path, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - TAIL_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return None


def _object(text: Optional[str]) -> Answer:
    try:
        found = json.loads(text or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _errors(asked: Answer, stages: Answer) -> List[str]:
    found = [str(error) for error in _listed(asked)]
    for stage in stages.values():
        for error in _listed(stage):
            if str(error) not in found:
                found.append(str(error))
    return found


def _listed(stage: Any) -> List[Any]:
    errors = stage.get("errors") if isinstance(stage, dict) else None
    return errors if isinstance(errors, list) else []


def _state(present: bool, asked: Answer, stages: Answer, ended: bool, disabled: bool, failed: bool) -> str:
    word = asked.get("extended_status") or asked.get("status")
    # Without 23.4's longer word, `error` is said as soon as a module has failed and others are still to come.
    if word in WORDS and (word != "error" or not stages):
        return WORDS[word]
    if stages:
        if not ended or stages.get("stage"):
            return "running"
        return "failed" if failed else "done"
    if not present:
        return "absent"
    return "disabled" if disabled else "pending"


def _datasource(said: Any) -> Optional[str]:
    """`DataSourceNoCloud [seed=/dev/sr0][dsmode=net]` as the command has it: nocloud."""
    return str(said).partition(" ")[0].lower().replace("datasource", "") or None if said else None


def _last_boot(text: str) -> str:
    """Both logs are appended to, boot for boot."""
    begins = [found.start() for found in FIRST_STAGE.finditer(text)]
    return text[begins[-1] :] if begins else text


def _without_passwords(text: str) -> str:
    return MADE_UP_PASSWORDS.sub(lambda found: found.group(1) + "(not shown)\n", text)


def _warnings(log: str) -> List[str]:
    return _cut(["{0}: {1}".format(part, said) for part, _level, said in WARNED.findall(log)])


def _cut(lines: List[str]) -> List[str]:
    return [line[:MOST_LINE] for line in lines[-MOST_LINES:]]


def _failures(errors: List[str], log: str) -> List[Failure]:
    """One at least: a stage that failed as a whole has no module, unless the log names one."""
    found = []
    for error in errors:
        pair = OF_A_MODULE.match(error)
        found.append(Failure(pair.group(1), _raised(pair.group(2))) if pair else Failure(None, error))
    if any(failure.module for failure in found):
        return found
    named = SAYS_FAILED.search("\n".join(said for _part, _level, said in WARNED.findall(log)))
    first = found[0].raised if found else "cloud-init gave no reason"
    return [Failure(named.group(1) if named else None, first)] + found[1:]


def _raised(exception: str) -> str:
    """RuntimeError('what it says') without Python around it."""
    call = re.match(r"\w+\((.*?),?\)$", exception, re.S)
    try:
        said = ast.literal_eval(call.group(1)) if call else exception
    except (SyntaxError, ValueError):
        said = exception
    return said if isinstance(said, str) else exception


def _message(failures: List[Failure], output: str) -> str:
    room = MOST_MESSAGE // len(failures)
    return "\n".join(_clipped(failure, _said_by(failure.module, output), room - 1) for failure in failures[:MOST_LINES])


def _clipped(failure: Failure, lines: List[str], room: int) -> str:
    """What was raised, then the last lines that the module wrote, in so many bytes."""
    head = "{0}: {1}".format(failure.module, failure.raised) if failure.module else failure.raised
    text = head.encode("utf-8")[: room // 2].decode("utf-8", "ignore")
    lines = lines[-MOST_LINES:]
    while lines and len("\n".join([text] + lines).encode("utf-8")) > room:
        lines = lines[1:]
    return "\n".join([text] + lines)


def _said_by(module: Optional[str], output: str) -> List[str]:
    """What its stage put out before cloud-init's own word on the module; without one, what the last stage put out."""
    lines = []  # type: List[str]
    for line in output.splitlines():
        if STAGE.match(line):
            lines = []
        elif WARNED.search(line):
            if module and module.replace("_", "-") in line.replace("_", "-"):
                break
        elif line.strip() and not FINISHED.match(line):
            lines.append(line[:MOST_LINE])
    return lines
