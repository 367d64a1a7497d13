# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The steps of an installation, by name and in order. Each can be repeated, and each can be killed at its end."""

import contextlib
import os
import shutil
from typing import Callable, Dict

from . import compiled, getty
from .errors import AgentError
from .failpoints import failpoint
from .files import make_folder, replace_file, replace_link, sweep, sync_folder
from .guest import Guest
from .install_shared import Target, put_config, put_identity, wait_for_link
from .paths import UNIT
from .systemd import systemctl
from .unit import command_text, unit_text, upgrade_unit_text

__all__ = ["STEPS"]


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


def _compiled(guest: Guest, target: Target) -> None:
    zipapp = guest.paths.zipapp(target.version)
    replace_file(compiled.path_beside(zipapp), compiled.content_for(target.agent))
    failpoint("agent.install.compiled")


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
    put_identity(guest.paths, target)
    failpoint("agent.install.identity")


def _config(guest: Guest, target: Target) -> None:
    put_config(guest.paths, target)
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
    wait_for_link(guest, target)
    failpoint("agent.install.link")


# In this order. `finish` stands after `start`: until then a kill means that the next run restarts the service.
STEPS: Dict[str, Callable[[Guest, Target], None]] = {
    "begin": _begin,
    "agent": _agent,
    "compiled": _compiled,
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
