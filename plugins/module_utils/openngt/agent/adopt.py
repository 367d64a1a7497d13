# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""Look into the CD-ROM drives of a Linux guest for a newer identity, and watch for discs."""

import contextlib
import functools
import logging
import selectors
import threading
import time
from typing import Callable, Dict, Optional

from . import taking, uevent
from .disc import drives, is_loaded, mounted_privately
from .files import Runner, file_errors
from .identity import Identity
from .machine import vm_uuid
from .paths import Paths
from .taking import Copied, taken_or_said
from .upgrade_disc import wanted_agent
from .verify import Disc, is_tools_disc, read_disc

__all__ = ["DiscWatcher", "look", "take"]

log = logging.getLogger("openngt.disc")

# A disc that was inserted this moment spins up first; and however often a drive cries, it is looked at this often.
SETTLE_SECONDS = 1.0
LEAST_SECONDS_BETWEEN_LOOKS = 5.0


def look(paths: Paths, run: Runner, refused: Dict[str, str]) -> Optional[Identity]:
    """Look into every loaded drive; store and return the identity of a disc that may be taken, or None.

    `refused`: as `taken_or_said` has it.
    """
    for device in drives(paths):
        if not is_loaded(device):
            refused.pop(device, None)
            continue
        identity = taken_or_said(device, functools.partial(_take, paths, run, device), refused)
        if identity is not None:
            return identity
    return None


def _take(paths: Paths, run: Runner, device: str) -> Optional[Identity]:
    copied = _copy(paths, run, device)
    return None if copied is None else take(paths, copied[0], copied[1], run)


def take(paths: Paths, disc: Disc, agent: Optional[bytes] = None, run: Optional[Runner] = None) -> Identity:
    """As `taking.take`, for the VM that this is."""
    return taking.take(paths, vm_uuid(paths), disc, agent, run)


def _copy(paths: Paths, run: Runner, device: str) -> Optional[Copied]:
    """The disc's words; None when it is no tools disc."""
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
