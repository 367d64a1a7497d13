# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a VM's ISO out of its drive and delete the file. Each step can be repeated: that is the answer to a crash."""

import contextlib
import datetime
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import structlog

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.failpoints import failpoint

from ..store.audit import AuditEntry
from ..store.mounts import Mount
from .engine import Progress
from .hypervisor import require_known
from .parts import Parts

__all__ = ["EjectRequest", "clear", "eject", "end_own_mount", "require_holder", "vm_busy"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class EjectRequest:
    vm_uuid: str
    holder: str
    force: bool = False
    """Whatever its holder, and without the guest's consent."""


async def eject(parts: Parts, request: EjectRequest, actor: str, progress: Progress) -> dict[str, Any]:
    """The work of an eject task; its result as in ARCHITECTURE.md section 6."""
    await progress.step(10, "looking at the mount")
    require_holder(parts.store.mounts.get(request.vm_uuid), request, effects.now())
    await progress.step(20, "taking the ISO out")
    return {"ejected": await clear(parts, request.vm_uuid, actor=actor, force=request.force)}


def require_holder(held: Mount | None, request: EjectRequest, now: datetime.datetime) -> None:
    """VM_BUSY unless the mount is the caller's own, its lease is over, or `force`."""
    if held is None or request.force or held.phase != "mounted":
        return
    if held.holder != request.holder and held.lease_ends > now:
        raise vm_busy(held)


def vm_busy(held: Mount) -> OpenNGTError:
    return OpenNGTError(
        "VM_BUSY",
        f"{held.holder} has the VM's ISO in {held.drive} until {held.lease_ends:%H:%M:%S} UTC",
        {"holder": held.holder, "lease_ends": held.lease_ends.isoformat()},
    )


async def clear(parts: Parts, vm_uuid: str, *, actor: str, force: bool, unused: bool = False) -> bool:
    """End a VM's mount: drive, file, row, in this order. The caller has the VM's turn.

    True when there was something to end. With `unused` the mount was never completed, and its serial is retired;
    otherwise the guest may have read the disc and be about to connect. On an error the mount is again what it was.
    """
    held = parts.store.mounts.get(vm_uuid)
    if held is not None and held.phase == "mounted":
        await parts.store.mounts.put(replace(held, phase="ejecting"))
        failpoint("tasks.eject.marked")
    async with _restored(parts, held):
        ejected = await _empty_drives(parts, vm_uuid, force=force)
    failpoint("tasks.eject.ejected")
    deleted = await parts.media.remove(vm_uuid)
    failpoint("tasks.eject.deleted")
    if unused and held is not None and held.serial is not None:
        await parts.store.ledger.retire(int(held.serial, 16), actor=actor)
    if held is None and not ejected and not deleted:
        return False
    details = {"drive": held.drive, "holder": held.holder} if held else {}
    await parts.store.mounts.remove(vm_uuid, AuditEntry(actor, "vm.eject", vm_uuid, details=details))
    failpoint("tasks.eject.persisted")
    return True


async def end_own_mount(parts: Parts, vm_uuid: str, holder: str, *, actor: str) -> str | None:
    """End the mount of the service's own work, whatever became of that: code of what prevents it; the reconciler then
    does it.

    The serial stays: the agent may have read the disc this moment.
    """
    held = parts.store.mounts.get(vm_uuid)
    if held is None or held.holder != holder:
        return None
    try:
        try:
            await clear(parts, vm_uuid, actor=actor, force=False)
        except OpenNGTError as exc:
            if exc.code != "DRIVE_LOCKED":
                raise
            await clear(parts, vm_uuid, actor=actor, force=True)  # nobody in the guest works from this disc
        failpoint("tasks.refresh.ejected")
    except OpenNGTError as exc:
        log.warning("disc_left", vm_uuid=vm_uuid, code=exc.code, message=exc.message)
        await parts.store.mounts.put(replace(held, lease_ends=effects.now()))
        return exc.code
    return None


@contextlib.asynccontextmanager
async def _restored(parts: Parts, held: Mount | None) -> AsyncIterator[None]:
    try:
        yield
    except OpenNGTError:
        if held is not None:
            await parts.store.mounts.put(held)
        raise


async def _empty_drives(parts: Parts, vm_uuid: str, *, force: bool) -> bool:
    """Only drives that hold this VM's own ISO are touched; a VM that is gone has none. HYPERVISOR_FAILED for one that
    does not tell what it holds.
    """
    iso = parts.media.path(vm_uuid)
    ejected = False
    for vm in await parts.hypervisor.find(vm_uuid):
        require_known(vm)
        for drive in vm.drives:
            if drive.holds == str(iso):
                ejected |= await parts.hypervisor.eject(vm_uuid, drive.name, iso, force=force)
    return ejected
