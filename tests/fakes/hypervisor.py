# SPDX-License-Identifier: GPL-3.0-or-later
"""A hypervisor in a JSON file: it outlives the process that speaks to it, as a real one does."""

import asyncio
import contextlib
import fcntl
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from openngt.effects import replace_file
from openngt.errors import OpenNGTError
from openngt_service.hypervisors.base import (
    Described,
    Drive,
    HypervisorVm,
    PowerAction,
    SerialChannel,
    SerialPortState,
    no_empty_drive,
)

__all__ = ["FakeHypervisor", "Fault"]

Fault = Literal["refused", "never", "lost", "late", "twice"]
"""`refused`: an error, nothing done. `never`: nothing done, no answer. `lost`: done, no answer. `late`: no answer, done
when `release` is set. `twice`: delivered two times; the answer is that of the second."""


@dataclass
class FakeHypervisor:
    """Implements `hypervisors.base.Hypervisor`."""

    path: Path
    name: str = "fake"
    faults: dict[str, Fault] = field(default_factory=dict)
    """Method name -> what goes wrong with its next call, and each after it."""
    release: asyncio.Event = field(default_factory=asyncio.Event)
    late: set["asyncio.Task[None]"] = field(default_factory=set)
    inserted: int = 0
    asked: list[str] = field(default_factory=list)
    """Every method that was called, in order."""
    done: list[PowerAction] = field(default_factory=list)
    """What was switched, in order."""

    def add(self, vm_uuid: str, vm_name: str, drives: dict[str, str | None], power_state: str = "on") -> None:
        """`drives`: name -> the medium it holds."""
        with self._state() as state:
            state[vm_uuid] = {
                "vm_name": vm_name,
                "power_state": power_state,
                "drives": {name: {"holds": holds, "tray_open": False} for name, holds in drives.items()},
            }

    def change(self, vm_uuid: str, drive: str, **values: Any) -> None:
        """What a person does at the drive: `holds`, `tray_open`."""
        with self._state() as state:
            state[vm_uuid]["drives"][drive].update(values)

    def set_power(self, vm_uuid: str, power_state: str) -> None:
        with self._state() as state:
            state[vm_uuid]["power_state"] = power_state

    def guest(self, vm_uuid: str, **habits: Any) -> None:
        """How the VM's guest and adapter behave: `ignores_acpi`, `cannot` (action -> reason), `boots_to` (a state),
        `starts` (a number: drives live in a process, of which this is the how-many-th), `cards` (MACs; without
        them the adapter cannot tell)."""
        with self._state() as state:
            state[vm_uuid].update(habits)

    def start(self, vm_uuid: str) -> None:
        """A full stop and start: the guest sees what the VM was given."""
        with self._state() as state:
            state[vm_uuid]["serial_seen"] = True

    def remove(self, vm_uuid: str) -> None:
        with self._state() as state:
            del state[vm_uuid]

    def media(self) -> list[str]:
        """Every medium in every drive."""
        drives = [drive for vm in self._load().values() for drive in vm["drives"].values()]
        return sorted(drive["holds"] for drive in drives if drive["holds"] is not None)

    async def list_vms(self) -> list[HypervisorVm]:
        await self._maybe_fail("list_vms")
        return self._vms()

    async def described(self) -> list[Described]:
        await self._maybe_fail("described")
        return [Described(vm.vm_uuid, vm.vm_name, vm.cloned_from) for vm in self._vms()]

    async def find(self, reference: str) -> list[HypervisorVm]:
        await self._maybe_fail("find")
        return [vm for vm in self._vms() if reference in (vm.vm_uuid, vm.vm_name)]

    async def insert(self, vm_uuid: str, drive: str, iso: Path) -> None:
        await self._with_fault("insert", lambda: self._insert(vm_uuid, drive, iso))

    async def start_with(self, vm_uuid: str, iso: Path) -> str:
        return str(await self._with_fault("start_with", lambda: self._start_with(vm_uuid, iso)))

    async def eject(self, vm_uuid: str, drive: str, iso: Path, *, force: bool = False) -> bool:
        ejected = await self._with_fault("eject", lambda: self._eject(vm_uuid, drive, iso, force))
        return bool(ejected)

    async def power(self, vm_uuid: str, action: PowerAction) -> None:
        await self._with_fault("power", lambda: self._power(vm_uuid, action))

    async def serial_channels(self) -> dict[str, tuple[SerialChannel, ...]]:
        await self._maybe_fail("serial_channels")
        return {
            vm_uuid: (SerialChannel("serial", Path(vm["serial"])),)
            for vm_uuid, vm in self._load().items()
            if "serial" in vm
        }

    async def add_serial_channel(self, vm_uuid: str) -> bool:
        return bool(await self._with_fault("add_serial_channel", lambda: self._add_serial_channel(vm_uuid)))

    async def network_cards(self, vm_uuid: str) -> tuple[str, ...] | None:
        await self._maybe_fail("network_cards")
        cards = self._load()[vm_uuid].get("cards")
        return None if cards is None else tuple(cards)

    async def clone(self, vm_uuid: str, vm_name: str) -> str:
        new = str(uuid.uuid4())
        with self._state() as state:
            copy = {**state[vm_uuid], "vm_name": vm_name, "power_state": "off", "cloned_from": vm_uuid}
            copy["drives"] = {name: {"holds": None, "tray_open": False} for name in copy["drives"]}
            copy.pop("serial", None)
            state[new] = copy
        return new

    async def snapshot(self, vm_uuid: str, name: str) -> None:
        with self._state() as state:
            state[vm_uuid].setdefault("snapshots", []).append(name)

    async def revert(self, vm_uuid: str, name: str) -> None:
        """What the guest's disk held is the fake agent's business."""
        if self._load()[vm_uuid]["power_state"] != "off":
            raise OpenNGTError("VM_POWERED_ON", f"VM {vm_uuid} is on")
        if name not in self._load()[vm_uuid].get("snapshots", []):
            raise OpenNGTError("NOT_FOUND", f"there is no snapshot {name}")

    async def close(self) -> None:
        for task in self.late:
            task.cancel()

    def lock(self, vm_uuid: str, drive: str) -> None:
        """As a guest does that has the disc in use."""
        self.change(vm_uuid, drive, locked=True)

    def _add_serial_channel(self, vm_uuid: str) -> bool:
        with self._state() as state:
            vm = state[vm_uuid]
            if "serial" in vm:
                return False
            vm["serial"] = str(self.path.with_name(f"{vm_uuid}.serial"))
            vm["serial_seen"] = vm["power_state"] == "off"
        return True

    def _insert(self, vm_uuid: str, drive: str, iso: Path) -> None:
        with self._state() as state:
            place = state[vm_uuid]["drives"][drive]
            if place["holds"] is not None:
                raise OpenNGTError("DRIVE_BUSY", f"{drive} holds {place['holds']}")
            if not iso.is_file():
                raise OpenNGTError("HYPERVISOR_FAILED", f"{iso} does not exist")
            place.update(holds=str(iso), tray_open=False)
        self.inserted += 1

    def _start_with(self, vm_uuid: str, iso: Path) -> str:
        vm = self._load()[vm_uuid]
        if vm["power_state"] != "off":
            raise OpenNGTError("VM_POWERED_ON", f"VM {vm_uuid} is on")
        drives = tuple(_drive(*drive) for drive in vm["drives"].items())
        empty = [drive.name for drive in drives if drive.state == "empty"]
        if not empty:
            raise no_empty_drive(drives)
        self._power(vm_uuid, "on")
        self._insert(vm_uuid, empty[0], iso)
        return empty[0]

    def _eject(self, vm_uuid: str, drive: str, iso: Path, force: bool) -> bool:
        with self._state() as state:
            place = state[vm_uuid]["drives"][drive]
            if place["holds"] != str(iso):
                return False
            if place.get("locked") and not force:
                raise OpenNGTError("DRIVE_LOCKED", f"the guest holds {drive}")
            place.update(holds=None, tray_open=False, locked=False)
        return True

    def _power(self, vm_uuid: str, action: PowerAction) -> None:
        with self._state() as state:
            self._switch(state[vm_uuid], vm_uuid, action)

    def _switch(self, vm: dict[str, Any], vm_uuid: str, action: PowerAction) -> None:
        if action in vm.get("cannot", {}):
            raise OpenNGTError("POWER_UNSUPPORTED", f"the fake cannot do {action}")
        self.done.append(action)
        if action in ("shutdown", "reset") and vm["power_state"] == "off":
            raise OpenNGTError("VM_POWERED_OFF", f"VM {vm['vm_name']} is off")
        if action == "on":
            if "starts" in vm:
                vm["starts"] += 1
            vm["power_state"] = vm.get("boots_to", "on")
        elif action == "off" or (action == "shutdown" and not vm.get("ignores_acpi")):
            vm["power_state"] = "off"
            for drive in vm["drives"].values():
                drive.update(holds=None, tray_open=False)

    async def _maybe_fail(self, method: str) -> None:
        self.asked.append(method)
        await self._fail(method)

    async def _fail(self, method: str) -> None:
        fault = self.faults.get(method)
        if fault == "refused":
            raise OpenNGTError("HYPERVISOR_FAILED", f"{method} was refused")
        if fault is not None:
            await asyncio.Event().wait()

    async def _with_fault(self, method: str, work: Any) -> Any:
        self.asked.append(method)
        fault = self.faults.get(method)
        if fault is None:
            return work()
        if fault == "twice":
            work()
            return work()
        if fault == "lost":
            work()
        if fault == "late":
            task = asyncio.create_task(self._later(work))
            self.late.add(task)
        await self._fail(method)
        raise AssertionError("unreachable: the fault has no answer")

    async def _later(self, work: Any) -> None:
        await self.release.wait()
        work()

    def _vms(self) -> list[HypervisorVm]:
        vms = [
            HypervisorVm(
                vm_uuid,
                vm["vm_name"],
                vm["power_state"],
                # As the real adapters: of a VM that cannot be asked no drive is known.
                tuple(_drive(*drive) for drive in vm["drives"].items() if _tells_drives(vm)),
                vm.get("cannot", {}),
                _port_state(vm),
                vm.get("cloned_from"),
                str(vm["starts"]) if "starts" in vm and vm["power_state"] != "off" else None,
            )
            for vm_uuid, vm in self._load().items()
        ]
        return sorted(vms, key=lambda vm: vm.vm_name)

    def _load(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return state

    @contextlib.contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        """To be changed, by one at a time: a test and its service are two processes. Left as it was by an exception."""
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self._load()
            yield state
            replace_file(str(self.path), json.dumps(state).encode())


def _tells_drives(vm: dict[str, Any]) -> bool:
    return vm["power_state"] != "unknown" and not ("starts" in vm and vm["power_state"] == "off")


def _port_state(vm: dict[str, Any]) -> SerialPortState:
    if "serial" not in vm:
        return "none"
    return "ready" if vm["serial_seen"] else "needs_full_stop_and_start"


def _drive(name: str, drive: dict[str, Any]) -> Drive:
    if drive["holds"] is None:
        return Drive(name, "empty")
    return Drive(name, "tray_open" if drive["tray_open"] else "loaded", drive["holds"])
