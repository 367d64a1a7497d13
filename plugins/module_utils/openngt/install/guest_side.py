# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""An installation in this guest as one conversation, in the same steps as the modules `prerequisites` and `agent`.

A controller reaches it over one connection and leaves nothing behind: it comes by standard input and lives in memory.
fleet/guest_program.py has the lines that the two exchange.
"""

import hashlib
import json
import os
import signal
import sys
import zlib
from binascii import a2b_base64
from importlib.util import MAGIC_NUMBER
from typing import Any, BinaryIO, Callable, Dict, List, Optional, Tuple

from ..effects import run
from ..errors import OpenNGTError
from . import agent_here, agent_plan, agent_steps
from .bare_guest import demand_brought, family_to_bring
from .disc import mounted_disc
from .facts import Facts, collect, vm_uuid
from .prerequisites import Finding, Wanted, findings, is_met, parse_version
from .support import install_command, judge

__all__ = ["converse", "main"]

Json = Dict[str, Any]
Hear = Callable[[float], Optional[bytes]]
Say = Callable[[Json], None]

HEADER_SECONDS = 60
BRING_SECONDS = 900
LINE_LIMIT = 8 * 1024 * 1024
AGENT = "agent/ngt_agent.pyz"


class Silence(Exception):
    """The controller says nothing any longer."""


def main(stream: BinaryIO) -> None:
    """Talk to the controller over `stream` and standard output until one of the two has enough; ends the process."""
    answers = os.fdopen(os.dup(1), "wb")
    # What somebody else prints or reads here must not get into the conversation.
    os.dup2(2, 1)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _end)
    signal.signal(signal.SIGALRM, _silent)

    def hear(seconds: float) -> Optional[bytes]:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            line = stream.readline(LINE_LIMIT)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return line.rstrip(b"\r\n") if line.endswith(b"\n") else None

    def say(answer: Json) -> None:
        answers.write(json.dumps(answer).encode("ascii") + b"\n")
        answers.flush()

    try:
        converse(hear, say)
    except (BrokenPipeError, Silence):  # nobody is there to be told
        raise SystemExit(1) from None
    sys.stderr.flush()
    os._exit(0)  # all is told and tidied; what Python would still do takes it as long as half a start


def _end(_number: int, _frame: Any) -> None:
    raise SystemExit(1)  # by way of every `finally`


def _silent(_number: int, _frame: Any) -> None:
    raise Silence()


def converse(hear: Hear, say: Say) -> None:
    """One conversation. `hear(seconds)` gives the controller's next line, None after the last one."""
    phase = "prerequisites"
    try:
        line = hear(HEADER_SECONDS)
        if line is None:
            return
        header = json.loads(line.decode("utf-8"))
        found, installed = _prerequisites(header)
        told = [dict(finding._asdict()) for finding in found]
        answer = {"phase": phase, "findings": told, "met": is_met(found), "installed": installed}
        say(dict(answer, python=sys.executable, python_magic=MAGIC_NUMBER.hex()))
        phase = "plan"
        wanted = agent_plan.Wanted(True, header["version"], None, header["wait_seconds"] > 0, 0)
        observed = agent_steps.observe(wanted)
        plan = agent_plan.plan(observed, wanted)
        say(dict(plan._asdict(), phase=phase, agent=observed.status))
        line = hear(header["silence_seconds"])
        if line is None or not line.startswith(b"go "):
            return
        phase = "install"
        go = json.loads(line[len(b"go ") :].decode("utf-8"))
        say(dict(_install(header, go, hear, say), phase=phase))
    except OpenNGTError as error:
        say({"phase": phase, "error": error.to_dict()})


def _prerequisites(header: Json) -> Tuple[List[Finding], List[str]]:
    """What was found, and what the package manager has brought before that."""
    gateway = header.get("gateway")
    endpoint = (gateway["host"], gateway["port"]) if gateway else None
    facts = collect(header["mount_point"], endpoint)
    installed = []
    if facts.tar is None and header["install_prerequisites"] and not header["check"]:
        installed = ["tar"]
        _bring(facts, installed)
        facts = collect(header["mount_point"], endpoint)
    wanted = Wanted(
        minimum_free_mb=header["minimum_free_mb"],
        minimum_python=parse_version(header["minimum_python"]),
        endpoint="{0}:{1}".format(*endpoint) if endpoint else "",
        allow_unsupported_distribution=header["allow_unsupported_distribution"],
    )
    return findings(facts, wanted), installed


def _bring(facts: Facts, missing: List[str]) -> None:
    family = family_to_bring(judge(facts.os_release), missing)
    done = run(["sh", "-c", install_command(family.name, missing)], timeout=BRING_SECONDS)
    demand_brought(family, missing, done.returncode, done.stdout + done.stderr)


def _install(header: Json, go: Json, hear: Hear, say: Say) -> Json:
    """Install from this VM's disc. The installer is the disc's agent, if it is the one that the controller knows."""
    if os.geteuid() != 0:
        raise OpenNGTError("PERMISSION_DENIED", "to install the agent needs root")
    warnings: List[str] = []
    wait = header["wait_seconds"]
    with mounted_disc(header["label"], header["mount_point"], vm_uuid(), warnings.append) as folder:
        content = _agent_on_disc(folder, header["agent_sha256"])
        if content is None:
            content = _agent_of_controller(header, hear, say)
        allow = header["allow_unsupported_distribution"]
        compiled = _inflated(go["compiled"]) if "compiled" in go else None
        answer = agent_here.install(content, folder, go["ca_sha256"], wait, allow, compiled)
    return {"steps": answer["steps"], "agent": answer["agent"], "warnings": warnings}


def _agent_on_disc(folder: str, sha256: str) -> Optional[bytes]:
    """The disc's agent; None when it is not the very one that is asked for: nothing else on a disc may be started."""
    try:
        with open(os.path.join(folder, *AGENT.split("/")), "rb") as stream:
            content = stream.read(LINE_LIMIT)
    except OSError:  # a damaged disc; the installer says what is wrong with it
        return None
    return content if hashlib.sha256(content).hexdigest() == sha256 else None


def _agent_of_controller(header: Json, hear: Hear, say: Say) -> bytes:
    """The controller's own agent, when the disc brings that of another version."""
    say({"phase": "install", "wants": "agent"})
    line = hear(header["silence_seconds"])
    if line is None:
        raise Silence()
    return _inflated(json.loads(line.decode("utf-8"))["agent"])


def _inflated(text: str) -> bytes:
    return zlib.decompress(a2b_base64(text))
