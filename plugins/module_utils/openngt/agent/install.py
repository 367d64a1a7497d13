# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Install the agent from a tools disc: validate, plan, apply.

The plan is what is applied and what `changed` says. Whatever state a killed run, an older version or a half-done repair
left, the plan is made from what is there, so that the next run ends in the same place.
"""

import os
import stat
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import compiled, os_release
from .distributions import judge
from .errors import AgentError
from .getty import open_gettys
from .guest import Guest, Options, interpreter, is_this_one, other_vendors
from .identity import load_or_none
from .install_shared import Steps, Target, accept, config_usable, is_linked, keeps, reach
from .install_steps import STEPS
from .machine import vm_uuid
from .paths import Paths
from .runtime_status import read as read_status
from .systemd import is_enabled, properties
from .unit import command_text, unit_text, upgrade_unit_text
from .verify import VerifiedDisc

__all__ = ["Observed", "Options", "install", "plan"]

Observed = NamedTuple(
    "Observed",
    [
        ("agent_same", bool),
        ("compiled_fits", bool),  # what the agent's start takes, or its Python is not the one that runs this
        (
            "current",
            Optional[str],
        ),  # version that both links point to; None: they do not agree, or an upgrade is half done
        ("other_versions", Tuple[str, ...]),
        ("identity_kept", bool),
        ("config_usable", bool),
        ("command_same", bool),
        ("unit_same", bool),
        ("reload_wanted", bool),
        ("open_gettys", Tuple[str, ...]),  # on a port of the service's
        ("enabled", bool),
        ("active", bool),
        ("interrupted", bool),  # a run before this one did not come to its end
        ("linked", bool),
    ],
)


def install(guest: Guest, options: Options) -> Dict[str, Any]:
    """Bring the guest to where the disc wants it; what was done, in the form of the command's answer."""
    target, verified = validate(guest, options)
    return reach(guest, target, verified, lambda: plan(observe(guest, target), target), STEPS)


def validate(guest: Guest, options: Options) -> Tuple[Target, VerifiedDisc]:
    """What shall be installed; nothing was changed so far, whatever is raised."""
    guest.say("Platform type is: {0}".format(guest.machine))
    _check_guest(guest, options.allow_unsupported_distribution)
    paths = guest.paths
    installed = os.readlink(paths.current) if os.path.islink(paths.current) else ""
    verified, agent, identity = accept(guest, options, vm_uuid(paths), installed)
    version = verified.manifest.ngt_version
    return Target(version, agent, identity, verified.config, interpreter(guest), options.wait_seconds), verified


def observe(guest: Guest, target: Target) -> Observed:
    """What of it is there already."""
    paths = guest.paths
    known = os.path.lexists(paths.unit)  # of a unit that is not there nothing is asked: it is written, and started
    unit = properties(guest.run) if known else {}
    versions = _folders(paths.agent)
    # Under the lock: an agent that runs may have taken this very disc since it was looked at.
    kept = load_or_none(paths)
    if kept is not None and target.identity is not None and not keeps(kept, target.identity):
        kept = None
    return Observed(
        agent_same=_same(paths.zipapp(target.version), target.agent, 0o644),
        compiled_fits=not is_this_one(target.interpreter)
        or compiled.fits(compiled.path_beside(paths.zipapp(target.version)), target.agent),
        current=_in_use(paths),
        other_versions=tuple(name for name in versions if name != target.version),
        identity_kept=kept is not None,
        config_usable=config_usable(paths),
        command_same=_same(paths.command, command_text(paths, target.interpreter).encode(), 0o755),
        unit_same=_same(paths.unit, unit_text(paths, target.interpreter).encode(), 0o644)
        and _same(paths.upgrade_unit, upgrade_unit_text(paths, target.interpreter).encode(), 0o644),
        open_gettys=tuple(open_gettys(guest, target.config)),
        reload_wanted=unit.get("NeedDaemonReload") == "yes",
        enabled=known and is_enabled(guest.run),
        active=unit.get("ActiveState") == "active",
        interrupted=os.path.lexists(paths.unfinished),
        linked=kept is not None and is_linked(read_status(paths) or {}, kept.generation),
    )


def plan(observed: Observed, target: Target) -> Steps:
    """Steps to do, in their order, each with the reason. Pure."""
    needed: Dict[str, str] = {}
    if not observed.agent_same:
        needed["agent"] = "agent {0} is put in place".format(target.version)
    if not observed.compiled_fits:
        needed["compiled"] = "it is compiled for this Python"
    if observed.current != target.version:
        needed["current"] = "version {0} takes over from {1}".format(target.version, observed.current or "none")
    if not observed.identity_kept:
        needed["identity"] = "the disc's identity is taken"
    elif not observed.config_usable:
        needed["config"] = "the configuration is missing or damaged"
    if not observed.command_same:
        needed["command"] = "ngtcli is written"
    if not observed.unit_same:
        needed["unit"] = "the service's unit is written"
    if observed.open_gettys:
        needed["port"] = "no login is offered on the service's port: {0}".format(", ".join(observed.open_gettys))
    restart = bool(set(needed) - {"command", "compiled"}) or observed.interrupted
    if needed or observed.interrupted:
        needed["begin"] = "a run before this one did not finish" if observed.interrupted else "there is something to do"
        needed["finish"] = "all is in place"
    if not observed.enabled:
        needed["enable"] = "the service starts with the guest"
    if {"unit", "port", "enable"} & set(needed) or observed.reload_wanted or observed.interrupted:
        needed["reload"] = "systemd reads its units"
    if restart or not observed.active:
        needed["start"] = "the service (re)starts"
    if observed.other_versions:
        needed["prune"] = "older versions are removed: {0}".format(", ".join(observed.other_versions))
    if target.wait_seconds > 0 and ("start" in needed or not observed.linked):
        needed["link"] = "waiting for the link, {0:g} s at most".format(target.wait_seconds)
    return [(name, needed[name]) for name in STEPS if name in needed]


def _check_guest(guest: Guest, allow_unsupported: bool) -> None:
    if not guest.is_root:
        raise AgentError("PERMISSION_DENIED", "the installer must run as root")
    others = other_vendors(guest.paths)
    if others:
        raise AgentError("OTHER_TOOLS_PRESENT", "found {0}".format(", ".join(others)), {"paths": others})
    verdict = judge(os_release.read(guest.paths))
    if not verdict.supported:
        if not allow_unsupported:
            text = "{0}; --allow-unsupported-distribution tries it all the same".format(verdict.message)
            raise AgentError("UNSUPPORTED_DISTRIBUTION", text)
        guest.say("{0}; going on, as asked".format(verdict.message))
    if not os.path.isdir(guest.paths.at("run/systemd/system")):
        raise AgentError(
            "PREREQUISITES_NOT_MET", "systemd does not run this guest", {"findings": [{"name": "systemd"}]}
        )


def _in_use(paths: Paths) -> Optional[str]:
    if os.path.lexists(paths.trial) or os.path.lexists(paths.staged_upgrade):
        return None
    versions = {os.readlink(path) if os.path.islink(path) else None for path in (paths.current, paths.proven)}
    return versions.pop() if len(versions) == 1 else None


def _folders(path: str) -> List[str]:
    if not os.path.isdir(path):
        return []
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))


def _same(path: str, content: bytes, mode: int) -> bool:
    try:
        with open(path, "rb") as stream:
            return stat.S_IMODE(os.fstat(stream.fileno()).st_mode) == mode and stream.read(len(content) + 1) == content
    except OSError:
        return False
