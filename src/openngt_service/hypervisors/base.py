# SPDX-License-Identifier: GPL-3.0-or-later
"""What an adapter must do for the service; one file an adapter beside this one.

Disks join this interface with the features that need them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from openngt.errors import OpenNGTError

__all__ = [
    "Described",
    "Drive",
    "DriveState",
    "Hypervisor",
    "HypervisorVm",
    "PowerAction",
    "PowerState",
    "SerialChannel",
    "SerialPortState",
    "describe_drives",
    "no_empty_drive",
]

DriveState = Literal["empty", "loaded", "tray_open"]
PowerState = Literal["on", "off", "paused", "unknown"]
PowerAction = Literal["on", "off", "shutdown", "reset"]
"""`off` pulls the plug, `shutdown` presses the button (ACPI)."""
SerialPortState = Literal["none", "ready", "needs_full_stop_and_start", "unknown"]
"""`needs_full_stop_and_start`: the VM has been given a port, and a reboot is not enough for its guest to see it."""


@dataclass(frozen=True)
class Drive:
    """A virtual CD-ROM drive. `tray_open` means open with the medium still in it: treat it as loaded."""

    name: str
    state: DriveState
    holds: str | None = None
    """The medium's path or title as the hypervisor knows it; None when empty."""


@dataclass(frozen=True)
class SerialChannel:
    """A port between the guest and its hypervisor, as far as the host has it."""

    kind: Literal["serial", "virtio"]
    """The VM's second serial port (index 1, COM2), or a virtio port."""
    socket: Path
    """A Unix socket at which the port's one host may connect while the VM is on."""


@dataclass(frozen=True)
class Described:
    """What is known of a VM without asking it."""

    vm_uuid: str
    """Two VMs may have the same by mistake."""
    vm_name: str
    cloned_from: str | None = None
    """UUID of the VM that it is a copy of, where the adapter knows it; that VM may be gone."""


@dataclass(frozen=True)
class HypervisorVm:
    vm_uuid: str
    vm_name: str
    power_state: PowerState
    drives: tuple[Drive, ...] = ()
    cannot: Mapping[PowerAction, str] = field(default_factory=dict)
    """What the adapter cannot do with this VM, each with the reason."""
    serial_port: SerialPortState = "none"
    cloned_from: str | None = None
    """UUID of the VM that this one is a copy of, where the adapter knows it; that VM may be gone."""
    run: str | None = None
    """Another one after each start, where what was put into the drives is lost with the VM's process."""


class Hypervisor(Protocol):
    """All methods raise OpenNGTError: HYPERVISOR_FAILED, VM_NOT_FOUND, VM_POWERED_OFF, VM_POWERED_ON,
    POWER_UNSUPPORTED, DISK_UNSUPPORTED, NO_EMPTY_DRIVE, DRIVE_BUSY, DRIVE_LOCKED.
    """

    name: str

    async def list_vms(self) -> list[HypervisorVm]:
        """Every VM the adapter knows, with power state and drives, sorted by name."""
        ...

    async def described(self) -> list[Described]:
        """Every VM, by name. Asked every few seconds: no VM is asked for it."""
        ...

    async def find(self, reference: str) -> list[HypervisorVm]:
        """VMs whose UUID or name is `reference`: none, one, or several that share a name."""
        ...

    async def insert(self, vm_uuid: str, drive: str, iso: Path) -> None:
        """Put the file into an empty drive. A drive that is not empty is DRIVE_BUSY: nothing is ever ejected here."""
        ...

    async def start_with(self, vm_uuid: str, iso: Path) -> str:
        """Switch a VM on with the file in an empty drive before its guest looks there; returns the drive's name.

        For a VM that is off and of whose drives nothing is known then. NO_EMPTY_DRIVE, and it is off again;
        VM_POWERED_ON when it runs.
        """
        ...

    async def eject(self, vm_uuid: str, drive: str, iso: Path, *, force: bool = False) -> bool:
        """Take `iso` out of the drive and close the tray; False when the drive no longer holds that file.

        Another medium than `iso` is left alone. DRIVE_LOCKED when the guest does not let go in time and `force` is off.
        Works on a VM that is off, too.
        """
        ...

    async def power(self, vm_uuid: str, action: PowerAction) -> None:
        """Do it; returns once the hypervisor has seen it done.

        Of `shutdown` only the button is seen here: whether the guest obeys shows in the power state, later or never.
        `on` of a VM that is on and `off` of one that is off change nothing; the others are VM_POWERED_OFF there.
        """
        ...

    async def serial_channels(self) -> Mapping[str, tuple[SerialChannel, ...]]:
        """By VM UUID, those of every VM that has one, on or off. Asked every few seconds: no VM is asked for it."""
        ...

    async def add_serial_channel(self, vm_uuid: str) -> bool:
        """Give a VM that has none a port, from its next start on; False when it has one."""
        ...

    async def network_cards(self, vm_uuid: str) -> Sequence[str] | None:
        """The addresses (MAC, small letters, colons) of the VM's network cards; None where the adapter cannot tell."""
        ...

    async def clone(self, vm_uuid: str, vm_name: str) -> str:
        """Make a copy of the VM, which is off, and return its UUID: a new one, as are its network cards' addresses.

        Its CD-ROM drives are its own and empty, and it tells that it was `cloned_from` this VM. A VM that is off is
        copied as it is; one that runs as a power cut at this moment would leave it. DISK_UNSUPPORTED with the reason.
        """
        ...

    async def snapshot(self, vm_uuid: str, name: str) -> None:
        """Keep the state of the VM's disk under that name, on or off; memory is not kept."""
        ...

    async def revert(self, vm_uuid: str, name: str) -> None:
        """Put the disk of a VM that is off back to a snapshot. NOT_FOUND; VM_POWERED_ON while it runs."""
        ...

    async def close(self) -> None:
        """Release connections; VMs run on."""
        ...


def describe_drives(drives: Sequence[Drive]) -> str:
    return ", ".join(f"{drive.name} holds {drive.holds or 'nothing'}" for drive in drives)


def no_empty_drive(drives: Sequence[Drive]) -> OpenNGTError:
    """Lists what each drive holds."""
    return OpenNGTError(
        "NO_EMPTY_DRIVE",
        "the VM has no CD-ROM drive" if not drives else f"no drive is empty: {describe_drives(drives)}",
        {"drives": [{"name": drive.name, "state": drive.state, "holds": drive.holds} for drive in drives]},
    )
