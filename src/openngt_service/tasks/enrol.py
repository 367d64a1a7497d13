# SPDX-License-Identifier: GPL-3.0-or-later
"""Enable a VM's guest tools, and end them: revocation first, everything else after it (T17)."""

import asyncio
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import structlog

from openngt.errors import OpenNGTError

from ..hypervisors.base import HypervisorVm
from ..store.registry import Capabilities, Vm
from .eject import clear
from .parts import Parts

__all__ = ["disable", "enable", "wanted_capabilities"]

log = structlog.get_logger(__name__)

OTHERS_SECONDS = 10.0


async def enable(
    parts: Parts, reference: str, capabilities: Mapping[str, bool], *, actor: str
) -> tuple[Vm, bool, HypervisorVm]:
    """Enrol the VM that the hypervisor knows by this UUID or name; True when it is newly enrolled.

    A VM without a serial port gets one, as far as the adapter can. What `capabilities` leaves out stays as it is; a new
    VM starts with all, a clone with its parent's. VM_NOT_FOUND, VM_AMBIGUOUS, INVALID_INPUT.
    """
    seen = await parts.hypervisor.one(reference)
    async with parts.engine.exclusive(seen.vm_uuid):
        registry = parts.store.registry
        parent = registry.known(seen.cloned_from or "") if registry.known(seen.vm_uuid) is None else None
        wanted = wanted_capabilities(registry.get(seen.vm_uuid) or parent, capabilities)
        vm, created = await parts.store.registry.enable(seen.vm_uuid, seen.vm_name, wanted, actor=actor)
        if parts.settings.serial_ports and await _add_serial_port(parts, seen):
            seen = await parts.hypervisor.one(seen.vm_uuid)
    return vm, created, seen


async def _add_serial_port(parts: Parts, seen: HypervisorVm) -> bool:
    """Was one added now? A VM that gets none is enrolled all the same: the network carries its link."""
    if seen.serial_port != "none":
        return False
    try:
        added = await parts.hypervisor.add_serial_channel(seen.vm_uuid)
    except OpenNGTError as exc:
        log.warning("serial_port_not_added", vm_uuid=seen.vm_uuid, code=exc.code, message=exc.message)
        return False
    if added:
        log.info("serial_port_added", vm_uuid=seen.vm_uuid)
    return added


def wanted_capabilities(vm: Vm | None, given: Mapping[str, bool]) -> Capabilities:
    known = {field.name for field in fields(Capabilities)}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise OpenNGTError("INVALID_INPUT", f"capabilities: {', '.join(unknown)} is none of {', '.join(sorted(known))}")
    before = vm.capabilities.to_dict() if vm is not None else {}
    return Capabilities(**{**before, **given})


async def disable(parts: Parts, vm: Vm, *, actor: str) -> dict[str, Any]:
    """Revoke, which cuts the session, and un-enrol; then take the ISO away.

    Whoever works on the VM is waited for so long, and no longer: then, as where the drive cannot be emptied now, the
    reconciler goes on with it.
    """
    revoked = await parts.store.ledger.revoke(vm.vm_uuid, actor=actor, disable=True)
    try:
        async with asyncio.timeout(OTHERS_SECONDS) as limit, parts.engine.exclusive(vm.vm_uuid):
            limit.reschedule(None)
            await clear(parts, vm.vm_uuid, actor=actor, force=True)
    except TimeoutError:
        log.info("disabled_beside_other_work", vm_uuid=vm.vm_uuid)
    except OpenNGTError as exc:
        log.warning("disabled_with_iso_left", vm_uuid=vm.vm_uuid, code=exc.code, message=exc.message)
    return {"vm_uuid": vm.vm_uuid, "revoked": [entry.serial_hex for entry in revoked]}
