# SPDX-License-Identifier: GPL-3.0-or-later
"""Put a VM's customization disc into a drive, and take it away again. Each step can be repeated after a crash.

The row is written before the drive is touched, so that whatever a crash leaves is known to be ours (F3). Nothing that a
user has put into a drive is ever taken out. What the disc holds is known to this process alone, and to the disc.
"""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, replace
from typing import Any

import structlog

from openngt import effects
from openngt.customization.media import build
from openngt.customization.model import Customization, MediaVm
from openngt.customization.network_config import macs_wanted
from openngt.customization.reporter import reporter
from openngt.customization.wanted_network import wanted_network
from openngt.errors import OpenNGTError
from openngt.failpoints import failpoint

from ..hypervisors.base import HypervisorVm, no_empty_drive
from ..store.audit import AuditEntry
from ..store.customizations import Customized
from .customization_plan import Decision, Outcome, Wanted, decide, digest_of, missing_cards
from .engine import Progress
from .hypervisor import require_known
from .links import Links
from .parts import Parts
from .switching import switch

__all__ = ["CustomizeRequest", "clear_disc", "customize", "finish", "planned", "put_back", "wanted", "withdraw"]

log = structlog.get_logger(__name__)

NONCE_BYTES = 16


@dataclass(frozen=True)
class CustomizeRequest:
    vm_uuid: str
    customization: Customization
    power_on: bool
    wait_seconds: int


async def wanted(request: CustomizeRequest) -> Wanted:
    digest = await asyncio.to_thread(digest_of, request.customization, request.vm_uuid)
    instance_id = request.customization.instance_id or f"i-{request.vm_uuid}"
    return Wanted(digest, instance_id, request.power_on)


async def planned(parts: Parts, request: CustomizeRequest, asked: Wanted, seen: HypervisorVm) -> Decision:
    """What is to be done for the VM as it is now. Changes nothing. The errors of `decide`, NO_SUCH_CARD."""
    row = parts.store.customizations.get(seen.vm_uuid)
    plan = decide(row, asked, seen, parts.discs.path(seen.vm_uuid))
    macs = macs_wanted(wanted_network(request.customization) or {})
    if plan.action in ("insert", "replace") and macs:
        refusal = missing_cards(macs, await parts.hypervisor.network_cards(seen.vm_uuid))
        if refusal is not None:
            raise refusal
    return plan


async def customize(
    parts: Parts, links: Links, request: CustomizeRequest, actor: str, progress: Progress
) -> dict[str, Any]:
    """The work of a customize task: `{"changed", "state", "instance_id", "digest", "drive"}` once the disc is there."""
    await progress.step(5, "looking at the VM")
    vm_uuid, asked = request.vm_uuid, await wanted(request)
    parts.engine.require_unclaimed(vm_uuid)
    seen = await parts.hypervisor.one(vm_uuid)
    earlier = parts.store.customizations.get(vm_uuid)
    plan = await planned(parts, request, asked, seen)
    if plan.action == "power_on":
        await progress.step(70, "switching the VM on")
        await _power_on(parts, vm_uuid, actor)
    if plan.action in ("unchanged", "power_on"):
        return _result(parts, vm_uuid, changed=plan.changed)
    if plan.action == "replace" and earlier is not None:
        await progress.step(10, "taking the VM's earlier disc out")
        await _take_out(parts, earlier)
        failpoint("tasks.customize.cleared")
    nonce = secrets.token_hex(NONCE_BYTES)
    draft = _draft(request, asked, seen, nonce, links)
    await parts.store.customizations.put(draft)
    failpoint("tasks.customize.reserved")
    try:
        await _apply(parts, request, draft, plan, nonce, actor, progress)
    except OpenNGTError:
        await _undo(parts, vm_uuid, earlier)
        raise
    return _result(parts, vm_uuid, changed=True)


def _draft(request: CustomizeRequest, asked: Wanted, seen: HypervisorVm, nonce: str, links: Links) -> Customized:
    status = links.view(seen.vm_uuid).row.status or {}
    boot_id = status.get("boot_id")
    return Customized(
        vm_uuid=seen.vm_uuid,
        vm_name=seen.vm_name,
        phase="preparing",
        state="pending",
        format=request.customization.format,
        instance_id=asked.instance_id,
        digest=asked.digest,
        nonce_sha256=hashlib.sha256(nonce.encode()).hexdigest(),
        wait_seconds=request.wait_seconds,
        requested_at=effects.now(),
        run=seen.run,
        boot_id=boot_id if isinstance(boot_id, str) else None,
    )


async def _apply(
    parts: Parts,
    request: CustomizeRequest,
    draft: Customized,
    plan: Decision,
    nonce: str,
    actor: str,
    progress: Progress,
) -> None:
    vm_uuid = draft.vm_uuid
    await progress.step(20, "writing the disc")
    vm = MediaVm(vm_uuid, draft.vm_name, draft.instance_id)
    media = await asyncio.to_thread(build, request.customization, vm, reporter(nonce))
    await parts.discs.write(vm_uuid, media)
    failpoint("tasks.customize.authored")
    placed = replace(draft, phase="inserted")
    if plan.drive is not None:
        await progress.step(50, f"inserting the disc into {plan.drive}")
        placed = await _put_in(parts, placed, plan.drive)
    failpoint("tasks.customize.inserted")
    details = {"drive": placed.drive, "format": placed.format, "instance_id": placed.instance_id}
    entry = AuditEntry(actor, "vm.customize", vm_uuid, details={**details, "digest": placed.digest})
    await parts.store.customizations.put(placed, entry)
    failpoint("tasks.customize.persisted")
    if request.power_on:
        await progress.step(70, "switching the VM on")
        await _power_on(parts, vm_uuid, actor)


async def _put_in(parts: Parts, row: Customized, drive: str) -> Customized:
    """The row with the drive in which the disc is now."""
    await parts.hypervisor.insert(row.vm_uuid, drive, parts.discs.path(row.vm_uuid))
    seen = await parts.hypervisor.one(row.vm_uuid)
    return replace(row, drive=drive, run=seen.run)


async def put_back(parts: Parts, row: Customized, seen: HypervisorVm) -> None:
    """Put the disc in that went with the VM's process, or waited for a start that others made. NO_EMPTY_DRIVE."""
    iso = str(parts.discs.path(row.vm_uuid))
    held = next((drive.name for drive in seen.drives if drive.holds == iso), None)
    empty = next((drive.name for drive in seen.drives if drive.state == "empty"), None)
    if held is not None:  # the service was killed before it could say so
        row = replace(row, drive=held, run=seen.run)
    elif empty is not None:
        row = await _put_in(parts, row, empty)
    else:
        raise no_empty_drive(seen.drives)
    await parts.store.customizations.put(row)


async def _power_on(parts: Parts, vm_uuid: str, actor: str) -> None:
    if [vm.power_state for vm in await parts.hypervisor.find(vm_uuid)] == ["on"]:
        return
    await parts.store.audit.record(AuditEntry(actor, "vm.power", vm_uuid, details={"verb": "on", "action": "on"}))
    await switch(parts, vm_uuid, "on")
    failpoint("tasks.customize.switched")


async def _undo(parts: Parts, vm_uuid: str, earlier: Customized | None) -> None:
    """Leave nothing of one that failed; the row of a former one, whose end is known, stays. What cannot be undone now
    is left to the watcher.
    """
    try:
        await clear_disc(parts, vm_uuid)
        if earlier is not None and not earlier.live:
            await parts.store.customizations.put(earlier)
        else:
            await parts.store.customizations.remove(vm_uuid)
    except OpenNGTError as exc:
        log.warning("customization_not_undone", vm_uuid=vm_uuid, code=exc.code, message=exc.message)


async def withdraw(parts: Parts, vm_uuid: str, actor: str, progress: Progress) -> dict[str, Any]:
    """The work of a withdraw task: drive, file, row, in this order. `{"withdrawn": bool}`: was there one?"""
    await progress.step(20, "taking the disc out")
    row = parts.store.customizations.get(vm_uuid)
    if row is None:
        return {"withdrawn": await clear_disc(parts, vm_uuid)}
    await _take_out(parts, row)
    failpoint("tasks.withdraw.cleared")
    details = {"state": row.state, "instance_id": row.instance_id}
    await parts.store.customizations.remove(
        vm_uuid, AuditEntry(actor, "vm.customize.withdraw", vm_uuid, details=details)
    )
    return {"withdrawn": True}


async def _take_out(parts: Parts, row: Customized) -> None:
    """The disc of a row that ends with it, which the row says meanwhile. After an error it is as it was."""
    if row.phase == "inserted":
        await parts.store.customizations.put(replace(row, phase="preparing"))
    try:
        await clear_disc(parts, row.vm_uuid)
    except OpenNGTError:
        await parts.store.customizations.put(row)
        raise


async def finish(parts: Parts, row: Customized, outcome: Outcome) -> None:
    """Write down how it ended, then take the disc away; what of that cannot be done now is tried again by the watcher.

    The end first: an empty drive alone would tell another one.
    """
    finished = effects.now()
    ended = replace(
        row,
        phase="ending",
        state=outcome.state,
        code=outcome.code,
        message=outcome.message,
        details=outcome.details,
        started_at=row.started_at or finished,
        finished_at=finished,
    )
    details = {"state": outcome.state, "instance_id": row.instance_id, "told_by": outcome.details["told_by"]}
    entry = AuditEntry("service", "vm.customize.end", row.vm_uuid, outcome.code or "ok", details)
    await parts.store.customizations.put(ended, entry)
    failpoint("tasks.customize.ended")
    await clear_disc(parts, row.vm_uuid)
    await parts.store.customizations.put(replace(ended, phase="clean"))
    failpoint("tasks.customize.cleaned")


async def clear_disc(parts: Parts, vm_uuid: str) -> bool:
    """Take the VM's customization disc out of its drive and delete the file; True when there was one.

    The guest is asked to let go, and then not asked: it has no more use for the disc. The caller has the VM's turn.
    """
    iso = parts.discs.path(vm_uuid)
    found = False
    for vm in await parts.hypervisor.find(vm_uuid):
        require_known(vm)
        for drive in vm.drives:
            if drive.holds == str(iso):
                found |= await parts.hypervisor.eject(vm_uuid, drive.name, iso, force=True)
    failpoint("tasks.customize.ejected")
    found |= await parts.discs.remove(vm_uuid)
    failpoint("tasks.customize.deleted")
    return found


def _result(parts: Parts, vm_uuid: str, *, changed: bool) -> dict[str, Any]:
    row = parts.store.customizations.get(vm_uuid)
    assert row is not None, "the caller has the VM's turn"
    return {
        "changed": changed,
        "state": row.state,
        "instance_id": row.instance_id,
        "digest": row.digest,
        "drive": row.drive if row.live else None,
    }
