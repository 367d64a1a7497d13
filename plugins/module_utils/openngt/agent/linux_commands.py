# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The commands of `ngt_agent.pyz` on Linux."""

import argparse
import os
from typing import Callable, Dict

from . import answers, package, service
from .answers import Answer
from .errors import AgentError
from .guest import Guest, Options, this_guest
from .install import install
from .machine import vm_uuid
from .paths import UNIT, Paths
from .systemd import properties
from .uninstall import uninstall
from .upgrade import upgrade

__all__ = ["COMMANDS", "PACKAGE_OPERATIONS", "run", "this_guest"]

PACKAGE_OPERATIONS = tuple(sorted(package.OPERATIONS))


def run() -> int:
    """Serve, as the systemd unit does."""
    return service.serve(Paths())


def _install(guest: Guest, options: argparse.Namespace) -> Answer:
    return install(
        guest, Options(options.source, options.ca_sha256, options.wait, options.allow_unsupported_distribution)
    )


def _uninstall(guest: Guest, _options: argparse.Namespace) -> Answer:
    return uninstall(guest)


def _upgrade(guest: Guest, _options: argparse.Namespace) -> Answer:
    return upgrade(guest)


def _package(guest: Guest, options: argparse.Namespace) -> Answer:
    return package.OPERATIONS[options.operation](guest)


def _verify(guest: Guest, options: argparse.Namespace) -> Answer:
    if not guest.is_root:  # who this VM is, and whom it trusts, is for root to read
        raise AgentError("PERMISSION_DENIED", "verify must run as root")
    return answers.of_disc(guest.paths, vm_uuid(guest.paths), options.source, options.ca_sha256)


def _status(guest: Guest, _options: argparse.Namespace) -> Answer:
    """AGENT_NOT_INSTALLED where there is none."""
    if not os.path.lexists(guest.paths.current):
        raise AgentError("AGENT_NOT_INSTALLED", "no agent is installed in this guest")
    unit = properties(guest.run)
    state = {"unit": UNIT, "active": unit.get("ActiveState"), "sub": unit.get("SubState")}
    return answers.of_status(guest.paths, state)


COMMANDS: Dict[str, Callable[[Guest, argparse.Namespace], Answer]] = {
    "install": _install,
    "uninstall": _uninstall,
    "upgrade": _upgrade,
    "package": _package,
    "verify": _verify,
    "status": _status,
}
