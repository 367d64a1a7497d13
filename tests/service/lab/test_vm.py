# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's VMs as processes: real QEMU with a kernel of a few bytes."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt_service.hypervisors.qemu import QemuHypervisor
from openngt_service.hypervisors.vm_files import read_vm_file
from openngt_service.lab.image import Image
from openngt_service.lab.inventory import inventory
from openngt_service.lab.vm import Lab, LabVm, qemu_command


def halting_kernel() -> bytes:
    """The least that QEMU takes for a Linux kernel, by the boot protocol's offsets; it halts the processor."""
    kernel = bytearray(8192)
    kernel[0x1F1] = 1  # one sector of setup code
    kernel[0x200:0x202] = b"\xeb\x66"  # jump over the header
    kernel[0x202:0x206] = b"HdrS"
    kernel[0x206:0x208] = b"\x0c\x02"  # protocol 2.12
    kernel[0x211] = 1  # loaded high
    kernel[0x22C:0x230] = b"\xff\xff\xff\x37"  # where the RAM disk may end
    kernel[0x268:0x26C] = b"\xfa\xf4\xeb\xfd"  # cli; hlt; and again
    return bytes(kernel)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    folder = tmp_path / "image"
    folder.mkdir()
    made = Image(folder)
    made.disk.write_bytes(bytes(1 << 20))
    made.kernel.write_bytes(halting_kernel())
    made.initrd.write_bytes(bytes(4096))
    return made


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path / "lab", lambda line: None)
    yield lab
    lab.down()


@pytest.fixture
def vm(lab: Lab, image: Image) -> LabVm:
    return lab.start("web1", image, "tcg", memory_mb=64)


def arguments(vm: LabVm) -> list[str]:
    return Path(f"/proc/{vm.pid}/cmdline").read_text(encoding="utf-8").split("\0")


def crash(vm: LabVm) -> None:
    assert vm.pid is not None
    os.kill(vm.pid, signal.SIGKILL)
    while vm.pid is not None:
        time.sleep(0.02)


def test_a_started_vm_is_listed_and_described_for_the_adapter(lab: Lab, vm: LabVm) -> None:
    assert lab.vms() == [vm]
    assert vm.pid is not None
    described = read_vm_file(lab.directory / "web1/vm.json")
    assert (described.vm_name, described.vm_uuid) == ("web1", vm.vm_uuid)
    assert described.qmp.is_socket()


def test_a_copy_shares_nothing_with_its_parent_but_the_content_of_its_disk(lab: Lab, vm: LabVm, image: Image) -> None:
    """Of a VM that runs; what its guest writes afterwards is its own."""
    lab.clone("web1", "web1-copy")
    copy = lab.start("web1-copy", image, "tcg")
    assert copy.cloned_from == vm.vm_uuid != copy.vm_uuid and copy.ssh_port != vm.ssh_port
    described = read_vm_file(lab.directory / "web1-copy/vm.json")
    assert (described.cloned_from, described.disk) == (vm.vm_uuid, copy.disk)
    [cards] = [[word for word in arguments(one) if "mac=" in word] for one in (vm,)]
    assert cards and not set(cards) & set(arguments(copy))
    assert not [word for word in arguments(copy) if vm.sockets in word or f"{vm.folder}/" in word]
    seen = {one.vm_name: one for one in asyncio.run(QemuHypervisor(lab.directory).list_vms())}
    assert seen["web1-copy"].cloned_from == vm.vm_uuid and seen["web1"].cloned_from is None
    assert {drive.state for drive in seen["web1-copy"].drives} == {"empty"}
    with pytest.raises(OpenNGTError) as caught:
        lab.clone("web1", "web1-copy")
    assert caught.value.code == "INVALID_INPUT"


def test_a_disk_is_put_back_to_a_snapshot_and_the_vm_is_off_then(lab: Lab, vm: LabVm, image: Image) -> None:
    lab.snapshot("web1", "before")
    with pytest.raises(OpenNGTError) as caught:
        lab.revert("web1", "never-made")
    assert caught.value.code == "NOT_FOUND" and "before" in caught.value.message
    assert lab.vm("web1").pid is not None, "no plug was pulled for nothing"
    assert lab.revert("web1", "before").pid is None
    assert lab.start("web1", image, "tcg").pid is not None


def test_starting_again_leaves_a_running_vm_alone(lab: Lab, vm: LabVm, image: Image) -> None:
    assert lab.start("web1", image, "tcg") == vm


def test_a_vm_made_ready_is_off_until_the_service_starts_it(lab: Lab, image: Image) -> None:
    ready = lab.start("web1", image, "tcg", memory_mb=64, off=True)
    assert ready.pid is None
    adapter = QemuHypervisor(lab.directory)
    asyncio.run(adapter.power(ready.vm_uuid, "on"))
    assert lab.vm("web1").pid is not None
    assert lab.start("web1", image, "tcg", off=True) == ready, "it runs already"


def test_cloud_init_is_asked_for_by_the_kernels_command_line(lab: Lab, vm: LabVm, image: Image) -> None:
    """And names the VM then: systemd would hold to the command line's name."""
    asked = lab.start("web2", image, "tcg", memory_mb=64, cloud_init=True)
    lab.clone("web2", "web2-copy")
    copy = lab.start("web2-copy", image, "tcg")
    [ordinary, *with_it] = [words[words.index("-append") + 1] for words in map(arguments, (vm, asked, copy))]
    assert "cloud-init=disabled" in ordinary and "systemd.hostname=web1" in ordinary
    assert all("cloud-init=enabled" in line and "systemd.hostname" not in line for line in with_it)


def test_a_vm_that_ended_starts_again_with_its_identity_and_disk(lab: Lab, vm: LabVm, image: Image) -> None:
    disk = lab.directory / "web1/disk.qcow2"
    inode = disk.stat().st_ino
    crash(vm)
    again = lab.start("web1", image, "tcg")
    assert (again.vm_uuid, disk.stat().st_ino) == (vm.vm_uuid, inode)
    assert again.pid is not None
    assert not Path(vm.sockets).exists()


def test_down_ends_the_process_and_leaves_no_file(lab: Lab, vm: LabVm) -> None:
    pid = vm.pid
    assert lab.down(["web1"]) == ["web1"]
    assert vm.pid is None
    assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    assert not Path(vm.sockets).exists()
    assert not Path(vm.folder).exists()


def test_down_never_ends_a_stranger_that_got_the_number(lab: Lab, vm: LabVm) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        pid_file = Path(vm.folder) / "qemu.pid"
        own = pid_file.read_text(encoding="ascii")
        pid_file.write_text(str(stranger.pid), encoding="ascii")
        assert vm.pid is None
        pid_file.write_text(own, encoding="ascii")
        lab.down()
        assert stranger.poll() is None
        stranger.kill()


def test_a_creation_that_was_cut_short_is_begun_again(lab: Lab, image: Image) -> None:
    (lab.directory / "web1").mkdir(parents=True)
    (lab.directory / "web1/disk.qcow2").write_bytes(b"torn")
    assert lab.start("web1", image, "tcg", memory_mb=64).pid is not None


def test_secrets_are_given_by_file_and_are_private(lab: Lab, vm: LabVm) -> None:
    host_key = lab.directory / "web1/host_key"
    for secret in (host_key, lab.key, lab.operator_password):
        assert secret.stat().st_mode & 0o777 == 0o600
        assert secret.read_text(encoding="ascii").strip() not in "\0".join(arguments(vm))


def test_the_host_key_is_pinned_before_the_first_boot(lab: Lab, vm: LabVm) -> None:
    public = (lab.directory / "web1/host_key.pub").read_text(encoding="ascii").strip()
    assert vm.target.known_hosts.read_text(encoding="ascii") == f"[127.0.0.1]:{vm.ssh_port} {public}\n"
    assert "StrictHostKeyChecking=yes" in vm.target.command("root", "true")


def test_a_users_disc_is_in_the_second_drive_read_only(lab: Lab, image: Image, tmp_path: Path) -> None:
    disc = tmp_path / "a,b.iso"
    disc.write_bytes(bytes(2048))
    vm = lab.start("db1", image, "tcg", memory_mb=64, cdrom=disc)
    assert "scsi-cd,id=cd0" in arguments(vm)
    assert f"if=none,id=users,format=raw,readonly=on,file={tmp_path}/a,,b.iso" in arguments(vm)


@pytest.mark.parametrize("name", ["", "-x", "Web", "a/b", "..", "x" * 33])
def test_a_name_that_is_no_host_name_is_refused(lab: Lab, image: Image, name: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        lab.start(name, image, "tcg")
    assert caught.value.code == "INVALID_INPUT"


def test_an_unknown_vm_names_those_there_are(lab: Lab, vm: LabVm) -> None:
    with pytest.raises(OpenNGTError, match="it has: web1"):
        lab.down(["web2"])
    assert vm.pid is not None


def test_waiting_for_a_dead_vm_names_the_console(lab: Lab, vm: LabVm) -> None:
    crash(vm)
    with pytest.raises(OpenNGTError, match=r"QEMU ended; console: .*console\.log") as caught:
        lab.wait(vm)
    assert caught.value.code == "GUEST_UNREACHABLE"


def test_the_inventory_pins_the_host_key_and_names_the_vm(lab: Lab, vm: LabVm) -> None:
    document = inventory(lab, [vm], "operator")["all"]
    host = document["hosts"]["web1"]
    assert (host["openngt_vm"], host["ansible_port"]) == (vm.vm_uuid, vm.ssh_port)
    assert str(vm.target.known_hosts) in host["ansible_ssh_common_args"]
    assert document["vars"]["ansible_become"] is True
    assert lab.operator_password.read_text(encoding="ascii") not in str(document)


def test_kvm_uses_the_hosts_processor(vm: LabVm, lab: Lab, image: Image) -> None:
    fast = LabVm(**{**vars(vm), "accelerator": "kvm"})
    assert [
        word for word in qemu_command(fast, lab.directory / "ssh", image) if word in ("-accel", "kvm", "-cpu", "host")
    ] == ["-accel", "kvm", "-cpu", "host"]


def test_a_port_that_was_added_while_the_vm_ran_is_there_after_a_full_stop_and_start(lab: Lab, image: Image) -> None:
    vm = lab.start("plain", image, "tcg", memory_mb=64, serial=False)
    adapter = QemuHypervisor(lab.directory)

    def port() -> str:
        [seen] = asyncio.run(adapter.find("plain"))
        return seen.serial_port

    assert port() == "none"
    assert asyncio.run(adapter.add_serial_channel(vm.vm_uuid))
    assert port() == "needs_full_stop_and_start"
    crash(vm)
    again = lab.start("plain", image, "tcg")
    assert port() == "ready"
    assert read_vm_file(lab.directory / "plain/vm.json").serial == Path(again.sockets) / "serial"


def test_a_vm_may_have_a_virtio_port_and_no_network(lab: Lab, image: Image) -> None:
    vm = lab.start("alone", image, "tcg", memory_mb=64, virtio_port=True, network=False)
    assert not [argument for argument in arguments(vm) if "hostfwd" in argument or "virtio-net" in argument]
    channels = asyncio.run(QemuHypervisor(lab.directory).serial_channels())[vm.vm_uuid]
    assert [channel.kind for channel in channels] == ["virtio", "serial"]
    assert all(channel.socket.is_socket() for channel in channels)
