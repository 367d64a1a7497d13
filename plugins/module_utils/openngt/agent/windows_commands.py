# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The commands of `ngt_agent.pyz` on Windows."""

import argparse
import time
from ctypes import c_int
from typing import Callable, Dict, Tuple

from . import answers, windows_service
from .answers import Answer
from .errors import AgentError
from .files import run as run_program
from .guest import Guest, Options
from .upgrade_disc import by_installer_only
from .windows import windows_paths
from .windows_api import call
from .windows_facts import machine, vm_uuid
from .windows_install import install, installed_version, uninstall
from .windows_scm import SERVICE, state

__all__ = ["COMMANDS", "PACKAGE_OPERATIONS", "run", "this_guest"]

PACKAGE_OPERATIONS: Tuple[str, ...] = ()
"""No package manager brings an agent here."""

# The words of systemd for the states of a service, so that one field says the same everywhere.
ACTIVE = {"RUNNING": "active", "START_PENDING": "activating", "STOP_PENDING": "deactivating"}


def this_guest(say: Callable[[str], None]) -> Guest:
    elevated = bool(call("shell32", "IsUserAnAdmin", c_int))
    return Guest(windows_paths(), run_program, say, elevated, machine(), time.monotonic, time.sleep)


def run() -> int:
    """Serve, as the Windows service does."""
    return windows_service.main()


def _install(guest: Guest, options: argparse.Namespace) -> Answer:
    return install(
        guest, Options(options.source, options.ca_sha256, options.wait, options.allow_unsupported_distribution)
    )


def _uninstall(guest: Guest, _options: argparse.Namespace) -> Answer:
    return uninstall(guest)


def _upgrade(_guest: Guest, _options: argparse.Namespace) -> Answer:
    raise by_installer_only()


def _verify(guest: Guest, options: argparse.Namespace) -> Answer:
    if not guest.is_root:  # who this VM trusts is for administrators to read
        raise AgentError("PERMISSION_DENIED", "verify must run as administrator, elevated")
    return answers.of_disc(guest.paths, vm_uuid(), options.source, options.ca_sha256)


def _status(guest: Guest, _options: argparse.Namespace) -> Answer:
    """AGENT_NOT_INSTALLED where there is none."""
    if installed_version(guest.paths) is None:
        raise AgentError("AGENT_NOT_INSTALLED", "no agent is installed in this guest")
    found = state(guest.run)
    return answers.of_status(
        guest.paths, {"unit": SERVICE, "active": ACTIVE.get(found, "inactive"), "sub": found.lower()}
    )


COMMANDS: Dict[str, Callable[[Guest, argparse.Namespace], Answer]] = {
    "install": _install,
    "uninstall": _uninstall,
    "upgrade": _upgrade,
    "verify": _verify,
    "status": _status,
}
