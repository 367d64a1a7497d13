# SPDX-License-Identifier: GPL-3.0-or-later
"""The hypervisor's switch, with the customization disc that waits for a VM to be switched on."""

from dataclasses import replace

from openngt.failpoints import failpoint

from ..hypervisors.base import PowerAction
from .parts import Parts

__all__ = ["switch"]


async def switch(parts: Parts, vm_uuid: str, action: PowerAction) -> None:
    """Do it; a VM whose drives can be loaded only as it starts begins with its disc. The caller has the VM's turn.

    Errors of the adapter; NO_EMPTY_DRIVE where the disc has no place: the VM then stays off.
    """
    if action == "on" and await _start_with_disc(parts, vm_uuid):
        return
    await parts.hypervisor.power(vm_uuid, action)


async def _start_with_disc(parts: Parts, vm_uuid: str) -> bool:
    row = parts.store.customizations.get(vm_uuid)
    if row is None or row.phase != "inserted":
        return False
    seen = await parts.hypervisor.one(vm_uuid)
    if seen.power_state != "off" or seen.drives:
        return False
    drive = await parts.hypervisor.start_with(vm_uuid, parts.discs.path(vm_uuid))
    failpoint("tasks.switching.started")
    started = await parts.hypervisor.one(vm_uuid)
    await parts.store.customizations.put(replace(row, drive=drive, run=started.run))
    return True
