# SPDX-License-Identifier: GPL-3.0-or-later
"""Real QEMU processes without a guest: their CPUs never start, their drives and monitors are complete."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import QMPClient

QEMU = "qemu-system-x86_64"


@dataclass
class Machine:
    """One QEMU process; `qmp` is the adapter's monitor, `lab` the tests' own."""

    vm_name: str
    vm_uuid: str
    qmp: Path
    lab: Path
    process: subprocess.Popen[bytes]

    async def ask(self, command: str, **arguments: Any) -> Any:
        client = QMPClient("test")
        await client.connect(str(self.lab))
        try:
            return await client.execute(command, {key.replace("_", "-"): value for key, value in arguments.items()})
        finally:
            await client.disconnect()

    async def media(self) -> dict[str, str | None]:
        """What each drive holds, as QEMU tells the tests and not the adapter."""
        return {block["qdev"]: block.get("inserted", {}).get("file") for block in await self.ask("query-block")}

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def sockets() -> Iterator[Path]:
    """Short enough for the 107 bytes of a Unix socket's path, which pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp(prefix="ngt-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "vms"
    folder.mkdir()
    return folder


def describe(directory: Path, folder: str, **fields: Any) -> None:
    (directory / folder).mkdir()
    (directory / folder / "vm.json").write_text(json.dumps(fields), encoding="utf-8")


@pytest.fixture
def start(directory: Path, sockets: Path) -> Iterator[Callable[..., Machine]]:
    """`start(name, *further QEMU arguments)`: a VM with the empty drives cd0 and cd1, described for the adapter."""
    if shutil.which(QEMU) is None:
        pytest.fail(f"{QEMU} is not installed: make system-packages")
    machines: list[Machine] = []

    def start(name: str, *arguments: str) -> Machine:
        vm_uuid = str(uuid.uuid4())
        qmp, lab = sockets / f"{len(machines)}.qmp", sockets / f"{len(machines)}.lab"
        command = [QEMU, "-S", "-accel", "tcg", "-m", "32", "-nodefaults", "-no-user-config", "-display", "none"]
        command += ["-uuid", vm_uuid, "-device", "virtio-scsi-pci"]
        command += ["-device", "scsi-cd,id=cd0", "-device", "scsi-cd,id=cd1"]
        for path in (qmp, lab):
            command += ["-qmp", f"unix:{path},server=on,wait=off"]
        process = subprocess.Popen([*command, *arguments])
        machines.append(Machine(name, vm_uuid, qmp, lab, process))
        asyncio.run(_wait_for(qmp, lab, process))
        describe(directory, f"{name}-{len(machines)}", vm_name=name, vm_uuid=vm_uuid, qmp=str(qmp))
        return machines[-1]

    yield start
    for machine in machines:
        machine.stop()


async def _wait_for(qmp: Path, lab: Path, process: subprocess.Popen[bytes]) -> None:
    while not (qmp.exists() and lab.exists()):
        assert process.poll() is None, f"{QEMU} ended at once"
        await asyncio.sleep(0.02)


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    """A raw medium; what is in it does not matter without a guest."""
    path = tmp_path / "tools.iso"
    path.write_bytes(bytes(64 * 2048))
    return path
