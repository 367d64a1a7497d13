# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The steps of an installation, by name and in order. Each can be repeated, and each can be killed at its end."""

import contextlib
import os
import shutil
from typing import Any, Callable, Dict, NamedTuple, Optional

from . import getty, strict_json
from .errors import AgentError
from .failpoints import failpoint
from .files import make_folder, replace_file, replace_link, sweep, sync_folder
from .guest import Guest
from .identity import Identity, load, store
from .paths import UNIT
from .runtime_status import read as read_status
from .systemd import systemctl
from .unit import command_text, unit_text, upgrade_unit_text

__all__ = ["STEPS", "Target", "is_linked"]

POLL_SECONDS = 0.5

Target = NamedTuple(
    "Target",
    [
        ("version", str),
        ("agent", bytes),
        ("identity", Optional[Identity]),  # None: the stored one is kept
        ("config", Dict[str, Any]),
        ("interpreter", str),
        ("wait_seconds", float),
    ],
)


def _begin(guest: Guest, target: Target) -> None:
    """Leave a mark, so that after a kill the next run restarts the service whatever else looks finished."""
    paths = guest.paths
    make_folder(paths.agent)
    replace_file(paths.unfinished, b"")
    folders = [paths.agent, os.path.dirname(paths.command), os.path.dirname(paths.unit)]
    for folder in filter(os.path.isdir, folders + [paths.version_folder(target.version), paths.config]):
        sweep(folder)
    failpoint("agent.install.begin")


def _agent(guest: Guest, target: Target) -> None:
    make_folder(guest.paths.version_folder(target.version))
    replace_file(guest.paths.zipapp(target.version), target.agent)
    sync_folder(guest.paths.agent)
    failpoint("agent.install.agent")


def _current(guest: Guest, target: Target) -> None:
    current = guest.paths.current
    if os.path.isdir(current) and not os.path.islink(current):
        shutil.rmtree(current)
    replace_link(current, target.version)
    replace_link(guest.paths.proven, target.version)
    # What an upgrade left half done is overtaken by this.
    for path in (guest.paths.staged_upgrade, guest.paths.trial):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    failpoint("agent.install.current")


def _identity(guest: Guest, target: Target) -> None:
    if target.identity is not None:
        try:
            store(guest.paths, target.identity, target.config)
        except AgentError as exc:
            # A running agent took this very disc in the meantime: that is what we want.
            if exc.code != "DISC_OLDER":
                raise
    failpoint("agent.install.identity")


def _config(guest: Guest, target: Target) -> None:
    replace_file(guest.paths.ngt_config, strict_json.dump(target.config) + b"\n", mode=0o600)
    failpoint("agent.install.config")


def _command(guest: Guest, target: Target) -> None:
    make_folder(os.path.dirname(guest.paths.command))
    replace_file(guest.paths.command, command_text(guest.paths, target.interpreter).encode("utf-8"), mode=0o755)
    failpoint("agent.install.command")


def _unit(guest: Guest, target: Target) -> None:
    make_folder(os.path.dirname(guest.paths.unit))
    paths = guest.paths
    replace_file(paths.upgrade_unit, upgrade_unit_text(paths, target.interpreter).encode("utf-8"))
    replace_file(paths.unit, unit_text(paths, target.interpreter).encode("utf-8"))
    failpoint("agent.install.unit")


def _port(guest: Guest, target: Target) -> None:
    getty.mask(guest, getty.open_gettys(guest, target.config))
    failpoint("agent.install.port")


def _enable(guest: Guest, _target: Target) -> None:
    systemctl(guest.run, "enable", "--no-reload", UNIT)
    failpoint("agent.install.enable")


def _reload(guest: Guest, _target: Target) -> None:
    """Once for all that is written: it makes systemd read every unit of the guest."""
    systemctl(guest.run, "daemon-reload")
    failpoint("agent.install.reload")


def _start(guest: Guest, _target: Target) -> None:
    """AGENT_FAILED with the end of its journal when the agent does not come up."""
    try:
        systemctl(guest.run, "restart", UNIT)
    except AgentError as exc:
        journal = guest.run(["journalctl", "--no-pager", "-o", "cat", "-n", "20", "-u", UNIT]).stdout
        raise AgentError("AGENT_FAILED", exc.message, {"journal": journal.splitlines()[-20:]}) from exc
    failpoint("agent.install.start")


def _finish(guest: Guest, _target: Target) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(guest.paths.unfinished)
    failpoint("agent.install.finish")


def _prune(guest: Guest, target: Target) -> None:
    for entry in list(os.scandir(guest.paths.agent)):
        if entry.is_dir(follow_symlinks=False) and entry.name != target.version:
            shutil.rmtree(entry.path)
    failpoint("agent.install.prune")


def _link(guest: Guest, target: Target) -> None:
    """LINK_NOT_ACTIVE with the agent's view unless it connects, with its long-lived identity, in time."""
    generation = load(guest.paths).generation
    end = guest.monotonic() + target.wait_seconds
    while True:
        status = read_status(guest.paths) or {}
        if is_linked(status, generation):
            break
        if guest.monotonic() >= end:
            raise AgentError(
                "LINK_NOT_ACTIVE",
                "no link within {0:g} s; the agent says: {1}".format(target.wait_seconds, _in_words(status)),
                {"guest": status},
            )
        guest.sleep(POLL_SECONDS)
    failpoint("agent.install.link")


def is_linked(status: Dict[str, Any], generation: int) -> bool:
    """Does the agent say that it is connected, with its long-lived identity?"""
    identity = status.get("identity") or {}
    active = bool((status.get("link") or {}).get("active"))
    return active and identity.get("kind") == "link" and int(identity.get("generation") or 0) >= generation


def _in_words(status: Dict[str, Any]) -> str:
    link = status.get("link") or {}
    error = link.get("last_error") or {}
    if error:
        return "{0}: {1}".format(error.get("code"), error.get("message"))
    if link.get("active"):
        return "connected, but still with the disc's identity: the service did not rotate it"
    return "not connected yet" if status else "nothing, it does not run"


# In this order. `finish` stands after `start`: until then a kill means that the next run restarts the service.
STEPS: Dict[str, Callable[[Guest, Target], None]] = {
    "begin": _begin,
    "agent": _agent,
    "identity": _identity,
    "config": _config,
    "current": _current,
    "command": _command,
    "unit": _unit,
    "port": _port,
    "enable": _enable,
    "reload": _reload,
    "start": _start,
    "finish": _finish,
    "prune": _prune,
    "link": _link,
}
