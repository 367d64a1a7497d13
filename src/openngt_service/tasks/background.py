# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts and stops everything that works without being asked."""

import asyncio
from collections.abc import Coroutine

import structlog

from openngt.errors import OpenNGTError

from .announce import Announcer
from .clones import Clones
from .customization_watch import CustomizationWatch
from .links import Links
from .operations import Operations
from .parts import Parts
from .reconcile import Reconciler
from .recover import Recovery
from .rotate import Rotation

__all__ = ["Background"]

log = structlog.get_logger(__name__)


class Background:
    """Built after store and gateway (whose `events` are `links`); started before the gateway listens, stopped after."""

    def __init__(self, parts: Parts, links: Links) -> None:
        self.announcer = Announcer(parts, links)
        self.recovery = Recovery(parts, links)
        self.clones = Clones(parts, links, self.recovery)
        self.operations = Operations(parts, links, self.announcer, self.clones)
        self.identity_news = asyncio.Event()
        """Set when a clone was found, an identity seen in two hands, or a recovery begins or ends."""
        links.on_refused = self.recovery.refused
        links.on_sighting = self.recovery.told = self.clones.told = self.identity_news.set
        self._parts = parts
        self._links = links
        self.rotation = Rotation(parts, links)
        self.reconciler = Reconciler(parts)
        self.customization_watch = CustomizationWatch(parts, links)
        self._loops: list[asyncio.Task[None]] = []
        parts.store.ledger.on_revoked(lambda vm_uuid, serials: self._cut(vm_uuid))

    @property
    def alive(self) -> bool:
        """Whether every loop runs; for readiness."""
        return bool(self._loops) and not any(loop.done() for loop in self._loops)

    async def start(self) -> None:
        """Put right what an earlier process left, then begin."""
        await self._links.load()
        interrupted = await self._parts.engine.start()
        settled = await self.reconciler.settle_all()
        await self.customization_watch.start()
        resumed = await self.operations.fleets.resume()
        log.info(
            "background_started", tasks_interrupted=interrupted, tasks_resumed=resumed, mounts_settled=len(settled)
        )
        self._begin("links", self._links.run())
        self._begin("reconciler", self.reconciler.run(self._retry))
        self._begin("customizations", self.customization_watch.run())
        self._begin("recovery", self.recovery.run())
        self._begin("clones", self.clones.run())

    async def stop(self) -> None:
        """Interrupt tasks and loops, write down what is known of the links."""
        for loop in self._loops:
            loop.cancel()
        if self._loops:
            await asyncio.wait(self._loops)
        self._loops.clear()
        await self.rotation.stop()
        await self.recovery.stop()
        await self.customization_watch.stop()
        await self.announcer.stop()
        await self._parts.engine.stop()
        try:
            await self._links.flush()
        except OpenNGTError as exc:
            log.warning("links_not_written", code=exc.code)

    def _begin(self, name: str, work: Coroutine[None, None, None]) -> None:
        loop = asyncio.create_task(work, name=name)
        loop.add_done_callback(_report)
        self._loops.append(loop)

    def _retry(self) -> None:
        self.rotation.retry()
        self.announcer.retry()

    def _cut(self, vm_uuid: str) -> None:
        self._parts.gateway.cut(vm_uuid, "revoked")


def _report(loop: asyncio.Task[None]) -> None:
    if not loop.cancelled():
        log.error("background_loop_ended", loop=loop.get_name(), exc_info=loop.exception())
