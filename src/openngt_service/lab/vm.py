# SPDX-License-Identifier: GPL-3.0-or-later
"""Lab VMs: QEMU processes with a throw-away disk, known by the folder they live in.

A lab is a folder with one folder for each VM, which is also the adapter's `qemu_directory`. What a VM is stands in its
`lab.json`, written before the process starts, so that whoever comes later finds and ends the process. Sockets live in a
folder of their own under the system's temporary folder, because a Unix socket's path may have 107 bytes only.
"""

import asyncio
import json
import re
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from openngt.effects import Finished, replace_file, run
from openngt.errors import OpenNGTError

from ..hypervisors.qemu_clone import card_address, copy_disk
from ..hypervisors.qemu_disks import require_snapshot, revert_stopped, snapshot_running, snapshot_stopped
from ..hypervisors.qmp import open_qmp
from ..hypervisors.vm_files import VM_FILE, VmFile, read_vm_file, write_vm_file
from .accelerator import QEMU, Accelerator
from .image import Image, Report
from .process import end_process, free_port
from .ssh import SshTarget, make_key, make_password

__all__ = ["Lab", "LabVm"]

LAB_FILE = "lab.json"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
BOOT_SECONDS = {"kvm": 120.0, "tcg": 600.0}
STOP_SECONDS = 10.0
TELL_SECONDS = 15.0
QMP_SECONDS = 30.0
COPY_SECONDS = 600.0
LOGIN = " login:"
VIRTIO_NAME = "org.openngt.guest_tools.0"
"""What the guest's udev calls the virtio port, below /dev/virtio-ports."""


@dataclass(frozen=True)
class LabVm:
    name: str
    vm_uuid: str
    ssh_port: int
    folder: str
    sockets: str
    accelerator: Accelerator
    memory_mb: int
    cdrom: str | None = None
    """A user's own disc in the second drive."""
    serial: bool = True
    """A second serial port, which is for the service."""
    virtio_port: bool = False
    network: bool = True
    cloned_from: str | None = None
    """UUID of the VM that it is a copy of."""
    cloud_init: bool = False
    """It does what a disc tells it at its first boot; its name, too, is the disc's matter."""

    @property
    def disk(self) -> Path:
        return Path(self.folder) / "disk.qcow2"

    @property
    def target(self) -> SshTarget:
        folder = Path(self.folder)
        return SshTarget(self.ssh_port, folder.parent / "ssh/id_ed25519", folder / "known_hosts")

    @property
    def console(self) -> Path:
        return Path(self.folder) / "console.log"

    @property
    def console_socket(self) -> Path:
        """Of the first serial port, where the guest has its console."""
        return Path(self.sockets) / "console"

    @property
    def lab_qmp(self) -> Path:
        """The lab's own monitor; the other one is the adapter's, and each serves one client."""
        return Path(self.sockets) / "lab.qmp"

    @property
    def pid(self) -> int | None:
        """Of the running QEMU process; None when it is not running. A reused number is told by the VM's UUID."""
        try:
            pid = int((Path(self.folder) / "qemu.pid").read_text(encoding="ascii"))
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if self.vm_uuid.encode() in arguments else None

    def ssh(self, *remote: str, user: str = "root", timeout: float = 120.0) -> Finished:
        """Run one shell command line in the guest."""
        return run(self.target.command(user, *remote), timeout=timeout)


class Lab:
    def __init__(self, directory: Path, report: Report) -> None:
        self.directory = directory.absolute()
        self._report = report

    @property
    def key(self) -> Path:
        return self.directory / "ssh/id_ed25519"

    @property
    def operator_password(self) -> Path:
        """Password of the guests' user `operator`, for sudo."""
        return self.directory / "ssh/operator.password"

    def vms(self) -> list[LabVm]:
        """Every VM of the lab, running or not, by name."""
        found = []
        for path in sorted(self.directory.glob(f"*/{LAB_FILE}")):
            found.append(LabVm(**json.loads(path.read_text(encoding="utf-8"))))
        return found

    def vm(self, name: str) -> LabVm:
        for vm in self.vms():
            if vm.name == name:
                return vm
        known = ", ".join(vm.name for vm in self.vms()) or "none"
        raise OpenNGTError("VM_NOT_FOUND", f"the lab has no VM {name} (it has: {known})", remedy="openngt lab up NAME")

    def clone(self, name: str, new: str) -> LabVm:
        """A copy of a VM, on or off, that is not started yet: another UUID, network card, ports, and empty drives.

        The copy of one that runs is as a power cut would leave it. INVALID_INPUT, VM_NOT_FOUND, HYPERVISOR_FAILED.
        """
        _require_name(new)
        parent, folder = self.vm(name), self.directory / new
        if (folder / LAB_FILE).exists():
            raise OpenNGTError("INVALID_INPUT", f"the lab has a VM {new} already")
        copy = replace(
            parent,
            name=new,
            vm_uuid=str(uuid.uuid4()),
            ssh_port=0,
            sockets="",
            folder=str(folder),
            cdrom=None,
            cloned_from=parent.vm_uuid,
        )
        _make_folder(copy)
        asyncio.run(_copy_disk(parent, copy))
        (folder / "hostname").write_text(new, encoding="ascii")
        _write_lab_file(copy)
        write_vm_file(folder, _description(copy))
        self._report(f"{new}: a copy of {name}, UUID {copy.vm_uuid}")
        return copy

    def snapshot(self, name: str, snapshot: str) -> None:
        """Keep the state of a VM's disk, on or off. INVALID_INPUT when there is one of that name."""
        _require_name(snapshot)
        vm = self.vm(name)
        asyncio.run(_snapshot(vm, snapshot))
        self._report(f"{name}: snapshot {snapshot}")

    def revert(self, name: str, snapshot: str) -> LabVm:
        """Pull the plug of a VM and put its disk back; it is off then. NOT_FOUND names the snapshots that there are."""
        vm = self.vm(name)
        asyncio.run(require_snapshot(vm.name, vm.disk, snapshot))  # before the plug is pulled
        self._stop(vm)
        asyncio.run(revert_stopped(vm.name, vm.disk, snapshot))
        self._report(f"{name}: put back to the snapshot {snapshot}")
        return vm

    def start(
        self,
        name: str,
        image: Image,
        accelerator: Accelerator,
        *,
        memory_mb: int = 1024,
        cdrom: Path | None = None,
        serial: bool = True,
        virtio_port: bool = False,
        network: bool = True,
        cloud_init: bool = False,
        off: bool = False,
    ) -> LabVm:
        """Start a VM without waiting for its guest. A running one is left alone; a stopped one keeps its disk.

        With `off` it is only made ready for whoever runs the start command of its description, as the service does.
        """
        _require_name(name)
        self._make_keys()
        folder = self.directory / name
        if not (folder / LAB_FILE).exists():
            disc = str(cdrom.absolute()) if cdrom else None
            vm = _new_vm(folder, accelerator, memory_mb, disc, serial, virtio_port, network, cloud_init)
            self._create(vm, image)
        else:
            vm = self.vm(name)
        if vm.pid is not None:
            self._report(f"{name}: runs already")
            return vm
        return self._make_ready(vm, image)[0] if off else self._boot(vm, image)

    def wait(self, vm: LabVm) -> None:
        """Until the guest answers a command over SSH; GUEST_UNREACHABLE names the console's log.

        A VM without a network is waited for until its console asks for a login.
        """
        seconds = BOOT_SECONDS[vm.accelerator]
        started = time.monotonic()
        self._report(f"{vm.name}: booting (at most {seconds:g} s; console: {vm.console})")
        answer, told = "no answer yet", started
        while time.monotonic() - started < seconds:
            if vm.pid is None:
                raise OpenNGTError("GUEST_UNREACHABLE", f"{vm.name}: QEMU ended; console: {vm.console}")
            if not vm.network:
                if LOGIN in vm.console.read_text(encoding="utf-8", errors="replace"):
                    self._report(f"{vm.name}: asks for a login after {time.monotonic() - started:.0f} s")
                    return
            elif _greets(vm.ssh_port):
                done = vm.ssh("true", timeout=60)
                if done.returncode == 0:
                    self._report(f"{vm.name}: answers over SSH after {time.monotonic() - started:.0f} s")
                    return
                answer = done.stderr.strip()
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                self._report(f"{vm.name}: {told - started:.0f} s, console: {_last_line(vm.console)}")
            time.sleep(0.5)
        raise OpenNGTError(
            "GUEST_UNREACHABLE",
            f"{vm.name}: no {'SSH' if vm.network else 'login'} within {seconds:g} s ({answer}); console: {vm.console}",
            {"console": str(vm.console)},
        )

    def down(self, names: Sequence[str] = ()) -> list[str]:
        """End VMs (all when none is named) and delete all that is theirs, disks included; the names of those ended."""
        vms = [self.vm(name) for name in names] if names else self.vms()
        for vm in vms:
            self._stop(vm)
            shutil.rmtree(vm.sockets, ignore_errors=True)
            shutil.rmtree(vm.folder)
            self._report(f"{vm.name}: ended, its disk is deleted")
        return [vm.name for vm in vms]

    def _make_keys(self) -> None:
        self.key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_key(self.key, "openngt lab")
        make_password(self.operator_password)

    def _create(self, vm: LabVm, image: Image) -> None:
        folder = _make_folder(vm)
        _checked(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image.disk), "-F", "raw", str(vm.disk)])
        (folder / "hostname").write_text(folder.name, encoding="ascii")

    def _boot(self, vm: LabVm, image: Image) -> LabVm:
        """QEMU binds the port later than we choose it; when somebody took it meanwhile, another one is tried."""
        for _ in range(5):
            vm, command = self._make_ready(vm, image)
            done = run(command, timeout=60)
            if done.returncode == 0:
                self._report(f"{vm.name}: started (pid {vm.pid}, {vm.accelerator}, ssh port {vm.ssh_port})")
                return vm
            if "host forwarding" not in done.stderr:
                break
        raise OpenNGTError("COMMAND_FAILED", f"{vm.name}: QEMU did not start: {done.stderr.strip()}")

    def _make_ready(self, vm: LabVm, image: Image) -> tuple[LabVm, list[str]]:
        """The VM with ports and sockets, and what starts it. A port that the adapter has noted since is added now."""
        if vm.sockets:
            shutil.rmtree(vm.sockets, ignore_errors=True)
        serial = vm.serial or _port_was_added(vm)
        vm = replace(vm, serial=serial, ssh_port=free_port(), sockets=tempfile.mkdtemp(prefix="openngt-lab-"))
        folder = Path(vm.folder)
        _write_lab_file(vm)
        vm.target.pin(make_key(folder / "host_key", vm.name))
        command = qemu_command(vm, self.directory / "ssh", image)
        write_vm_file(folder, replace(_description(vm), start=tuple(command)))
        return vm, command

    def _stop(self, vm: LabVm) -> None:
        """Pulls the plug: the disk is thrown away. The process is ours for certain, `pid` compares the UUID."""
        if (pid := vm.pid) is not None:
            end_process(pid, STOP_SECONDS, alive=lambda: vm.pid is not None)


def _require_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise OpenNGTError("INVALID_INPUT", f"name {name!r}: use a-z, 0-9 and '-', at most 32 characters")


def _make_folder(vm: LabVm) -> Path:
    """The VM's folder, with the key that SSH will know it by."""
    folder = Path(vm.folder)
    if folder.exists():
        shutil.rmtree(folder)  # of a creation that was cut short: `lab.json` comes last
    folder.mkdir(mode=0o700)
    make_key(folder / "host_key", vm.name)
    return folder


def _write_lab_file(vm: LabVm) -> None:
    replace_file(str(Path(vm.folder) / LAB_FILE), json.dumps(asdict(vm), indent=2).encode() + b"\n")


async def _copy_disk(parent: LabVm, copy: LabVm) -> None:
    async with open_qmp(parent.lab_qmp, parent.name, QMP_SECONDS) as qmp:
        await copy_disk(_description(parent), parent.disk, copy.disk, qmp, COPY_SECONDS)


async def _snapshot(vm: LabVm, name: str) -> None:
    async with open_qmp(vm.lab_qmp, vm.name, QMP_SECONDS) as qmp:
        if qmp is None:
            await snapshot_stopped(vm.name, vm.disk, name)
        else:
            await snapshot_running(qmp, vm.name, vm.disk, name)


def qemu_command(vm: LabVm, ssh: Path, image: Image) -> list[str]:
    """Two CD-ROM drives, `cd0` empty; two monitors; SSH on a loopback port; secrets by file, never by argument."""
    folder, sockets = Path(vm.folder), Path(vm.sockets)
    command = [QEMU, "-name", vm.name, "-uuid", vm.vm_uuid, "-nodefaults", "-no-user-config", "-display", "none"]
    command += ["-daemonize", "-pidfile", str(folder / "qemu.pid"), "-m", str(vm.memory_mb), "-smp", "2"]
    command += ["-accel", "kvm", "-cpu", "host"] if vm.accelerator == "kvm" else ["-accel", "tcg,thread=multi"]
    command += ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
    command += ["-append", f"root=/dev/vda rw console=ttyS0 {_first_boot(vm)}"]
    command += _ports(vm)
    command += ["-device", "virtio-rng-pci"]
    command += ["-drive", f"if=virtio,format=qcow2,file={_value(vm.disk)}"]
    if vm.network:
        command += ["-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{vm.ssh_port}-:22"]
        command += ["-device", f"virtio-net-pci,netdev=net0,mac={card_address(vm.vm_uuid, 0)}"]
    command += ["-device", "virtio-scsi-pci", "-device", "scsi-cd,id=cd0"]
    if vm.cdrom:
        command += ["-drive", f"if=none,id=users,format=raw,readonly=on,file={_value(Path(vm.cdrom))}"]
    command += ["-device", "scsi-cd,id=cd1" + (",drive=users" if vm.cdrom else "")]
    for name in ("adapter.qmp", "lab.qmp"):
        command += ["-qmp", f"unix:{_value(sockets / name)},server=on,wait=off"]
    seed = {
        "host_key": folder / "host_key",
        "authorized_keys": ssh / "id_ed25519.pub",
        "operator_password": ssh / "operator.password",
    }
    for name, path in seed.items():
        command += ["-fw_cfg", f"name=opt/openngt-lab/{name},file={_value(path)}"]
    return command


def _first_boot(vm: LabVm) -> str:
    """A name on the kernel's command line would outdo the one that cloud-init gives."""
    return "cloud-init=enabled" if vm.cloud_init else f"cloud-init=disabled systemd.hostname={vm.name}"


def _ports(vm: LabVm) -> list[str]:
    """The console on the first serial port; the service's on the second one, on a virtio port, or on both."""
    described, log = _description(vm), Path(vm.folder) / "console.log"
    console = f"socket,id=console,path={_value(vm.console_socket)},server=on,wait=off,logfile={_value(log)}"
    ports = ["-chardev", console, "-serial", "chardev:console"]
    if described.serial is not None:
        ports += ["-serial", f"unix:{_value(described.serial)},server=on,wait=off"]
    if described.virtio_port is not None:
        ports += ["-chardev", f"socket,id=openngt,path={_value(described.virtio_port)},server=on,wait=off"]
        ports += ["-device", "virtio-serial-pci", "-device", f"virtserialport,chardev=openngt,name={VIRTIO_NAME}"]
    return ports


def _description(vm: LabVm) -> VmFile:
    sockets = Path(vm.sockets)
    serial = sockets / "serial" if vm.serial else None
    virtio_port = sockets / "virtio" if vm.virtio_port else None
    return VmFile(
        vm.name,
        vm.vm_uuid,
        sockets / "adapter.qmp",
        serial=serial,
        virtio_port=virtio_port,
        disk=vm.disk,
        cloned_from=vm.cloned_from,
    )


def _port_was_added(vm: LabVm) -> bool:
    path = Path(vm.folder) / VM_FILE
    return path.exists() and read_vm_file(path).serial is not None


def _new_vm(
    folder: Path,
    accelerator: Accelerator,
    memory_mb: int,
    cdrom: str | None,
    serial: bool,
    virtio_port: bool,
    network: bool,
    cloud_init: bool,
) -> LabVm:
    vm_uuid, ssh_port, sockets = str(uuid.uuid4()), 0, ""  # the last two are of each start
    return LabVm(
        folder.name,
        vm_uuid,
        ssh_port,
        str(folder),
        sockets,
        accelerator,
        memory_mb,
        cdrom,
        serial,
        virtio_port,
        network,
        cloud_init=cloud_init,
    )


def _value(path: Path) -> str:
    """A comma in a QEMU option's value is written twice."""
    return str(path).replace(",", ",,")


def _last_line(console: Path) -> str:
    """What the guest said last, without the colours of its terminal."""
    lines = console.read_text(encoding="utf-8", errors="replace").splitlines() if console.exists() else []
    plain = (re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[^ -~]", "", line).strip() for line in reversed(lines[-20:]))
    return next((line for line in plain if line), "silent")


def _greets(port: int) -> bool:
    """QEMU accepts for a guest that is not there yet, so only the server's first words count."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _checked(command: list[str]) -> None:
    done = run(command)
    if done.returncode:
        raise OpenNGTError("COMMAND_FAILED", f"{command[0]}: {done.stderr.strip()}")
