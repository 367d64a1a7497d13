# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What an installation is on every system: what shall be there, what of it is, and the steps that need no system."""

import contextlib
from typing import Any, Dict, NamedTuple, Optional

from . import strict_json
from .config import load_config
from .errors import AgentError
from .files import replace_file
from .guest import Guest
from .identity import Identity, load, same_count, store
from .paths import Paths
from .runtime_status import read as read_status
from .version import version_order

__all__ = [
    "Target",
    "check_not_older",
    "config_usable",
    "is_linked",
    "keeps",
    "put_config",
    "put_identity",
    "wait_for_link",
]

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


def keeps(stored: Identity, offered: Identity) -> bool:
    """Is what is stored as good as what the disc offers: the same VM and service, no older generation?"""
    return same_count(stored, offered) and stored.generation >= offered.generation


def check_not_older(installed: str, version: str, kept: bool) -> None:
    """A disc that was used up already must not bring an older agent back: DISC_OLDER. `installed` may be empty."""
    if kept and version_order(installed) > version_order(version):
        raise AgentError("DISC_OLDER", "the disc carries agent {0}, {1} is installed".format(version, installed))


def config_usable(paths: Paths) -> bool:
    with contextlib.suppress(AgentError):
        load_config(paths)
        return True
    return False


def put_identity(paths: Paths, target: Target) -> None:
    """Store the target's identity with its configuration; one that is kept needs nothing."""
    if target.identity is not None:
        try:
            store(paths, target.identity, target.config)
        except AgentError as exc:
            # A running agent took this very disc in the meantime: that is what we want.
            if exc.code != "DISC_OLDER":
                raise


def put_config(paths: Paths, target: Target) -> None:
    replace_file(paths.ngt_config, strict_json.dump(target.config) + b"\n", mode=0o600)


def wait_for_link(guest: Guest, target: Target) -> None:
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
