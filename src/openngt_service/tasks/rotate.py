# SPDX-License-Identifier: GPL-3.0-or-later
"""Replace the identity from the ISO by a long-lived one over the link, then take the ISO away."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from openngt.errors import OpenNGTError
from openngt.failpoints import failpoint

from ..ports import SessionInfo
from .eject import clear
from .engine import Progress, Work
from .handover import deliver, prepare
from .links import Links
from .parts import Parts

__all__ = ["ACTOR", "Rotation", "disc_is_done", "rotate"]

log = structlog.get_logger(__name__)

ACTOR = "service"
RETRY_SECONDS = 30.0
"""A rotation or an eject that failed is not tried again sooner: a new identity costs a generation each time."""

DISC_FREE_SECONDS = 15.0
"""For so long the guest must have let go of the disc: the holder of the mount may be about to use it, and usually ends
it himself."""


async def rotate(parts: Parts, vm_uuid: str, progress: Progress) -> dict[str, Any]:
    """Hand the agent its long-lived identity. Nothing to do when it has got one meanwhile."""
    session = parts.gateway.session(vm_uuid)
    if session is None or session.kind != "bootstrap":
        return {"generation": None if session is None else session.generation}
    vm, held = parts.enrolled(vm_uuid), parts.store.mounts.get(vm_uuid)
    await progress.step(10, "issuing the certificate")
    handover = await prepare(parts, vm, None if held is None else held.validity_days, actor=ACTOR)
    await progress.step(50, "handing it to the agent")
    await deliver(parts, handover)
    failpoint("tasks.rotate.handed")
    return {"generation": handover.entry.generation}


async def eject_done(parts: Parts, session: SessionInfo, progress: Progress) -> dict[str, Any]:
    """Take out a disc that the agent has consumed and the guest has let go of."""
    if not disc_is_done(parts, session):
        return {"ejected": False}
    await progress.step(20, "taking the ISO out")
    return {"ejected": await clear(parts, session.vm_uuid, actor=ACTOR, force=False)}


def disc_is_done(parts: Parts, session: SessionInfo) -> bool:
    """The agent has gone beyond the identity on the VM's ISO. A session from before the mount does not count."""
    held = parts.store.mounts.get(session.vm_uuid)
    return (
        held is not None
        and held.phase == "mounted"
        and held.generation is not None
        and session.generation > held.generation
    )


class Rotation:
    """Listens to the links and submits the tasks above; for a VM, one of a kind at a time."""

    def __init__(self, parts: Parts, links: Links, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._links = links
        self._clock = clock
        self._under_way: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._not_before: dict[tuple[str, str], float] = {}
        self._free_since: dict[str, float] = {}
        links.on_bootstrap = self.bootstrap_connected
        links.on_disc = self.disc_reported

    def bootstrap_connected(self, session: SessionInfo) -> None:
        """Called for each bootstrap session when it begins, and again by `retry`.

        Whoever has the VM's turn either does this himself (a refresh) or is done before `retry` comes again.
        """
        vm_uuid = session.vm_uuid
        if self._parts.engine.busy(vm_uuid):
            return
        self._submit("rotate", vm_uuid, lambda progress: rotate(self._parts, vm_uuid, progress))

    def disc_reported(self, session: SessionInfo, mounted: bool) -> None:
        """Called for each heartbeat that says it; cheap when there is nothing to do."""
        vm_uuid = session.vm_uuid
        if mounted or not disc_is_done(self._parts, session):
            self._free_since.pop(vm_uuid, None)
            return
        free_for = self._clock() - self._free_since.setdefault(vm_uuid, self._clock())
        if free_for >= DISC_FREE_SECONDS and self._is_time("eject", vm_uuid):
            self._submit("eject", vm_uuid, lambda progress: eject_done(self._parts, session, progress))

    def retry(self) -> None:
        """Look for agents that still live on their ISO's identity; called every few seconds."""
        for session in list(self._links.sessions()):
            if session.kind == "bootstrap" and self._is_time("rotate", session.vm_uuid):
                self.bootstrap_connected(session)

    async def stop(self) -> None:
        """Submit no more."""
        for task in list(self._under_way.values()):
            task.cancel()
        if self._under_way:
            await asyncio.wait(list(self._under_way.values()))

    def _is_time(self, kind: str, vm_uuid: str) -> bool:
        return self._clock() >= self._not_before.get((kind, vm_uuid), 0.0)

    def _submit(self, kind: str, vm_uuid: str, work: Work) -> None:
        place = (kind, vm_uuid)
        if place not in self._under_way:
            self._not_before[place] = self._clock() + RETRY_SECONDS
            task = asyncio.get_running_loop().create_task(self._follow(kind, vm_uuid, work))
            self._under_way[place] = task
            task.add_done_callback(lambda _: self._under_way.pop(place, None))

    async def _follow(self, kind: str, vm_uuid: str, work: Work) -> None:
        try:
            record = await self._parts.engine.submit(kind, vm_uuid, work, actor=ACTOR)
            await self._parts.engine.finished(record.task_id)
        except OpenNGTError as exc:
            log.warning("task_not_submitted", kind=kind, vm_uuid=vm_uuid, code=exc.code)
