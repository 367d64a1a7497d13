# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Take a newer identity from a tools disc while the agent runs, whatever system found the disc."""

import logging
from typing import Callable, Dict, Optional, Tuple

from .errors import AgentError
from .files import Runner
from .first_disc import is_awaited, pinned_ca
from .identity import Identity, check_newer, load, store
from .paths import Paths
from .upgrade_disc import begin, by_installer_only, lay_down, refuse
from .verify import Disc, Trust, verify

__all__ = ["Copied", "take", "taken_or_said"]

log = logging.getLogger("openngt.disc")

Copied = Tuple[Disc, Optional[bytes]]
"""A disc's words in memory, with the agent when they ask for an upgrade."""


def take(
    paths: Paths, vm_uuid: Optional[str], disc: Disc, agent: Optional[bytes] = None, run: Optional[Runner] = None
) -> Identity:
    """Store a disc's identity if it may follow the stored one, and begin the upgrade that the disc asks for.

    Without a stored one only where the package that brought the agent says so (`first_disc`): an agent that lost its
    identity has no CA left to judge a disc by (IDENTITY_INVALID). Without `run` nothing here changes over to another
    agent, and the record says so.
    """
    if is_awaited(paths):
        stored, ca_sha256 = None, pinned_ca(paths)
    else:
        stored, ca_sha256 = load(paths), None
    verified = verify(disc, Trust(vm_uuid, stored, ca_sha256))
    if stored is None:
        log.warning("first identity: the CA %s is trusted (%s)", verified.identity.ca_sha256, verified.trusted_by)
    check_newer(stored, verified.identity)
    # Laid down before the identity is: a disc that was used up asks for nothing any more.
    upgrading = False
    if verified.manifest.upgrade is not None:
        upgrading = run is not None and lay_down(paths, verified.manifest, agent)
        if run is None:
            refuse(paths, verified.manifest.ngt_version, verified.manifest.upgrade, by_installer_only())
    store(paths, verified.identity, verified.config)
    if upgrading and run is not None:
        begin(paths, run)
    return verified.identity


def taken_or_said(
    device: str, attempt: Callable[[], Optional[Identity]], refused: Dict[str, str]
) -> Optional[Identity]:
    """What `attempt` took from the disc in a drive; None, with the reason in the log, when it was not taken.

    `refused` remembers for each drive why, so that the same reason is logged once.
    """
    try:
        identity = attempt()
    except AgentError as exc:
        if refused.get(device) != exc.message:
            refused[device] = exc.message
            # That a disc was used up already is the usual end of its life.
            level = logging.INFO if exc.code == "DISC_OLDER" else logging.WARNING
            log.log(level, "%s was not taken: %s: %s", device, exc.code, exc.message)
        return None
    if identity is not None:
        log.info("took generation %d of the identity from %s", identity.generation, device)
    return identity
