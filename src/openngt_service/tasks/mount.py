# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a VM's own ISO into one of its CD-ROM drives: validate, plan, apply.

The row is written before the drive is touched, so that whatever a crash leaves is known to be ours (F3). Nothing that a
user has put into a drive is ever taken out.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import structlog

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.failpoints import failpoint
from openngt.iso.manifest import Upgrade

from ..hypervisors.base import Drive, HypervisorVm, no_empty_drive
from ..store.audit import AuditEntry
from ..store.ledger import IssueRequest
from ..store.mounts import Mount
from ..store.registry import Vm
from .eject import clear, vm_busy
from .engine import Progress
from .hypervisor import require_known
from .parts import Parts

__all__ = ["MountPlan", "MountRequest", "mount", "plan_mount", "require_free"]

log = structlog.get_logger(__name__)

GOOD_FOR = datetime.timedelta(minutes=10)
"""An ISO whose certificate ends sooner is not handed out again."""


@dataclass(frozen=True)
class MountRequest:
    vm_uuid: str
    holder: str
    lease: datetime.timedelta
    config_only: bool = False
    holder_is_dead: str | None = None
    """The holder that the caller knows to be dead: its mount is taken over."""
    validity_days: int | None = None
    """Life of the certificate that follows the disc's, when it is not the settings'."""
    upgrade: Upgrade | None = None
    """The running agent shall change over to the one on the disc."""


@dataclass(frozen=True)
class MountPlan:
    """`keep` hands out what is there; `replace` takes our own earlier ISO out first; `insert` finds an empty drive."""

    action: Literal["keep", "replace", "insert"]
    drive: str


async def mount(parts: Parts, request: MountRequest, actor: str, progress: Progress) -> dict[str, Any]:
    """The work of a mount task; its result as in ARCHITECTURE.md section 6."""
    await progress.step(5, "looking at the VM")
    vm = parts.enrolled(request.vm_uuid)
    parts.engine.require_unclaimed(vm.vm_uuid)
    seen = await parts.hypervisor.one(request.vm_uuid)
    now = effects.now().replace(microsecond=0)  # certificates count in seconds
    held = parts.store.mounts.get(vm.vm_uuid)
    require_free(held, request, now)
    require_running(seen)
    iso = str(parts.media.path(vm.vm_uuid))
    plan = plan_mount(seen.drives, iso, held, request, usable=_usable(parts, held, now))
    if plan.action == "keep":
        assert held is not None, "only what is held can be kept"
        return _result(parts, await _extend(parts, held, request, now, actor))
    if plan.action == "replace":
        await progress.step(10, "taking the VM's earlier ISO out")
        await clear(parts, vm.vm_uuid, actor=actor, force=True)
    draft = Mount(
        vm.vm_uuid,
        "preparing",
        plan.drive,
        request.config_only,
        request.holder,
        now,
        now + request.lease,
        validity_days=request.validity_days,
    )
    await parts.store.mounts.put(draft)
    failpoint("tasks.mount.reserved")
    try:
        return _result(parts, await _apply(parts, vm, draft, request.upgrade, actor, progress))
    except OpenNGTError:
        await _undo(parts, vm.vm_uuid)
        raise


def require_free(held: Mount | None, request: MountRequest, now: datetime.datetime) -> None:
    """VM_BUSY unless the mount is the caller's own, its lease is over, or its holder is known to be dead."""
    if held is None or held.phase != "mounted":
        return  # what is not `mounted` and has no task at work was left by a crash
    if held.holder not in (request.holder, request.holder_is_dead) and held.lease_ends > now:
        raise vm_busy(held)


def require_running(seen: HypervisorVm) -> None:
    require_known(seen)
    if seen.power_state != "on":
        raise OpenNGTError(
            "VM_POWERED_OFF",
            f"VM {seen.vm_name} is {seen.power_state}; the disc would be read by nobody",
            {"power_state": seen.power_state},
        )


def plan_mount(
    drives: Sequence[Drive], iso: str, held: Mount | None, request: MountRequest, *, usable: bool
) -> MountPlan:
    """Which drive, and what to do with it. Pure.

    `usable`: the certificate on the VM's present ISO still opens the door. NO_EMPTY_DRIVE lists what each drive holds.
    """
    ours = [drive for drive in drives if drive.holds == iso]
    if ours:
        return MountPlan("keep" if usable and _same(held, ours[0], request) else "replace", ours[0].name)
    empty = [drive for drive in drives if drive.state == "empty"]
    if empty:
        return MountPlan("insert" if held is None else "replace", empty[0].name)
    raise no_empty_drive(drives)


def _same(held: Mount | None, drive: Drive, request: MountRequest) -> bool:
    return (
        held is not None
        and (held.phase, held.drive, held.config_only) == ("mounted", drive.name, request.config_only)
        and drive.state == "loaded"
    )


def _usable(parts: Parts, held: Mount | None, now: datetime.datetime) -> bool:
    if held is None or held.serial is None or held.expires is None:
        return False
    entry = parts.store.ledger.entry(int(held.serial, 16))
    return entry is not None and entry.state in ("next", "current") and held.expires - now > GOOD_FOR


async def _extend(parts: Parts, held: Mount, request: MountRequest, now: datetime.datetime, actor: str) -> Mount:
    """The same ISO again, for the same holder or for one that takes over."""
    kept = replace(held, holder=request.holder, lease_ends=max(held.lease_ends, now + request.lease))
    if kept.holder != held.holder:
        entry = AuditEntry(actor, "vm.mount.take_over", held.vm_uuid, details={"from": held.holder, "to": kept.holder})
        await parts.store.mounts.put(kept, entry)
    else:
        await parts.store.mounts.put(kept)
    return kept


async def _apply(parts: Parts, vm: Vm, draft: Mount, upgrade: Upgrade | None, actor: str, progress: Progress) -> Mount:
    await progress.step(20, "issuing the certificate and writing the ISO")
    prepared = await _author(parts, vm, draft, upgrade, actor)
    failpoint("tasks.mount.authored")
    await progress.step(60, f"inserting the ISO into {draft.drive}")
    await parts.hypervisor.insert(vm.vm_uuid, draft.drive, parts.media.path(vm.vm_uuid))
    failpoint("tasks.mount.inserted")
    mounted = replace(prepared, phase="mounted")
    details = {"drive": mounted.drive, "generation": mounted.generation, "holder": mounted.holder}
    await parts.store.mounts.put(mounted, AuditEntry(actor, "vm.mount", vm.vm_uuid, details=details))
    failpoint("tasks.mount.persisted")
    return mounted


async def _author(parts: Parts, vm: Vm, draft: Mount, upgrade: Upgrade | None, actor: str) -> Mount:
    """Manifest, the certificate that vouches for it, the file; what was issued is noted in the mount's row."""
    generation, now = parts.store.registry.reserve_generation(vm.vm_uuid), draft.since
    life = parts.lifetime("bootstrap", now, draft.validity_days)
    iso = await parts.media.prepare(
        vm, generation=generation, created=now, expires=now + life, config_only=draft.config_only, upgrade=upgrade
    )
    request = IssueRequest(
        vm.vm_uuid, "bootstrap", life, generation, ngt_uuid=vm.ngt_uuid, manifest_sha256=iso.manifest_sha256
    )
    [issued] = await parts.store.ledger.issue([request], actor=actor, now=now)
    entry = issued.entry
    prepared = replace(draft, generation=generation, serial=entry.serial_hex, expires=entry.not_after)
    await parts.store.mounts.put(prepared)
    failpoint("tasks.mount.recorded")
    # Behind the certificate what vouches for its CA: an agent may have slept while one CA followed another.
    vouching_pem = parts.store.ledger.succession.vouching_pem
    await parts.media.write(iso, issued.certificate.client_pem + vouching_pem)
    return prepared


async def _undo(parts: Parts, vm_uuid: str) -> None:
    """Leave nothing of a mount that failed. What cannot be undone now stays `preparing`, for the reconciler."""
    try:
        await clear(parts, vm_uuid, actor="service", force=True, unused=True)
    except OpenNGTError as exc:
        log.warning("mount_not_undone", vm_uuid=vm_uuid, code=exc.code, message=exc.message)


def _result(parts: Parts, mounted: Mount) -> dict[str, Any]:
    return {
        "drive": mounted.drive,
        "generation": mounted.generation,
        "serial": mounted.serial,
        "ca_sha256": parts.media.cluster.ca_sha256,
        "expires": None if mounted.expires is None else mounted.expires.isoformat().replace("+00:00", "Z"),
    }
