# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Take everything away that the installer and the agent brought: plan, apply. Nothing of another vendor is touched."""

import contextlib
import os
import shutil
from typing import Any, Callable, Dict, List

from . import getty
from .errors import AgentError
from .failpoints import failpoint
from .files import TEMPORARY, file_errors, read_text
from .guest import Guest
from .paths import UNIT, UPGRADE_UNIT, Paths
from .systemd import systemctl
from .unit import is_ours

__all__ = ["STEPS", "plan", "uninstall"]


def uninstall(guest: Guest) -> Dict[str, Any]:
    """Leave no file; what was done, in the form of the command's answer."""
    if not guest.is_root:
        raise AgentError("PERMISSION_DENIED", "the installer must run as root")
    steps = plan(guest.paths)
    for name in steps:
        guest.say("{0}: {1}".format(name, (STEPS[name].__doc__ or "").rstrip(".")))
        with file_errors(guest.paths.home):
            STEPS[name](guest)
    if os.path.lexists(guest.paths.package):
        guest.say("The package openngt-agent is still installed; its next upgrade brings the agent back.")
    return {"ok": True, "changed": bool(steps), "steps": steps}


def plan(paths: Paths) -> List[str]:
    """Steps to do, in their order. Without a unit there can be no service, whatever else is left."""
    found = {
        "stop": os.path.lexists(paths.unit) and is_ours(read_text(paths.unit) or ""),
        "unit": bool(_unit_files(paths)),
        "command": bool(_command_files(paths)),
        "port": os.path.lexists(paths.masked_units),
        "runtime": os.path.lexists(paths.run),
        "home": os.path.lexists(paths.home),
    }
    # systemd forgets the unit in any case where there was one, also when a run before this one was killed.
    found["reload"] = found["unit"] or found["home"]
    return [name for name in STEPS if found[name]]


def _unit_files(paths: Paths) -> List[str]:
    """Our units, the agent's enabling, and what a killed run left half-written."""
    folder = os.path.dirname(paths.unit)
    half = _half_written(folder, UNIT) + _half_written(folder, UPGRADE_UNIT)
    if is_ours(read_text(paths.upgrade_unit) or ""):
        half.append(paths.upgrade_unit)
    if os.path.lexists(paths.unit) and not is_ours(read_text(paths.unit) or ""):
        return half
    return [path for path in (paths.enabled, paths.unit) if os.path.lexists(path)] + half


def _command_files(paths: Paths) -> List[str]:
    half = _half_written(os.path.dirname(paths.command), os.path.basename(paths.command))
    return half + ([paths.command] if is_ours(read_text(paths.command) or "") else [])


def _half_written(folder: str, name: str) -> List[str]:
    if not os.path.isdir(folder):
        return []
    return [os.path.join(folder, entry) for entry in os.listdir(folder) if entry.startswith(TEMPORARY + name)]


def _stop(guest: Guest) -> None:
    """The service is stopped and starts no more."""
    # First who would start the agent again. It fails where there is none, which is as well.
    guest.run(["systemctl", "stop", UPGRADE_UNIT])
    systemctl(guest.run, "disable", "--no-reload", "--now", UNIT)
    failpoint("agent.uninstall.stop")


def _unit(guest: Guest) -> None:
    """The service's unit is removed."""
    for path in _unit_files(guest.paths):
        os.unlink(path)
    failpoint("agent.uninstall.unit")


def _port(guest: Guest) -> None:
    """Logins may be offered on the serial port again."""
    getty.unmask(guest)
    failpoint("agent.uninstall.port")


def _reload(guest: Guest) -> None:
    """systemd forgets the unit."""
    systemctl(guest.run, "daemon-reload")
    guest.run(["systemctl", "reset-failed", UNIT])  # fails for a unit that did not fail, which is as well
    failpoint("agent.uninstall.reload")


def _command(guest: Guest) -> None:
    """ngtcli is removed."""
    for path in _command_files(guest.paths):
        os.unlink(path)
    failpoint("agent.uninstall.command")


def _runtime(guest: Guest) -> None:
    """The running agent's notes are removed."""
    _remove_tree(guest.paths.run)
    failpoint("agent.uninstall.runtime")


def _home(guest: Guest) -> None:
    """Identity, configuration and agent are removed."""
    _remove_tree(guest.paths.home)
    failpoint("agent.uninstall.home")


def _remove_tree(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


STEPS: Dict[str, Callable[[Guest], None]] = {
    "stop": _stop,
    "unit": _unit,
    "port": _port,
    "reload": _reload,
    "command": _command,
    "runtime": _runtime,
    "home": _home,
}
