# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs of a `Workshop` that are customized: what is asked of the service, and what their guests and discs say."""

import asyncio
import re
from typing import Any

from openngt import effects
from openngt_service.ports import SessionInfo
from openngt_service.store.clocks import since_boot

from .waiting import PATIENCE_SECONDS
from .workshop import VM, Workshop

__all__ = [
    "OTHER", "OTHER_SPEC", "SECRET", "SPEC", "USERS", "add_vm", "apply", "at_work", "clean", "discs", "end_of_time",
    "ended_as", "nonce_on", "say", "settle", "state", "until", "withdraw",
]  # fmt: skip

OTHER = "7f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e22"
NAMES = {VM: "web1", OTHER: "db1"}
USERS = "/isos/debian.iso"
SECRET = "correct-horse-battery"
SPEC = {"scripts": [{"content": f"#!/bin/sh\necho {SECRET}\n"}]}
OTHER_SPEC = {"scripts": [{"content": "#!/bin/sh\necho other\n"}]}


def add_vm(workshop: Workshop, power_state: str = "off", vm_uuid: str = VM, name: str = "web1", **habits: Any) -> None:
    workshop.hypervisor.add(vm_uuid, name, {"ide0": USERS, "ide1": None}, power_state)
    workshop.hypervisor.guest(vm_uuid, **habits)


async def apply(workshop: Workshop, spec: dict[str, Any] = SPEC, vm: str = VM, **options: Any) -> dict[str, Any]:
    asked = {"power_on": False, "wait_seconds": None, "actor": "test", **options}
    record = await workshop.operations.customizations.apply(vm, spec, **asked)
    return await workshop.result({"task_id": record.task_id})


async def at_work(workshop: Workshop, *vms: str) -> None:
    """Have VMs that run, with guests at work on their first discs: VM, unless others are named."""
    chosen = vms or (VM,)
    for vm in chosen:
        add_vm(workshop, "on", vm, NAMES[vm])
    for vm in chosen:
        await apply(workshop, vm=vm)
    await settle(workshop)


async def withdraw(workshop: Workshop, vm: str = VM) -> dict[str, Any]:
    record = await workshop.operations.customizations.withdraw(vm, actor="test")
    return await workshop.result({"task_id": record.task_id})


async def state(workshop: Workshop, vm: str = VM) -> str:
    return str((await workshop.operations.customizations.show(vm))["state"])


async def settle(workshop: Workshop) -> set[str]:
    return await workshop.background.customization_watch.settle_all()


def discs(workshop: Workshop) -> list[str]:
    folder = workshop.settings.discs_directory
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def clean(workshop: Workshop, media: list[str] | None = None) -> bool:
    return (workshop.hypervisor.media(), discs(workshop)) == ([USERS] if media is None else media, [])


def nonce_on(workshop: Workshop, vm: str = VM) -> str:
    """As the guest reads it."""
    content = (workshop.settings.discs_directory / f"{vm}.iso").read_bytes()
    match = re.search(rb'report\("([0-9a-f]{32})"', content)
    assert match is not None
    return match[1].decode()


async def ended_as(workshop: Workshop, how: str) -> None:
    row = workshop.store.customizations.get(VM)
    assert row is not None
    if how == "timed_out":
        await end_of_time(workshop)
        return
    told = {"nonce": nonce_on(workshop), "status": "done" if how == "done" else "error", "errors": ["x"]}
    workshop.links.recorded(VM, told)
    await until(workshop, how)


async def end_of_time(workshop: Workshop) -> None:
    row = workshop.store.customizations.get(VM)
    assert row is not None and row.deadline is not None
    rows = workshop.store.customizations
    rows._clock = lambda: since_boot() + row.wait_seconds
    try:
        await settle(workshop)
    finally:
        rows._clock = since_boot


async def until(workshop: Workshop, wanted: str, vm: str = VM) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await state(workshop, vm) != wanted:
            await asyncio.sleep(0.005)


async def say(workshop: Workshop, status: dict[str, Any], vm: str = VM) -> None:
    """As the gateway tells what an agent says of itself."""
    session = SessionInfo(vm, vm, "session", 1, 1, "link", "serial port 1", "serial", effects.now(), "0.1.0", "b2")
    await workshop.links.link_up(session, status)
