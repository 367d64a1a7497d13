# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The commands of `ngt_agent.pyz` on Linux.

Each imports what it alone needs when it is called.
"""

import os
from typing import Any, Callable, Dict

from . import answers
from .answers import Answer
from .errors import AgentError
from .guest import Guest, Options, this_guest
from .machine import vm_uuid
from .paths import UNIT, Paths
from .systemd import properties

__all__ = ["COMMANDS", "PACKAGE_OPERATIONS", "run", "this_guest"]

Arguments = Any  # an argparse.Namespace, or what looks like one: whoever serves or installs needs no parser
PACKAGE_OPERATIONS = ("install", "purge", "remove")


def run() -> int:
    """Serve, as the systemd unit does."""
    from .service import serve

    return serve(Paths())


def _install(guest: Guest, options: Arguments) -> Answer:
    """With `agent`, what `status` would say now: to ask for it would be another start."""
    from .install import install

    done = install(
        guest, Options(options.source, options.ca_sha256, options.wait, options.allow_unsupported_distribution)
    )
    return dict(done, agent=_status(guest, options))


def _uninstall(guest: Guest, _options: Arguments) -> Answer:
    from .uninstall import uninstall

    return uninstall(guest)


def _upgrade(guest: Guest, _options: Arguments) -> Answer:
    from .upgrade import upgrade

    return upgrade(guest)


def _package(guest: Guest, options: Arguments) -> Answer:
    from .package import OPERATIONS

    return OPERATIONS[options.operation](guest)


def _verify(guest: Guest, options: Arguments) -> Answer:
    if not guest.is_root:  # who this VM is, and whom it trusts, is for root to read
        raise AgentError("PERMISSION_DENIED", "verify must run as root")
    return answers.of_disc(guest.paths, vm_uuid(guest.paths), options.source, options.ca_sha256)


def _status(guest: Guest, _options: Arguments) -> Answer:
    """AGENT_NOT_INSTALLED where there is none."""
    if not os.path.lexists(guest.paths.current):
        raise AgentError("AGENT_NOT_INSTALLED", "no agent is installed in this guest")
    unit = properties(guest.run)
    state = {"unit": UNIT, "active": unit.get("ActiveState"), "sub": unit.get("SubState")}
    return answers.of_status(guest.paths, state)


COMMANDS: Dict[str, Callable[[Guest, Arguments], Answer]] = {
    "install": _install,
    "uninstall": _uninstall,
    "upgrade": _upgrade,
    "package": _package,
    "verify": _verify,
    "status": _status,
}
