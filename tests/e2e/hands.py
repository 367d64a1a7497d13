# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person does at a guest's shell and at the lab's own monitor, and waiting for what follows."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient

from openngt.client import Client
from openngt_service.lab.vm import LabVm

__all__ = [
    "HOLDER",
    "LIMIT_SECONDS",
    "PRESS_EJECT",
    "drives",
    "eject",
    "give_back_port",
    "insert",
    "install",
    "isos",
    "monitor",
    "mount",
    "said",
    "shelved",
    "silence_port",
    "until",
]

LIMIT_SECONDS = 600
# As eject(1) does: the kernel's CDROMEJECT (0x5309) alone leaves the lock of udev (CDROM_LOCKDOOR, 0x5329) in its way.
PRESS_EJECT = """python3 -c "
import fcntl, os
drive = os.open('/dev/sr0', os.O_RDONLY | os.O_NONBLOCK)
fcntl.ioctl(drive, 0x5329, 0)
fcntl.ioctl(drive, 0x5309)\""""
HOLDER = "a test"


def said(vm: LabVm, command: str, user: str = "root", timeout: float = 300.0) -> str:
    """What a command that has to succeed in the guest says."""
    done = vm.ssh(command, user=user, timeout=timeout)
    assert done.returncode == 0, done
    return done.stdout.strip()


def until(condition: Callable[[], bool], what: str = "it") -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen in time"
        time.sleep(0.5)


def drives(client: Client, vm: LabVm) -> dict[str, str | None]:
    """What each CD-ROM drive holds, as the hypervisor says."""
    [seen] = client.hypervisor_vms(vm.vm_uuid)
    return {drive["name"]: drive["holds"] for drive in seen["cdrom_drives"]}


def isos(state: Path) -> list[str]:
    return [path.name for path in (state / "iso").glob("*.iso")]


def mount(client: Client, vm: LabVm) -> dict[str, Any]:
    """The VM enrolled, its tools ISO in a drive and mounted at /mnt in the guest; the mount task's result."""
    client.enable(vm.vm_uuid)
    result: dict[str, Any] = client.wait_task(client.mount(vm.vm_uuid, HOLDER, 1800), LIMIT_SECONDS)["result"]
    said(vm, "for i in $(seq 60); do d=$(blkid -L NUTANIX_TOOLS) && break; sleep 1; done; mount -o ro $d /mnt")
    return result


@contextmanager
def shelved(state: Path, releases: Mapping[str, bytes]) -> Iterator[None]:
    """Agents by version on the service's shelf; afterwards its own is the newest again, as other tests expect."""
    shelf = state / "agents"
    shelf.mkdir()
    try:
        for version, package in releases.items():
            (shelf / f"ngt_agent-{version}.pyz").write_bytes(package)
        yield
    finally:
        shutil.rmtree(shelf)


def eject(client: Client, vm: LabVm) -> None:
    said(vm, "! mountpoint -q /mnt || umount /mnt")
    client.wait_task(client.eject(vm.vm_uuid, HOLDER), LIMIT_SECONDS)


def install(client: Client, vm: LabVm) -> None:
    """The agent installed and linked with its long-lived identity, without Ansible; no disc left."""
    pinned = mount(client, vm)["ca_sha256"]
    said(vm, f"python3 /mnt/agent/ngt_agent.pyz install --source /mnt --ca-sha256 {pinned} --wait 180")
    eject(client, vm)


def monitor(vm: LabVm, command: str, **arguments: Any) -> None:
    """One QMP command on the lab's own monitor."""

    async def run() -> None:
        client = QMPClient(vm.name)
        await client.connect(str(vm.lab_qmp))
        try:
            await client.execute(command, arguments)
        finally:
            await client.disconnect()

    asyncio.run(run())


def insert(vm: LabVm, drive: str, disc: Path) -> None:
    """As a user of any hypervisor does, without our service."""
    monitor(vm, "blockdev-change-medium", id=drive, filename=str(disc), format="raw")


def silence_port(vm: LabVm) -> None:
    """Nobody is at the other end of the port that is the service's, and what the guest writes is lost."""
    monitor(vm, "chardev-change", id="serial1", backend={"type": "null", "data": {}})


def give_back_port(vm: LabVm) -> None:
    address = {"type": "unix", "data": {"path": f"{vm.sockets}/serial"}}
    backend = {"type": "socket", "data": {"addr": address, "server": True, "wait": False}}
    monitor(vm, "chardev-change", id="serial1", backend=backend)
