# SPDX-License-Identifier: GPL-3.0-or-later
"""Follows each customization to its end, whoever tells it: the guest's agent, its serial port, its drive, or the clock.

Also the broom: what a crash has left of a disc is taken away. A medium that is not one of our files is never touched.
"""

import asyncio
import datetime
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from openngt import effects
from openngt.errors import OpenNGTError

from ..hypervisors.base import HypervisorVm
from ..ports import SessionInfo
from ..store.audit import AuditEntry
from ..store.customizations import Customized
from .customization_plan import Fault, Outcome, ejected, fault_of, outcome_of, timed_out
from .customize import clear_disc, finish, put_back
from .iso_folder import vm_of_iso
from .links import Links
from .parts import Parts

__all__ = ["CustomizationWatch"]

log = structlog.get_logger(__name__)

ACTOR = "service"
FULL_LOOK_SECONDS = 20.0
"""How often the hypervisor is asked although no disc is out: a late insert, or a VM that has gone, shows only there."""
GONE_SECONDS = 60.0
"""A VM is missed for so long before it is forgotten: its description may just be written anew."""
AT_ONCE = 8
"""One VM that is slow to let go of its disc must not keep the others waiting."""


class CustomizationWatch:
    """`run` until cancelled, then `stop`; `start` once before the first task, so that it meets a clean house.

    `told_by_serial` and `told_by_agent` are the guests' words, on the event loop; they do not block.
    """

    def __init__(self, parts: Parts, links: Links, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._links = links
        self._clock = clock
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._looked: float | None = None
        self._missed: dict[str, float] = {}
        self._ends: set[asyncio.Task[None]] = set()
        links.on_record = self.told_by_serial
        links.on_status = self.told_by_agent

    async def start(self) -> None:
        """Put right what an earlier process left."""
        try:
            await self._parts.discs.sweep()
        except OpenNGTError as exc:
            log.warning("discs_not_swept", code=exc.code, message=exc.message)
        await self.settle_all()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._parts.settings.reconcile_seconds)
            await self.settle_all()

    async def stop(self) -> None:
        for end in self._ends:
            end.cancel()
        if self._ends:
            await asyncio.wait(self._ends)

    # The guests' words.

    def told_by_serial(self, vm_uuid: str, record: Mapping[str, Any]) -> None:
        """A record from the VM's own port. It counts with the nonce of the disc that this very VM was given (T7)."""
        row = self._parts.store.customizations.get(vm_uuid)
        if row is None or not _holds_nonce(record, row):
            return
        outcome = outcome_of(record, "serial")
        if outcome is not None and _awaits_a_word(row):
            self._begin(row, outcome)

    def told_by_agent(self, session: SessionInfo, status: Mapping[str, Any]) -> None:
        row = self._parts.store.customizations.get(session.vm_uuid)
        outcome = None if row is None or not _awaits_a_word(row) else _agents_word(row, session, status)
        if row is not None and outcome is not None:
            self._begin(row, outcome)

    def _begin(self, row: Customized, outcome: Outcome) -> None:
        """A guest that repeats itself finds its end begun already."""
        if any(end.get_name() == row.nonce_sha256 for end in self._ends):
            return
        end = asyncio.create_task(self._end(row, outcome), name=row.nonce_sha256)
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)

    async def _end(self, row: Customized, outcome: Outcome) -> None:
        async with self._parts.engine.exclusive(row.vm_uuid):
            now = self._parts.store.customizations.get(row.vm_uuid)
            if now is None or now.nonce_sha256 != row.nonce_sha256 or not _awaits_a_word(now):
                return  # another disc took its place meanwhile
            await self._finish(now, outcome)

    # The rounds.

    async def settle_all(self) -> set[str]:
        """One round; returns the VMs for which something was done. Whoever fails is tried again in the next round."""
        parts = self._parts
        try:
            files = await parts.discs.of_vms()
            vms = await self._hypervisor_vms(bool(files))
        except OpenNGTError as exc:
            log.warning("customizations_unseen", code=exc.code, message=exc.message)
            return set()
        if vms is None:
            return set()
        seen = {vm.vm_uuid: vm for vm in vms}
        gone = self._missing_for_long(seen)
        live = {row.vm_uuid: row for row in parts.store.customizations.all() if row.live}
        inserted = {vm_of_iso(parts.discs.folder, drive.holds) for vm in vms for drive in vm.drives}
        due = {vm_uuid for vm_uuid, row in live.items() if vm_uuid in seen and self._is_due(row, seen[vm_uuid])}
        leftovers = {vm_uuid for vm_uuid in {*files, *inserted} if vm_uuid is not None} - live.keys()
        suspects = sorted(vm_uuid for vm_uuid in due | leftovers | gone if not parts.engine.busy(vm_uuid))
        outcomes = await asyncio.gather(*(self._settle(vm_uuid, vm_uuid in gone) for vm_uuid in suspects))
        return {vm_uuid for vm_uuid, settled in zip(suspects, outcomes, strict=True) if settled}

    def _is_due(self, row: Customized, seen: HypervisorVm) -> bool:
        return self._outcome_by_agent(row) is not None or self._fault(row, seen) is not None

    def _outcome_by_agent(self, row: Customized) -> Outcome | None:
        """What it has said before, perhaps while the disk was full or the service away."""
        view = self._links.view(row.vm_uuid)
        if row.phase != "inserted" or view.session is None:
            return None
        return _agents_word(row, view.session, view.row.status or {})

    def _fault(self, row: Customized, seen: HypervisorVm) -> Fault | None:
        return fault_of(row, seen, self._parts.discs.path(row.vm_uuid), effects.now())

    async def _hypervisor_vms(self, needed: bool) -> list[HypervisorVm] | None:
        """None where there is no need to ask."""
        now = self._clock()
        needed |= any(row.live for row in self._parts.store.customizations.all())
        if not needed and self._looked is not None and now - self._looked < FULL_LOOK_SECONDS:
            return None
        vms = await self._parts.hypervisor.list_vms()
        self._looked = now
        return vms

    def _missing_for_long(self, seen: Mapping[str, HypervisorVm]) -> set[str]:
        now = self._clock()
        missing = {row.vm_uuid for row in self._parts.store.customizations.all()} - seen.keys()
        self._missed = {vm_uuid: self._missed.get(vm_uuid, now) for vm_uuid in missing}
        return {vm_uuid for vm_uuid, since in self._missed.items() if now - since >= GONE_SECONDS}

    async def _settle(self, vm_uuid: str, gone: bool) -> bool:
        async with self._parts.engine.exclusive(vm_uuid), self._slots:
            try:
                return await self._settle_alone(vm_uuid, gone)
            except OpenNGTError as exc:
                log.warning("customization_not_settled", vm_uuid=vm_uuid, code=exc.code, message=exc.message)
                return False

    async def _settle_alone(self, vm_uuid: str, gone: bool) -> bool:
        """Looked up afresh, while nobody else works on the VM."""
        parts = self._parts
        row = parts.store.customizations.get(vm_uuid)
        found = await parts.hypervisor.find(vm_uuid)
        if row is None or not row.live:
            if gone and row is not None and not found:
                await self._forget(row, "vm_gone")
                return True
            return await self._sweep(vm_uuid, found)
        if not found:
            if gone:
                await self._forget(row, "vm_gone")
            return gone
        return await self._go_on(row, found[0])

    async def _go_on(self, row: Customized, seen: HypervisorVm) -> bool:
        outcome = self._outcome_by_agent(row)
        if outcome is not None:
            return await self._finish(row, outcome)
        fault = self._fault(row, seen)
        if fault == "unfinished":
            await self._forget(row, fault)
        elif fault == "begun":
            started = effects.now()
            deadline = started + datetime.timedelta(seconds=row.wait_seconds)
            begun = replace(row, state="running", started_at=started, deadline=deadline)
            await self._parts.store.customizations.put(begun)
            if begun.drive is None:
                await put_back(self._parts, begun, seen)
        elif fault == "disc_lost":
            await put_back(self._parts, row, seen)
            log.info("customization_disc_put_back", vm_uuid=row.vm_uuid)
        elif fault in ("ejected", "timed_out"):
            return await self._finish(row, ejected() if fault == "ejected" else timed_out(row))
        elif fault == "ending":
            await clear_disc(self._parts, row.vm_uuid)
            await self._parts.store.customizations.put(replace(row, phase="clean"))
        return fault is not None

    async def _finish(self, row: Customized, outcome: Outcome) -> bool:
        """The end is told even where the disc cannot be taken away now: `ending`, for the next round."""
        log.info("customization_ended", vm_uuid=row.vm_uuid, state=outcome.state, told_by=outcome.details["told_by"])
        try:
            await finish(self._parts, row, outcome)
        except OpenNGTError as exc:
            log.warning("customization_disc_left", vm_uuid=row.vm_uuid, code=exc.code, message=exc.message)
        return True

    async def _forget(self, row: Customized, why: str) -> None:
        """Of a VM that has gone, or of a task that was cut short, nothing is kept."""
        await clear_disc(self._parts, row.vm_uuid)
        entry = AuditEntry(ACTOR, "vm.customize.withdraw", row.vm_uuid, details={"state": row.state, "why": why})
        await self._parts.store.customizations.remove(row.vm_uuid, entry)
        log.info("customization_forgotten", vm_uuid=row.vm_uuid, why=why)

    async def _sweep(self, vm_uuid: str, found: list[HypervisorVm]) -> bool:
        """A disc that belongs to no customization. Nobody knows what a VM holds that does not answer."""
        if any(vm.power_state == "unknown" for vm in found):
            return False
        cleared = await clear_disc(self._parts, vm_uuid)
        if cleared:
            log.info("customization_disc_swept", vm_uuid=vm_uuid)
        return cleared


def _awaits_a_word(row: Customized) -> bool:
    """A guest that was slow says its end after its time was up: then that is how it has ended."""
    return row.phase == "inserted" or (row.phase == "clean" and row.state == "timed_out")


def _agents_word(row: Customized, session: SessionInfo, status: Mapping[str, Any]) -> Outcome | None:
    report = status.get("customization")
    if not isinstance(report, dict) or report.get("instance_id") != row.instance_id:
        return None
    if row.boot_id is not None and row.boot_id in (session.boot_id, status.get("boot_id")):
        return None  # of the boot that was before the disc
    return outcome_of(report, "agent")


def _holds_nonce(record: Mapping[str, Any], row: Customized) -> bool:
    nonce = record.get("nonce")
    if not isinstance(nonce, str):
        return False
    digest = hashlib.sha256(nonce.encode("utf-8", "replace")).hexdigest()
    return hmac.compare_digest(digest, row.nonce_sha256)
