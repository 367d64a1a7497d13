# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is connected: live in memory, written down when something changed, never for a heartbeat."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import structlog

from openngt import effects
from openngt.errors import OpenNGTError

from ..ports import Refusal, SessionInfo
from ..store.link_rows import LinkRow, LinkRows
from ..store.registry import Registry
from ..store.sightings import Sighting, SightingKind, Sightings

__all__ = ["Ended", "LinkView", "Links", "Stranger"]

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.0
STRANGERS = 200


@dataclass(frozen=True)
class Ended:
    reason: str
    at: datetime


@dataclass(frozen=True)
class Stranger:
    """A connection that was refused before anybody could tell whose it was."""

    reason: Refusal
    peer: str
    at: datetime


@dataclass(frozen=True)
class LinkView:
    """What is known of a VM's link now. `session` is None while it is down; the rest is what was seen last."""

    row: LinkRow
    session: SessionInfo | None = None
    disc_mounted: bool | None = None
    capabilities: dict[str, bool] | None = None
    """What the connected agent has taken; None while it is down."""
    clock_offset_seconds: float | None = None
    """By how much the guest's clock is ahead of this host's; None until it tells its time."""
    ended: Ended | None = None
    """How the last session of this process's life ended."""

    @property
    def active(self) -> bool:
        return self.session is not None


class Beat(NamedTuple):
    """The newest heartbeat of a live session."""

    at: datetime
    disc_mounted: bool | None


class Links:
    """Implements `ports.GatewayEvents`. `load` once before use; `run` writes changes until it is cancelled.

    `on_bootstrap` is called when an agent has connected with the certificate of its ISO, `on_disc` for each heartbeat
    that says whether the guest has its tools disc mounted, `on_refused` for each VM whose agent was refused (or put in
    quarantine: `used_twice`), `on_sighting` when an identity was seen in two hands, `on_status` for each status record,
    `on_record` for each record that came over a VM's own port without an agent. All on the event loop; they must not
    block.
    """

    def __init__(self, rows: LinkRows, registry: Registry, sightings: Sightings) -> None:
        self._rows = rows
        self._registry = registry
        self._sightings = sightings
        self._views: dict[str, LinkView] = {}
        # Apart from the views: a heartbeat comes often, and to write it into one would copy two records each time.
        self._beats: dict[str, Beat] = {}
        self._dirty: set[str] = set()
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.strangers: deque[Stranger] = deque(maxlen=STRANGERS)
        """The latest ones; in memory only."""
        self.on_bootstrap: Callable[[SessionInfo], None] = lambda session: None
        self.on_disc: Callable[[SessionInfo, bool], None] = lambda session, mounted: None
        self.on_refused: Callable[[str, str], None] = lambda vm_uuid, reason: None
        self.on_sighting: Callable[[], None] = lambda: None
        self.on_status: Callable[[SessionInfo, Mapping[str, Any]], None] = lambda session, status: None
        self.on_record: Callable[[str, Mapping[str, Any]], None] = lambda vm_uuid, record: None

    async def load(self) -> None:
        """Read what was last known; nobody is connected yet."""
        self._views = {row.vm_uuid: LinkView(row) for row in await self._rows.load()}

    def view(self, vm_uuid: str) -> LinkView:
        view = self._views.get(vm_uuid) or LinkView(LinkRow(vm_uuid))
        beat = self._beats.get(vm_uuid)
        if beat is None:
            return view
        return replace(view, row=replace(view.row, last_seen=beat.at), disc_mounted=beat.disc_mounted)

    async def until(self, vm_uuid: str, wanted: Callable[[SessionInfo], bool], seconds: float) -> SessionInfo | None:
        """The VM's session as soon as it is one that is `wanted`; None when there is none within `seconds`."""
        news = asyncio.Event()
        self._waiting.setdefault(vm_uuid, set()).add(news)
        try:
            async with asyncio.timeout(seconds):
                while True:
                    session = self.view(vm_uuid).session
                    if session is not None and wanted(session):
                        return session
                    await news.wait()
                    news.clear()
        except TimeoutError:
            return None
        finally:
            self._waiting[vm_uuid].discard(news)
            if not self._waiting[vm_uuid]:
                del self._waiting[vm_uuid]

    def sessions(self) -> Iterable[SessionInfo]:
        """Every live session."""
        return [view.session for view in self._views.values() if view.session is not None]

    async def link_up(self, session: SessionInfo, status: dict[str, Any]) -> dict[str, bool]:
        row = replace(
            self.view(session.vm_uuid).row,
            agent_version=session.agent_version,
            status=status,
            since=session.since,
            peer=session.peer,
            last_seen=effects.now(),
        )
        self._beats.pop(session.vm_uuid, None)
        vm = self._registry.get(session.vm_uuid)
        capabilities = {} if vm is None else vm.capabilities.to_dict()
        self._change(LinkView(row, session, capabilities=capabilities))
        if session.kind == "bootstrap":
            self.on_bootstrap(session)
        self.on_status(session, status)
        return capabilities

    def took_capabilities(self, session: SessionInfo, capabilities: dict[str, bool]) -> None:
        """The agent has answered that it lives with these now."""
        view = self.view(session.vm_uuid)
        if view.session is not None and view.session.session == session.session:
            self._views[session.vm_uuid] = replace(view, capabilities=capabilities)

    async def link_down(self, session: SessionInfo, reason: str) -> None:
        view = self.view(session.vm_uuid)
        if view.session is not None and view.session.session == session.session:  # else a newer session took over
            self._beats.pop(session.vm_uuid, None)
            self._change(LinkView(view.row, ended=Ended(reason, effects.now())))

    async def status(self, session: SessionInfo, status: dict[str, Any]) -> None:
        view = self.view(session.vm_uuid)
        if status != view.row.status:
            self._change(replace(view, row=replace(view.row, status=status)))
            self.on_status(session, status)

    def heartbeat(self, session: SessionInfo, disc_mounted: bool | None) -> None:
        self._beats[session.vm_uuid] = Beat(effects.now(), disc_mounted)
        if disc_mounted is not None:
            self.on_disc(session, disc_mounted)

    def clock(self, session: SessionInfo, offset_seconds: float) -> None:
        view = self.view(session.vm_uuid)
        if view.session is not None and view.session.session == session.session:
            self._views[session.vm_uuid] = replace(view, clock_offset_seconds=offset_seconds)

    def used_twice(self, older: SessionInfo, newer: SessionInfo) -> None:
        self._sight("second_machine", newer.vm_uuid, newer.serial, newer.peer, older.peer)
        self.on_refused(newer.vm_uuid, "used_twice")

    def foreign(self, vm_uuid: str, certificate_vm_uuid: str, serial: int, peer: str) -> None:
        self._sight("foreign_port", vm_uuid, serial, peer, certificate_vm_uuid)

    def recorded(self, vm_uuid: str, record: Mapping[str, Any]) -> None:
        self.on_record(vm_uuid, record)

    def claimed(self, vm_uuid: str, generation: int, peer: str) -> None:
        """It stays refused (T21): what is learned is that the VM's next identity has to be newer than that."""
        if self._registry.get(vm_uuid) is None:
            return
        if self._registry.learn_generation(vm_uuid, generation):
            log.info("generation_learned", vm_uuid=vm_uuid, generation=generation, peer=peer)
        self._note_refusal(vm_uuid, "unknown_serial")

    def refused(self, reason: Refusal, peer: str, vm_uuid: str | None, serial: int | None) -> None:
        if vm_uuid is None or self._registry.known(vm_uuid) is None:
            self.strangers.append(Stranger(reason, peer, effects.now()))  # there is no row that it belongs to
            return
        view = self.view(vm_uuid)
        if reason == "retired" and serial is not None and view.session is not None:
            self._sight("retired_serial", vm_uuid, serial, peer, view.session.peer)
        self._note_refusal(vm_uuid, reason)

    async def flush(self) -> None:
        """Write what has changed since the last time."""
        dirty, self._dirty = self._dirty, set()
        try:
            await self._rows.save([self.view(vm_uuid).row for vm_uuid in sorted(dirty)])
        except OpenNGTError:
            self._dirty |= dirty
            raise
        if self._sightings.unwritten:
            await self._sightings.flush(effects.now())

    async def run(self) -> None:
        """Flush each second until cancelled. A full disk is waited out: the agents stay connected meanwhile (F8)."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            if self._dirty or self._sightings.unwritten:
                try:
                    await self.flush()
                except OpenNGTError as exc:
                    log.warning("links_not_written", code=exc.code, vms=len(self._dirty))

    def _sight(self, kind: SightingKind, vm_uuid: str, serial: int, peer: str, other_peer: str) -> None:
        now = effects.now()
        self._sightings.note(Sighting(vm_uuid, kind, f"{serial:x}", peer, other_peer, now, now))
        self.on_sighting()

    def _note_refusal(self, vm_uuid: str, reason: Refusal) -> None:
        view = self.view(vm_uuid)
        self._change(replace(view, row=replace(view.row, refusal_reason=reason, refusal_at=effects.now())))
        self.on_refused(vm_uuid, reason)

    def _change(self, view: LinkView) -> None:
        self._views[view.row.vm_uuid] = view
        self._dirty.add(view.row.vm_uuid)
        for news in self._waiting.get(view.row.vm_uuid, ()):
            news.set()
