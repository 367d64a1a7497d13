# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter, with a limit on every answer: one that never answers must not hold a VM's turn for ever."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from openngt.errors import OpenNGTError

from ..hypervisors.base import Described, Hypervisor, HypervisorVm, PowerAction, PowerState, SerialChannel
from ..store.registry import vm_not_found

__all__ = ["PatientHypervisor", "require_known"]

T = TypeVar("T")

LOOKS_AT_ONCE = 32
"""However many VMs are waited for, the hypervisor is asked for so many at a time."""


def require_known(vm: HypervisorVm) -> None:
    """HYPERVISOR_FAILED for a VM that the adapter cannot ask: its list of drives then means nothing."""
    if vm.power_state == "unknown":
        raise OpenNGTError(
            "HYPERVISOR_FAILED",
            f"the hypervisor cannot say what VM {vm.vm_name} does and holds",
            {"outcome": "not_done"},
        )


def _ambiguous(reference: str, found: Sequence[HypervisorVm]) -> OpenNGTError:
    vms = [{"vm_uuid": vm.vm_uuid, "vm_name": vm.vm_name} for vm in found]
    return OpenNGTError("VM_AMBIGUOUS", f"{len(found)} VMs are named {reference}", {"vm": reference, "vms": vms})


class PatientHypervisor:
    """`hypervisors.base.Hypervisor` for the tasks. No answer in time is HYPERVISOR_FAILED with `outcome: unknown`."""

    def __init__(
        self,
        adapter: Hypervisor,
        *,
        answer_seconds: float = 30.0,
        eject_seconds: float = 90.0,
        power_seconds: float = 150.0,
    ) -> None:
        self._adapter = adapter
        self._answer_seconds = answer_seconds
        self._eject_seconds = eject_seconds
        self._power_seconds = power_seconds
        self._looks = asyncio.Semaphore(LOOKS_AT_ONCE)

    async def list_vms(self) -> list[HypervisorVm]:
        return await self._within(self._answer_seconds, "list its VMs", self._adapter.list_vms())

    async def described(self) -> list[Described]:
        return await self._within(self._answer_seconds, "name its VMs", self._adapter.described())

    async def find(self, reference: str) -> list[HypervisorVm]:
        return await self._within(self._answer_seconds, f"find VM {reference}", self._adapter.find(reference))

    async def one(self, reference: str) -> HypervisorVm:
        """The one VM that `reference` names. VM_NOT_FOUND tells names like it, VM_AMBIGUOUS the UUIDs."""
        found = await self.find(reference)
        if len(found) == 1:
            return found[0]
        raise _ambiguous(reference, found) if found else self._not_found(reference, await self.list_vms())

    async def many(self, references: Sequence[str]) -> list[HypervisorVm | OpenNGTError]:
        """For each reference its VM, or the error that `one` would raise; one look at the hypervisor for all."""
        seen = await self.list_vms()
        by_name: dict[str, list[HypervisorVm]] = {}
        for vm in seen:
            for name in {vm.vm_name, vm.vm_uuid}:
                by_name.setdefault(name, []).append(vm)
        answers: list[HypervisorVm | OpenNGTError] = []
        for reference in references:
            found = by_name.get(reference) or by_name.get(reference.lower(), [])
            found = [vm for vm in found if reference == vm.vm_name or reference.lower() == vm.vm_uuid]
            if len(found) == 1:
                answers.append(found[0])
            else:
                answers.append(_ambiguous(reference, found) if found else self._not_found(reference, seen))
        return answers

    def _not_found(self, reference: str, seen: Sequence[HypervisorVm]) -> OpenNGTError:
        message = f"{self._adapter.name} has no VM of the name or UUID {reference}"
        return vm_not_found(reference, message, (vm.vm_name for vm in seen))

    async def insert(self, vm_uuid: str, drive: str, iso: Path) -> None:
        """Put the file into an empty drive. Where the answer does not tell, the drive is looked at."""
        try:
            await self._within(self._answer_seconds, f"insert {iso.name}", self._adapter.insert(vm_uuid, drive, iso))
        except OpenNGTError as exc:
            # Busy with our own file: a request that was delivered twice.
            if exc.code not in ("HYPERVISOR_FAILED", "DRIVE_BUSY") or not await self._holds(vm_uuid, drive, iso):
                raise

    async def start_with(self, vm_uuid: str, iso: Path) -> str:
        """Switch a VM on with the file in a drive; the drive's name, also where only a look tells it."""
        try:
            started = self._adapter.start_with(vm_uuid, iso)
            return await self._within(self._power_seconds, f"switch VM {vm_uuid} on with {iso.name}", started)
        except OpenNGTError as exc:
            if exc.code not in ("HYPERVISOR_FAILED", "VM_POWERED_ON"):
                raise
            holding = [drive.name for vm in await self.find(vm_uuid) for drive in vm.drives if drive.holds == str(iso)]
            if not holding:
                raise
            return holding[0]

    async def eject(self, vm_uuid: str, drive: str, iso: Path, *, force: bool) -> bool:
        """Take the file out; True also when it was gone by the time of a late or lost answer."""
        try:
            return await self._within(
                self._eject_seconds, f"eject {iso.name}", self._adapter.eject(vm_uuid, drive, iso, force=force)
            )
        except OpenNGTError as exc:
            if exc.code != "HYPERVISOR_FAILED" or await self._holds(vm_uuid, drive, iso):
                raise
            return True

    async def power(self, vm_uuid: str, action: PowerAction) -> None:
        """Do it. Where the answer to `on` or `off` does not tell, the VM is looked at."""
        try:
            await self._within(
                self._power_seconds, f"switch VM {vm_uuid} {action}", self._adapter.power(vm_uuid, action)
            )
        except OpenNGTError as exc:
            if exc.code != "HYPERVISOR_FAILED" or action not in ("on", "off"):
                raise
            if [vm.power_state for vm in await self.find(vm_uuid)] != [action]:
                raise

    async def power_state(self, vm_uuid: str) -> PowerState:
        """For whoever waits for it, however many do. VM_NOT_FOUND when the VM has gone.

        `unknown` also while the hypervisor does not answer: a process that ends greets nobody.
        """
        async with self._looks:
            try:
                found = await self.find(vm_uuid)
            except OpenNGTError as exc:
                if exc.code != "HYPERVISOR_FAILED":
                    raise
                return "unknown"
        if not found:
            raise OpenNGTError("VM_NOT_FOUND", f"VM {vm_uuid} has gone from the hypervisor meanwhile")
        return found[0].power_state

    async def serial_channels(self) -> Mapping[str, tuple[SerialChannel, ...]]:
        return await self._within(self._answer_seconds, "tell its VMs' serial ports", self._adapter.serial_channels())

    async def add_serial_channel(self, vm_uuid: str) -> bool:
        """True when the VM gets its port with its next start."""
        added = self._adapter.add_serial_channel(vm_uuid)
        return await self._within(self._answer_seconds, f"add a serial port to VM {vm_uuid}", added)

    async def network_cards(self, vm_uuid: str) -> Sequence[str] | None:
        """Their addresses; None where the adapter cannot tell."""
        asked = self._adapter.network_cards(vm_uuid)
        return await self._within(self._answer_seconds, f"tell the network cards of VM {vm_uuid}", asked)

    async def _holds(self, vm_uuid: str, drive: str, iso: Path) -> bool:
        return any(
            candidate.name == drive and candidate.holds == str(iso)
            for vm in await self.find(vm_uuid)
            for candidate in vm.drives
        )

    async def _within(self, seconds: float, what: str, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError as exc:
            raise OpenNGTError(
                "HYPERVISOR_FAILED",
                f"{self._adapter.name} did not {what} within {seconds:g} s",
                {"outcome": "unknown"},
            ) from exc
