# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The agent out of a distribution's package: put in place as the installer does it, without an identity.

The package itself brings one file below /usr/lib/openngt and runs this from its scripts. So there is one way in which
an agent lies in a guest, whoever put it there, and an upgrade over the link changes nothing that the package manager
keeps account of.
"""

import os
import shutil
from typing import Any, Callable, Dict, List, Optional

from . import os_release, uninstall
from .config import load_config
from .distributions import judge
from .errors import AgentError
from .files import file_errors, locked, make_folder
from .guest import Guest, interpreter, other_vendors
from .install import observe, plan
from .install_shared import Target, carry_out
from .install_steps import STEPS
from .paths import Paths
from .version import __version__, version_order

__all__ = ["AGENT", "OPERATIONS"]

AGENT = "ngt_agent.pyz"
OF_A_RUNNING_SYSTEMD = ("port", "reload", "start", "stop")
"""Left out where an image is built: in a container or a folder there is nothing to start."""


def _install(guest: Guest) -> Dict[str, Any]:
    """The package's agent in place and started, unless a newer one is there; what was done, as `install` tells it."""
    _check_root(guest)
    others = other_vendors(guest.paths)
    if others:
        raise AgentError("OTHER_TOOLS_PRESENT", "found {0}".format(", ".join(others)), {"paths": others})
    verdict = judge(os_release.read(guest.paths))
    if not verdict.supported:
        guest.say("{0}; going on, as the package was installed".format(verdict.message))
    paths = guest.paths
    with file_errors(paths.home):
        make_folder(paths.home)
        # The unit may write there, and systemd wants the folder before it starts it.
        make_folder(paths.config, 0o700)
        with locked(paths.home):
            newer = _newer(paths)
            if newer is not None:
                guest.say("{0}; the package's {1} is left aside".format(newer, __version__))
                return _answer([])
            return _answer(_apply(guest, _target(guest)))


def _newer(paths: Paths) -> Optional[str]:
    """Why the agent that is there stays, in words; None when the package's goes in its place."""
    if os.path.lexists(paths.trial) or os.path.lexists(paths.staged_upgrade):
        return "an upgrade is under way"
    standing = os.readlink(paths.current) if os.path.islink(paths.current) else ""
    if version_order(standing) > version_order(__version__):
        return "agent {0}, which is newer, stays".format(standing)
    return None


def _target(guest: Guest) -> Target:
    """The configuration is that of an identity which is there already, from a disc."""
    with open(os.path.join(guest.paths.package, AGENT), "rb") as stream:
        content = stream.read()
    config: Dict[str, Any] = {}
    if os.path.lexists(guest.paths.identity):
        try:
            config = load_config(guest.paths)
        except AgentError as exc:
            guest.say(exc.message)
    return Target(__version__, content, None, config, interpreter(guest), 0.0)


def _apply(guest: Guest, target: Target) -> List[str]:
    observed = observe(guest, target)._replace(identity_kept=True, config_usable=True)
    steps = [(name, reason) for name, reason in plan(observed, target) if _has_place(guest.paths, name)]
    return carry_out(guest, target, steps, STEPS)


def _remove(guest: Guest) -> Dict[str, Any]:
    """The agent stopped and gone, whoever put it there; identity, configuration and block list stay."""
    return _answer(_take_away(guest, keep_config=True))


def _purge(guest: Guest) -> Dict[str, Any]:
    """Nothing left but what the package manager removes itself."""
    return _answer(_take_away(guest, keep_config=False))


def _take_away(guest: Guest, keep_config: bool) -> List[str]:
    _check_root(guest)
    paths = guest.paths
    steps = [name for name in uninstall.plan(paths) if _has_place(paths, name)]
    for name in steps:
        with file_errors(paths.home):
            if name == "home" and keep_config:
                guest.say("home: the agent is removed; {0} is kept".format(paths.config))
                _remove_all_but_config(paths)
            else:
                guest.say("{0}: {1}".format(name, (uninstall.STEPS[name].__doc__ or "").rstrip(".")))
                uninstall.STEPS[name](guest)
    return steps


def _remove_all_but_config(paths: Paths) -> None:
    for entry in list(os.scandir(paths.home)):
        if entry.path == paths.config:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)


def _has_place(paths: Paths, step: str) -> bool:
    return step not in OF_A_RUNNING_SYSTEMD or os.path.isdir(paths.at("run/systemd/system"))


def _check_root(guest: Guest) -> None:
    if not guest.is_root:
        raise AgentError("PERMISSION_DENIED", "packages are installed and removed by root")


def _answer(steps: List[str]) -> Dict[str, Any]:
    return {"ok": True, "changed": bool(steps), "steps": steps, "version": __version__}


OPERATIONS: Dict[str, Callable[[Guest], Dict[str, Any]]] = {
    "install": _install,
    "remove": _remove,
    "purge": _purge,
}
