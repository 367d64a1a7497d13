# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What an installation is on every system: what shall be there, what of it is, and the steps that need no system."""

import contextlib
import itertools
import os
import shutil
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from . import strict_json
from .config import load_config
from .errors import AgentError
from .files import file_errors, locked, make_folder, replace_file
from .guest import Guest, Options
from .identity import Identity, load, load_or_none, same_count, store
from .paths import Paths
from .runtime_status import read as read_status
from .verify import Trust, VerifiedDisc, read_agent, read_disc, verify, verify_files
from .version import version_order

__all__ = [
    "Accepted",
    "Steps",
    "Target",
    "accept",
    "carry_out",
    "config_usable",
    "is_linked",
    "keeps",
    "put_config",
    "put_identity",
    "reach",
    "wait_for_link",
]

POLL_SECONDS = (0.05, 0.1, 0.2, 0.5)
"""Between two looks for the link, the last one over and over: most links are there in a moment."""
# Beside the agent itself: folders, what starts it, the journal of its first start.
SPARE_BYTES = 16 * 1024 * 1024

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

Steps = List[Tuple[str, str]]
"""What is to be done, by name, each with the reason."""

Accepted = NamedTuple("Accepted", [("verified", VerifiedDisc), ("agent", bytes), ("identity", Optional[Identity])])
"""A disc that may be installed from; `identity` as in Target."""


def accept(guest: Guest, options: Options, vm_uuid: Optional[str], installed: str) -> Accepted:
    """Judge the disc, and whether there is room for what it brings; nothing is changed. `installed` may be empty."""
    paths = guest.paths
    stored = load_or_none(paths)
    verified = verify(read_disc(options.source), Trust(vm_uuid, stored, options.ca_sha256))
    verify_files(options.source, verified.manifest)
    agent = read_agent(options.source, verified.manifest)
    _check_space(os.path.dirname(paths.home), 2 * len(agent) + SPARE_BYTES)
    kept = stored is not None and keeps(stored, verified.identity)
    _check_not_older(installed, verified.manifest.ngt_version, kept)
    if verified.trusted_by == "first use":
        guest.say(
            "The CA {0} is trusted on first use; compare it with: openngt ca show".format(verified.identity.ca_sha256)
        )
    return Accepted(verified, agent, None if kept else verified.identity)


def reach(
    guest: Guest,
    target: Target,
    verified: VerifiedDisc,
    plan: Callable[[], Steps],
    table: Mapping[str, Callable[[Guest, Target], None]],
    mode: int = 0o755,
) -> Dict[str, Any]:
    """Plan and apply under the installation's lock; what was done, in the form of the command's answer.

    `mode`: of the agent's folder, where it is made.
    """
    home = guest.paths.home
    with file_errors(home):
        make_folder(home, mode)
        with locked(home):
            steps = carry_out(guest, target, plan(), table)
    return {
        "ok": True,
        "changed": any(name != "link" for name in steps),
        "steps": steps,
        "version": target.version,
        "generation": verified.manifest.generation,
        "ca_sha256": verified.identity.ca_sha256,
        "trusted_by": verified.trusted_by,
    }


def carry_out(
    guest: Guest, target: Target, steps: Iterable[Tuple[str, str]], table: Mapping[str, Callable[[Guest, Target], None]]
) -> List[str]:
    """Take the steps, each said before it is taken; their names."""
    taken = []
    for name, reason in steps:
        guest.say("{0}: {1}".format(name, reason))
        table[name](guest, target)
        taken.append(name)
    return taken


def keeps(stored: Identity, offered: Identity) -> bool:
    """Is what is stored as good as what the disc offers: the same VM and service, no older generation?"""
    return same_count(stored, offered) and stored.generation >= offered.generation


def _check_not_older(installed: str, version: str, kept: bool) -> None:
    """A disc that was used up already must not bring an older agent back: DISC_OLDER. `installed` may be empty."""
    if kept and version_order(installed) > version_order(version):
        raise AgentError("DISC_OLDER", "the disc carries agent {0}, {1} is installed".format(version, installed))


def _check_space(folder: str, wanted: int) -> None:
    with file_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < wanted:
        text = "{0} has {1} MB free, {2} MB are needed".format(folder, free >> 20, (wanted >> 20) + 1)
        raise AgentError("NO_SPACE", text, {"path": folder, "free": free, "wanted": wanted})


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
    for pause in itertools.chain(POLL_SECONDS, itertools.repeat(POLL_SECONDS[-1])):
        status = read_status(guest.paths) or {}
        if is_linked(status, generation):
            break
        if guest.monotonic() >= end:
            raise AgentError(
                "LINK_NOT_ACTIVE",
                "no link within {0:g} s; the agent says: {1}".format(target.wait_seconds, _in_words(status)),
                {"guest": status},
            )
        guest.sleep(pause)


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
