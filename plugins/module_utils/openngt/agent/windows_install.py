# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Install the agent in a Windows guest from a tools disc, and take it away: validate, plan, apply, as on Linux.

Run by the Python that the installer script has unpacked below the agent's folder, which becomes the agent's own.
"""

import contextlib
import os
import shutil
import sys
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from .errors import AgentError
from .files import TEMPORARY, file_errors, make_folder, replace_file, sweep
from .guest import Guest, Options
from .identity import load_or_none
from .install_shared import (
    Steps,
    Target,
    accept,
    config_usable,
    is_linked,
    keeps,
    put_config,
    put_identity,
    reach,
    wait_for_link,
)
from .paths import Paths
from .runtime_status import read as read_status
from .verify import VerifiedDisc
from .windows_facts import vm_uuid
from .windows_registration import forget_event_source, has_event_source, put_event_source
from .windows_scm import SERVICE, command_of, configured, put, remove, start, state, stop

__all__ = ["STEPS", "Observed", "install", "installed_version", "plan", "uninstall"]

COMMAND_TEXT = '@"{interpreter}" -I "{zipapp}" %*\r\n'

Observed = NamedTuple(
    "Observed",
    [
        ("agent_same", bool),
        ("current", Optional[str]),  # version that the service runs
        ("others", Tuple[str, ...]),  # folders of other versions, and of other Pythons
        ("identity_kept", bool),
        ("config_usable", bool),
        ("command_same", bool),
        ("event_source", bool),
        ("service_same", bool),
        ("running", bool),
        ("interrupted", bool),  # a run before this one did not come to its end
        ("linked", bool),
    ],
)


def install(guest: Guest, options: Options) -> Dict[str, Any]:
    """Bring the guest to where the disc wants it; what was done, in the form of the command's answer."""
    target, verified = validate(guest, options)
    return reach(guest, target, verified, lambda: plan(observe(guest, target), target), STEPS, mode=0o700)


def validate(guest: Guest, options: Options) -> Tuple[Target, VerifiedDisc]:
    """What shall be installed; nothing was changed so far, whatever is raised."""
    guest.say("Platform type is: {0}".format(guest.machine))
    _check_guest(guest)
    verified, agent, identity = accept(guest, options, vm_uuid(), installed_version(guest.paths) or "")
    version = verified.manifest.ngt_version
    return Target(version, agent, identity, verified.config, sys.executable, options.wait_seconds), verified


def observe(guest: Guest, target: Target) -> Observed:
    """What of it is there already."""
    paths = guest.paths
    kept = load_or_none(paths)
    if kept is not None and target.identity is not None and not keeps(kept, target.identity):
        kept = None
    return Observed(
        agent_same=_same(paths.zipapp(target.version), target.agent),
        current=installed_version(paths),
        others=tuple(_others(paths, target)),
        identity_kept=kept is not None,
        config_usable=config_usable(paths),
        command_same=_same(paths.command, _command_text(paths, target)),
        event_source=has_event_source(),
        service_same=configured(service_command(paths, target)),
        running=state(guest.run) == "RUNNING",
        interrupted=os.path.lexists(paths.unfinished),
        linked=kept is not None and is_linked(read_status(paths) or {}, kept.generation),
    )


def plan(observed: Observed, target: Target) -> Steps:
    """Steps to do, in their order, each with the reason. Pure."""
    needed: Dict[str, str] = {}
    if not observed.agent_same:
        needed["agent"] = "agent {0} is put in place".format(target.version)
    if not observed.identity_kept:
        needed["identity"] = "the disc's identity is taken"
    elif not observed.config_usable:
        needed["config"] = "the configuration is missing or damaged"
    if not observed.command_same:
        needed["command"] = "ngtcli is written"
    if not observed.event_source:
        needed["event_source"] = "the event log gets to know the agent"
    if not observed.service_same:
        takes_over = "version {0} takes over from {1}".format(target.version, observed.current)
        same = observed.current in (None, target.version)
        needed["service"] = "the service {0!r} is registered".format(SERVICE) if same else takes_over
    restart = bool(set(needed) - {"command", "event_source"}) or observed.interrupted
    if needed or observed.interrupted:
        needed["begin"] = "a run before this one did not finish" if observed.interrupted else "there is something to do"
        needed["finish"] = "all is in place"
    if restart or not observed.running:
        needed["start"] = "the service (re)starts"
    if observed.others:
        needed["prune"] = "older versions are removed: {0}".format(", ".join(observed.others))
    if target.wait_seconds > 0 and ("start" in needed or not observed.linked):
        needed["link"] = "waiting for the link, {0:g} s at most".format(target.wait_seconds)
    return [(name, needed[name]) for name in STEPS if name in needed]


def service_command(paths: Paths, target: Target) -> str:
    """What the service manager starts. Quoted: in a path with a blank it would try each beginning of it."""
    return '"{0}" -I "{1}" run'.format(target.interpreter, paths.zipapp(target.version))


def installed_version(paths: Paths) -> Optional[str]:
    """The version that the service starts; None where there is no service of ours."""
    found = command_of() or ""
    folder = paths.agent + os.sep
    _before, _separator, rest = found.partition(folder)
    return rest.partition(os.sep)[0] or None


def _check_guest(guest: Guest) -> None:
    if not guest.is_root:
        raise AgentError("PERMISSION_DENIED", "the installer must run as administrator, elevated")
    found = command_of()
    if found is not None and guest.paths.home.lower() not in found.lower():
        text = "the service {0!r} is another vendor's: {1}".format(SERVICE, found)
        raise AgentError("OTHER_TOOLS_PRESENT", text, {"service": SERVICE, "command": found})


def _command_text(paths: Paths, target: Target) -> bytes:
    return COMMAND_TEXT.format(interpreter=target.interpreter, zipapp=paths.zipapp(target.version)).encode("utf-8")


def _same(path: str, content: bytes) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(len(content) + 1) == content
    except OSError:
        return False


def _pythons(paths: Paths) -> str:
    return os.path.join(paths.home, "python")


def _others(paths: Paths, target: Target) -> List[str]:
    """Folders that no part of the target is in. The Python that runs this stays, also outside of ours."""
    found = []
    for folder, kept in ((paths.agent, target.version), (_pythons(paths), _python_name(paths, target))):
        if os.path.isdir(folder):
            found += [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name != kept]
    return [path for path in found if os.path.isdir(path)]


def _python_name(paths: Paths, target: Target) -> str:
    """The folder below `python` from which this Python runs; empty for one that is not ours."""
    _before, _separator, rest = target.interpreter.partition(_pythons(paths) + os.sep)
    return rest.partition(os.sep)[0]


def _begin(guest: Guest, target: Target) -> None:
    """Leave a mark, so that after a kill the next run restarts the service whatever else looks finished."""
    paths = guest.paths
    make_folder(paths.agent, 0o700)
    replace_file(paths.unfinished, b"")
    for folder in filter(os.path.isdir, [paths.home, paths.agent, paths.version_folder(target.version), paths.config]):
        sweep(folder)


def _agent(guest: Guest, target: Target) -> None:
    make_folder(guest.paths.version_folder(target.version), 0o700)
    replace_file(guest.paths.zipapp(target.version), target.agent)


def _command(guest: Guest, target: Target) -> None:
    replace_file(guest.paths.command, _command_text(guest.paths, target))


def _service(guest: Guest, target: Target) -> None:
    put(guest.run, service_command(guest.paths, target))


def _start(guest: Guest, _target: Target) -> None:
    """AGENT_FAILED when the agent does not come up; its log says why."""
    stop(guest.run, guest.monotonic, guest.sleep)
    start(guest.run, guest.monotonic, guest.sleep)


def _finish(guest: Guest, _target: Target) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(guest.paths.unfinished)


def _prune(guest: Guest, target: Target) -> None:
    """A file that somebody still has open stays until the next run."""
    for path in _others(guest.paths, target):
        shutil.rmtree(path, ignore_errors=True)


STEPS: Dict[str, Callable[[Guest, Target], None]] = {
    "begin": _begin,
    "agent": _agent,
    "identity": lambda guest, target: put_identity(guest.paths, target),
    "config": lambda guest, target: put_config(guest.paths, target),
    "command": _command,
    "event_source": lambda _guest, _target: put_event_source(),
    "service": _service,
    "start": _start,
    "finish": _finish,
    "prune": _prune,
    "link": wait_for_link,
}
"""In this order, each repeatable. `finish` stands after `start`: until then a kill means that the next run restarts."""


def uninstall(guest: Guest) -> Dict[str, Any]:
    """Take away what the agent brought, but for the Python that runs this: that is left to the installer script.

    Nothing of another vendor, no driver and no Nutanix VM Mobility is touched: a guest without its disk's driver does
    not start.
    """
    if not guest.is_root:
        raise AgentError("PERMISSION_DENIED", "the installer must run as administrator, elevated")
    paths, steps = guest.paths, []
    own = command_of()
    ours = own is not None and paths.home.lower() in own.lower()
    with file_errors(paths.home):
        if ours:
            steps.append("service")
            guest.say("service: the service is stopped and no longer registered")
            stop(guest.run, guest.monotonic, guest.sleep)
            remove(guest.run)
        if has_event_source():
            steps.append("event_source")
            forget_event_source()
        for name, path in (("config", paths.config), ("agent", paths.agent), ("runtime", paths.run)):
            if os.path.lexists(path):
                steps.append(name)
                guest.say("{0}: {1} is removed".format(name, path))
                shutil.rmtree(path)
        for name in _loose_files(paths):
            os.unlink(name)
    guest.say("Nutanix VirtIO drivers and VM Mobility stay as they are: without them this guest may not start")
    return {"ok": True, "changed": bool(steps), "steps": steps}


def _loose_files(paths: Paths) -> List[str]:
    if not os.path.isdir(paths.home):
        return []
    half = [os.path.join(paths.home, name) for name in os.listdir(paths.home) if name.startswith(TEMPORARY)]
    return half + ([paths.command] if os.path.lexists(paths.command) else [])
