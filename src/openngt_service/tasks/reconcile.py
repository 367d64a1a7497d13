# SPDX-License-Identifier: GPL-3.0-or-later
"""Make files, drives and rows agree again, whoever was killed, answered late or pressed the eject button.

Looks at everything, suspects, and settles each suspect alone, having looked again: what a task does meanwhile is not
undone. A medium that is not one of our files is never touched.
"""

import asyncio
import datetime
import time
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from pathlib import Path

import structlog

from openngt import effects
from openngt.errors import OpenNGTError

from ..hypervisors.base import HypervisorVm
from ..store.mounts import Mount
from .eject import clear
from .iso_folder import vm_of_iso
from .parts import Parts

__all__ = ["Picture", "Reconciler", "fault_of", "known_of"]

log = structlog.get_logger(__name__)

ACTOR = "reconciler"
FULL_LOOK_SECONDS = 20.0
"""How often the hypervisor is asked although nothing is mounted: a late insert shows up only there."""
FORGET_SECONDS = 3600.0
AT_ONCE = 8
"""One VM that is slow to let go of its disc must not keep the others waiting."""


@dataclass(frozen=True)
class Picture:
    """What there is of one VM's mount, wherever it stands written."""

    held: Mount | None
    enrolled: bool
    has_file: bool
    seen: HypervisorVm | None
    iso: Path


def fault_of(picture: Picture, now: datetime.datetime) -> str | None:
    """Why the VM's mount has to be ended, in a word; None when all is as it should be. Pure."""
    held, seen = picture.held, picture.seen
    if seen is not None and seen.power_state == "unknown":
        return None  # nobody knows what its drives hold: no answer is not an empty drive
    ours = [drive for drive in seen.drives if drive.holds == str(picture.iso)] if seen is not None else []
    if held is None:
        return "orphan" if ours or picture.has_file else None
    if held.phase != "mounted":
        return "unfinished"
    if not picture.enrolled:
        return "not_enrolled"
    if seen is None:
        return "vm_gone"
    if not any(drive.name == held.drive for drive in ours):
        return "ejected_by_hand"
    if any(drive.state == "tray_open" for drive in ours):
        return "tray_open"
    return "lease_ended" if held.lease_ends <= now else None


def known_of(mounts: Iterable[Mount], files: Iterable[str], vms: Iterable[HypervisorVm], folder: Path) -> set[str]:
    """The VMs with a mount, an ISO file, or one of our files in a drive. Pure."""
    inserted = {vm_of_iso(folder, drive.holds) for vm in vms for drive in vm.drives}
    return {mount.vm_uuid for mount in mounts} | set(files) | {vm_uuid for vm_uuid in inserted if vm_uuid is not None}


class Reconciler:
    """`run` until cancelled; `settle_all` once before the first task, so that it meets a clean house."""

    def __init__(self, parts: Parts, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._clock = clock
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._looked: float | None = None
        self._forgot: float | None = None

    async def run(self, each_time: Callable[[], None] = lambda: None) -> None:
        """Settle every few seconds. `each_time` is called after each round."""
        while True:
            await self.settle_all()
            each_time()
            try:
                await self._forget_old_tasks()
            except OpenNGTError as exc:
                log.warning("tasks_not_forgotten", code=exc.code)
            await asyncio.sleep(self._parts.settings.reconcile_seconds)

    async def settle_all(self) -> set[str]:
        """One round; returns the VMs whose mount was ended. Whoever fails is tried again in the next round."""
        parts = self._parts
        try:
            await parts.media.sweep()
            files = await parts.media.of_vms()
            vms = await self._hypervisor_vms(bool(files or parts.store.mounts.all()))
        except OpenNGTError as exc:
            log.warning("reconcile_blind", code=exc.code, message=exc.message)
            return set()
        seen = {vm.vm_uuid: vm for vm in vms}
        idle = [
            vm_uuid
            for vm_uuid in sorted(known_of(parts.store.mounts.all(), files, vms, parts.media.folder))
            if not parts.engine.busy(vm_uuid)
            and fault_of(self._picture(vm_uuid, files, seen.get(vm_uuid)), effects.now()) is not None
        ]
        outcomes = await asyncio.gather(*(self._settle(vm_uuid) for vm_uuid in idle))
        return {vm_uuid for vm_uuid, settled in zip(idle, outcomes, strict=True) if settled}

    async def _hypervisor_vms(self, needed: bool) -> list[HypervisorVm]:
        now = self._clock()
        if not needed and self._looked is not None and now - self._looked < FULL_LOOK_SECONDS:
            return []
        vms = await self._parts.hypervisor.list_vms()
        self._looked = now
        return vms

    async def _settle(self, vm_uuid: str) -> bool:
        parts = self._parts
        async with parts.engine.exclusive(vm_uuid), self._slots:
            try:
                fault = await self._fault(vm_uuid)
                if fault is None:
                    return False
                held = parts.store.mounts.get(vm_uuid)
                unused = held is not None and held.phase == "preparing"
                log.info("mount_settled", vm_uuid=vm_uuid, fault=fault)
                return await clear(parts, vm_uuid, actor=ACTOR, force=True, unused=unused)
            except OpenNGTError as exc:
                log.warning("mount_not_settled", vm_uuid=vm_uuid, code=exc.code, message=exc.message)
                return False

    async def _fault(self, vm_uuid: str) -> str | None:
        """Looked up afresh, while nobody else works on the VM."""
        found = await self._parts.hypervisor.find(vm_uuid)
        files = await self._parts.media.of_vms()
        return fault_of(self._picture(vm_uuid, files, found[0] if found else None), effects.now())

    def _picture(self, vm_uuid: str, files: Set[str], seen: HypervisorVm | None) -> Picture:
        store, media = self._parts.store, self._parts.media
        return Picture(
            held=store.mounts.get(vm_uuid),
            enrolled=store.registry.get(vm_uuid) is not None,
            has_file=vm_uuid in files,
            seen=seen,
            iso=media.path(vm_uuid),
        )

    async def _forget_old_tasks(self) -> None:
        now = self._clock()
        if self._forgot is None or now - self._forgot >= FORGET_SECONDS:
            self._forgot = now
            await self._parts.store.tasks.forget_old(effects.now())
