# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The agent's Windows service from outside: registered, started, stopped, removed, by `sc.exe` and the registry."""

import re
from typing import Callable, List, Optional, Tuple

from .errors import AgentError
from .files import Finished, Runner
from .windows_api import registry_value

__all__ = [
    "DISPLAY_NAME",
    "EVENT_SOURCE",
    "SERVICE",
    "command_of",
    "configured",
    "put",
    "remove",
    "start",
    "state",
    "stop",
]

# As the guide shows them (Get-Service *Nutanix*), so that people find it under the name that they know.
SERVICE = "Nutanix Guest Agent"
DISPLAY_NAME = "Nutanix Guest Tools Agent"
DESCRIPTION = "The guest agent of openngt: this VM's link to its Guest Tools Service."
EVENT_SOURCE = "openngt"
SERVICES_KEY = "SYSTEM\\CurrentControlSet\\Services\\"
AUTOMATIC = 2
# Restarted after 5 seconds, always; the count of failures is forgotten after a day.
FAILURES = ["reset=", "86400", "actions=", "restart/5000/restart/5000/restart/5000"]

DOES_NOT_EXIST, NOT_ACTIVE, ALREADY_RUNNING, MARKED_FOR_DELETE = 1060, 1062, 1056, 1072
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.5
STATE = re.compile(r":\s*\d+\s+(STOPPED|START_PENDING|STOP_PENDING|RUNNING|PAUSED)\b")


def command_of(name: str = SERVICE) -> Optional[str]:
    """The command line that the service is started by; None where there is none of this name."""
    found = registry_value(SERVICES_KEY + name, "ImagePath")
    return None if found is None else str(found)


def configured(command: str) -> bool:
    """Is the service as `put` leaves it?"""
    key = SERVICES_KEY + SERVICE
    names = ("ImagePath", "Start", "DisplayName")
    return [registry_value(key, name) for name in names] == [command, AUTOMATIC, DISPLAY_NAME]


def put(run: Runner, command: str) -> None:
    """Register the service, or change it to this command line; it is not started."""
    verb = "create" if command_of() is None else "config"
    _sc(run, verb, SERVICE, "binPath=", command, "start=", "auto", "DisplayName=", DISPLAY_NAME, "obj=", "LocalSystem")
    _sc(run, "description", SERVICE, DESCRIPTION)
    _sc(run, "failure", SERVICE, *FAILURES)
    _sc(run, "failureflag", SERVICE, "1")  # an end with an error counts as well, not crashes alone


def state(run: Runner) -> str:
    """`RUNNING`, `STOPPED` and so on; `ABSENT` where there is none. The words are the same in every language."""
    done = run(["sc.exe", "query", SERVICE])
    match = STATE.search(done.stdout)
    return match.group(1) if done.returncode == 0 and match else "ABSENT"


def start(run: Runner, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Start it and wait until it says that it runs; AGENT_FAILED when it ends, or does not come up in time."""
    _sc(run, "start", SERVICE, well=(ALREADY_RUNNING,))
    found = _until(run, monotonic, sleep, ("RUNNING", "STOPPED", "ABSENT"))
    if found != "RUNNING":
        raise AgentError("AGENT_FAILED", "the service {0!r} is {1} after its start".format(SERVICE, found))


def stop(run: Runner, monotonic: Callable[[], float], sleep: Callable[[float], None]) -> None:
    """Stop it and wait for its end; nothing to do where it does not run or is not there."""
    _sc(run, "stop", SERVICE, well=(NOT_ACTIVE, DOES_NOT_EXIST))
    found = _until(run, monotonic, sleep, ("STOPPED", "ABSENT"))
    if found not in ("STOPPED", "ABSENT"):
        raise AgentError("COMMAND_TIMED_OUT", "the service {0!r} does not stop: {1}".format(SERVICE, found))


def remove(run: Runner) -> None:
    """The stopped service is no longer registered. Who has its properties open keeps its name until they are closed."""
    _sc(run, "delete", SERVICE, well=(DOES_NOT_EXIST, MARKED_FOR_DELETE))


def _until(run: Runner, monotonic: Callable[[], float], sleep: Callable[[float], None], wanted: Tuple[str, ...]) -> str:
    end = monotonic() + WAIT_SECONDS
    while True:
        found = state(run)
        if found in wanted or monotonic() >= end:
            return found
        sleep(POLL_SECONDS)


def _sc(run: Runner, *arguments: str, well: Tuple[int, ...] = ()) -> Finished:
    """sc.exe ends with Windows' error numbers; COMMAND_FAILED with its words for any but 0 and those of `well`."""
    command: List[str] = ["sc.exe"] + list(arguments)
    done = run(command)
    if done.returncode not in (0,) + well:
        said = " ".join((done.stdout or done.stderr).split())[-500:]
        text = "sc.exe {0}: {1}".format(arguments[0], said or "exit status {0}".format(done.returncode))
        raise AgentError("COMMAND_FAILED", text, {"exit_status": done.returncode})
    return done
