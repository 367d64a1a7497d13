# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Take a newer identity from a tools disc while the agent runs, and watch for such discs."""

import contextlib
import logging
import selectors
import threading
import time
from typing import Callable, Dict, Optional, Tuple

from . import uevent
from .disc import drives, is_loaded, mounted_privately
from .errors import AgentError
from .files import Runner, file_errors
from .first_disc import is_awaited, pinned_ca
from .identity import Identity, check_newer, load, store
from .machine import vm_uuid
from .paths import Paths
from .upgrade_disc import begin, lay_down, wanted_agent
from .verify import Disc, Trust, is_tools_disc, read_disc, verify

__all__ = ["DiscWatcher", "look"]

log = logging.getLogger("openngt.disc")

# A disc that was inserted this moment spins up first; and however often a drive cries, it is looked at this often.
SETTLE_SECONDS = 1.0
LEAST_SECONDS_BETWEEN_LOOKS = 5.0


def look(paths: Paths, run: Runner, refused: Dict[str, str]) -> Optional[Identity]:
    """Look into every loaded drive; store and return the identity of a disc that may be taken, or None.

    `refused` remembers for each drive why its disc was not taken, so that the same reason is logged once.
    """
    for device in drives(paths):
        if not is_loaded(device):
            refused.pop(device, None)
            continue
        try:
            identity = _take(paths, run, device)
        except AgentError as exc:
            if refused.get(device) != exc.message:
                refused[device] = exc.message
                # That a disc was used up already is the usual end of its life.
                level = logging.INFO if exc.code == "DISC_OLDER" else logging.WARNING
                log.log(level, "%s was not taken: %s: %s", device, exc.code, exc.message)
            continue
        if identity is not None:
            log.info("took generation %d of the identity from %s", identity.generation, device)
            return identity
    return None


def _take(paths: Paths, run: Runner, device: str) -> Optional[Identity]:
    copied = _copy(paths, run, device)
    return None if copied is None else take(paths, copied[0], copied[1], run)


def take(paths: Paths, disc: Disc, agent: Optional[bytes] = None, run: Optional[Runner] = None) -> Identity:
    """Store a disc's identity if it may follow the stored one, and begin the upgrade that the disc asks for.

    Without a stored one only where the package that brought the agent says so (`first_disc`): an agent that lost its
    identity has no CA left to judge a disc by (IDENTITY_INVALID).
    """
    if is_awaited(paths):
        stored, ca_sha256 = None, pinned_ca(paths)
    else:
        stored, ca_sha256 = load(paths), None
    verified = verify(disc, Trust(vm_uuid(paths), stored, ca_sha256))
    if stored is None:
        log.warning("first identity: the CA %s is trusted by %s", verified.identity.ca_sha256, verified.trusted_by)
    check_newer(stored, verified.identity)
    # Laid down before the identity is: a disc that was used up asks for nothing any more.
    upgrading = verified.manifest.upgrade is not None and lay_down(paths, verified.manifest, agent)
    store(paths, verified.identity, verified.config)
    if upgrading and run is not None:
        begin(paths, run)
    return verified.identity


def _copy(paths: Paths, run: Runner, device: str) -> Optional[Tuple[Disc, Optional[bytes]]]:
    """The disc's words in memory, with the agent when they ask for an upgrade; None when it is no tools disc."""
    with file_errors(paths.disc), mounted_privately(paths, device, run) as folder:
        return (read_disc(folder), wanted_agent(folder)) if is_tools_disc(folder) else None


class DiscWatcher(threading.Thread):
    """Looks at start and whenever a drive gets a disc, beside the link, for a drive can take seconds to answer.

    `taken` is called from this thread with each identity that was stored.
    """

    def __init__(self, paths: Paths, run: Runner, taken: Callable[[Identity], None]) -> None:
        super(DiscWatcher, self).__init__(name="disc-watcher", daemon=True)
        self._paths = paths
        self._run = run
        self._taken = taken
        self._refused: Dict[str, str] = {}

    def run(self) -> None:
        try:
            sock = uevent.open_socket()
        except OSError as exc:
            log.warning("no news of inserted discs (%s): discs are looked at when the agent starts", exc)
            self._look()
            return
        with contextlib.closing(sock), selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            while True:
                self._look()
                time.sleep(LEAST_SECONDS_BETWEEN_LOOKS - SETTLE_SECONDS)
                while not uevent.announces_disc(uevent.receive(sock)):
                    selector.select()
                time.sleep(SETTLE_SECONDS)

    def _look(self) -> None:
        identity = look(self._paths, self._run, self._refused)
        if identity is not None:
            self._taken(identity)
