# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a QEMU VM: its disk, and its parent's start command with nothing in it that two VMs cannot share.

New are the UUID, the name, every network card's address, every path below the parent's own folders (disk, sockets,
log) and the host's ports. A CD-ROM drive of the parent is one of the copy, too, and empty: a disc that was inserted
while the parent runs does not stand in its command.
"""

import re
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from openngt.errors import OpenNGTError

from .qemu_disks import copy_running, copy_stopped, unsupported
from .qmp import Qmp
from .vm_files import MOST_SOCKET_PATH, VmFile, write_vm_file

__all__ = ["card_address", "clone", "copy_disk", "described_disk", "rewritten", "sockets_below"]

Converse = Callable[[VmFile], AbstractAsyncContextManager[Qmp | None]]
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")

MOST_FILE = 1024 * 1024
"""Files that the command names and that are copied: keys and seeds, never images."""
MAC = re.compile(r"(?<=\bmac=)[0-9A-Fa-f:]{17}")
HOST_PORT = re.compile(r"(?<=hostfwd=)((?:tcp|udp)?:[0-9.]*:)[0-9]+(?=-)")


async def clone(parent: VmFile, vm_name: str, converse: Converse, seconds: float) -> str:
    """`Hypervisor.clone`: a folder beside the parent's. What is left of a copy that failed is deleted."""
    disk = described_disk(parent, "clone")
    assert parent.path is not None, "read from a file"
    if parent.cannot_start is not None:
        raise unsupported(parent.vm_name, "clone", parent.cannot_start)
    if not NAME.fullmatch(vm_name):
        raise OpenNGTError("INVALID_INPUT", "vm_name: use letters, digits, '.', '_' and '-', at most 64 of them")
    folder = parent.path.parent.parent / vm_name
    copy = sockets_below(parent, folder, str(uuid.uuid4()), vm_name)
    copy = replace(copy, start=rewritten(parent, copy, free_ports(parent)))
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise OpenNGTError("INVALID_INPUT", f"vm_name: there is a folder {folder} already") from None
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        async with converse(parent) as qmp:
            await copy_disk(parent, disk, folder / disk.name, qmp, seconds)
        for path in files_of(parent):
            shutil.copy2(path, folder / path.name)
        write_vm_file(folder, copy)  # the last: until then nobody sees the copy
        undo.pop_all()
    return copy.vm_uuid


async def copy_disk(vm: VmFile, disk: Path, copy: Path, qmp: Qmp | None, seconds: float) -> None:
    """`qmp`: a conversation with the VM; None where it is off."""
    if qmp is None:
        await copy_stopped(disk, copy)
    else:
        await copy_running(qmp, vm.vm_name, disk, copy, seconds)


def described_disk(vm: VmFile, action: str) -> Path:
    """DISK_UNSUPPORTED where the description names none."""
    if vm.disk is None:
        raise unsupported(vm.vm_name, action, f"{vm.path} has no field disk")
    return vm.disk


def free_ports(parent: VmFile) -> list[int]:
    """Of this host, as many as the command takes; all are held until the last is found, so that each is another."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(host_ports(parent))]
        return [int(probe.getsockname()[1]) for probe in probes]


def card_address(vm_uuid: str, number: int) -> str:
    """QEMU's own prefix, then what follows from the VM: the same at each start, another one for each VM."""
    digits = f"{(int(vm_uuid[-6:], 16) + number) % 0x1000000:06x}"
    return f"52:54:00:{digits[:2]}:{digits[2:4]}:{digits[4:]}"


def sockets_below(parent: VmFile, folder: Path, vm_uuid: str, vm_name: str) -> VmFile:
    """The copy's description, without its start command; DISK_UNSUPPORTED where its sockets' paths were too long."""
    copy = VmFile(
        vm_name=vm_name,
        vm_uuid=vm_uuid,
        qmp=folder / "adapter.qmp",
        serial=None if parent.serial is None else folder / "serial",
        virtio_port=None if parent.virtio_port is None else folder / "virtio",
        disk=None if parent.disk is None else folder / parent.disk.name,
        cloned_from=parent.vm_uuid,
    )
    if len(str(folder / "adapter.qmp").encode()) > MOST_SOCKET_PATH:
        raise unsupported(parent.vm_name, "clone", f"a Unix socket below {folder} would have too long a path")
    return copy


def rewritten(parent: VmFile, copy: VmFile, ports: Sequence[int]) -> tuple[str, ...]:
    """The copy's start command. `ports`: free ones of this host, as many as `hostfwd` names.

    DISK_UNSUPPORTED when the command does not name the parent's UUID and disk: it would start the parent once more.
    """
    assert parent.path is not None and copy.qmp.is_absolute(), "read from a file; made by sockets_below"
    for what, text in (("UUID", parent.vm_uuid), ("disk", str(parent.disk))):
        if not any(text in word for word in parent.start):
            raise unsupported(parent.vm_name, "clone", f"its start command does not name its {what} {text}")
    paths = _paths(parent, copy)
    free = iter(ports)
    words = [_without_host_ports(_moved(word, paths), free) for word in parent.start]
    words = [word.replace(parent.vm_uuid, copy.vm_uuid) for word in words]
    return tuple(_named(_with_new_cards(words, copy.vm_uuid), parent.vm_name, copy.vm_name))


def host_ports(parent: VmFile) -> int:
    """How many ports of this host the command takes."""
    return sum(len(HOST_PORT.findall(word)) for word in parent.start)


def files_of(parent: VmFile) -> list[Path]:
    """Small files of the parent's folder that its command names: keys and the like, which the copy gets, too."""
    assert parent.path is not None, "read from a file"
    folder, text = parent.path.parent, "\0".join(parent.start)
    return [
        path
        for path in sorted(folder.iterdir())
        if str(path) in text
        and path.is_file()
        and path != parent.disk
        and path.suffix not in (".log", ".pid")
        and path.stat().st_size <= MOST_FILE
    ]


def _paths(parent: VmFile, copy: VmFile) -> Mapping[str, str]:
    """What stands for what, the longer first, so that a socket is not taken for the folder that it lies in."""
    assert parent.path is not None, "read from a file"
    folder = copy.qmp.parent
    paths = {str(parent.disk): str(copy.disk), str(parent.qmp): str(copy.qmp), str(parent.path.parent): str(folder)}
    for old, new in ((parent.serial, copy.serial), (parent.virtio_port, copy.virtio_port)):
        if old is not None:
            paths[str(old)] = str(new)
    if parent.qmp.parent != parent.path.parent:  # a folder of sockets: other monitors lie beside the adapter's
        paths[str(parent.qmp.parent) + "/"] = str(folder) + "/"
    return dict(sorted(paths.items(), key=lambda pair: -len(pair[0])))


def _moved(word: str, paths: Mapping[str, str]) -> str:
    return re.sub("|".join(map(re.escape, paths)), lambda match: paths[match[0]], word)


def _without_host_ports(word: str, free: Iterator[int]) -> str:
    return HOST_PORT.sub(lambda match: f"{match[1]}{next(free)}", word)


def _with_new_cards(words: Sequence[str], vm_uuid: str) -> list[str]:
    """A card without an address has QEMU's default, which two VMs of one network must not share."""
    cards, changed = 0, []
    for before, word in zip(("", *words), words, strict=False):
        if (before == "-device" and "netdev=" in word) or (before in ("-nic", "-net") and MAC.search(word)):
            address = card_address(vm_uuid, cards)
            cards += 1
            changed.append(MAC.sub(address, word) if MAC.search(word) else f"{word},mac={address}")
        else:
            changed.append(word)
    return changed


def _named(words: Sequence[str], old: str, new: str) -> list[str]:
    return [
        word if before != "-name" else re.sub(rf"(?<![\w-]){re.escape(old)}(?![\w-])", lambda _: new, word)
        for before, word in zip(("", *words), words, strict=False)
    ]
