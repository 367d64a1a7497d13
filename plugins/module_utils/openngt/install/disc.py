# SPDX-License-Identifier: GPL-3.0-or-later
# Runs on targets: Python 3.6, standard library only.
"""Find this VM's tools disc and have it mounted read-only for a while.

A disc is recognised by its manifest: a label can be anybody's, and two discs may carry the same one. What the manifest
says is only used to choose the disc here; whether it may be believed is judged by the installer.
"""

import contextlib
import json
import os
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from ..effects import run
from ..errors import OpenNGTError
from .facts import read_text
from .turn import turn

__all__ = ["Disc", "candidates", "choose", "mounted_disc", "read_manifest", "where"]

MANIFEST = "manifest.json"
MANIFEST_FORMAT = "openngt-manifest-1"
MANIFEST_LIMIT = 32768
ATTEMPTS = 10
# Nothing on a disc is started from the disc, and no device node or set-uid bit on it counts.
MOUNT_OPTIONS = "ro,nodev,nosuid,noexec"

Disc = NamedTuple("Disc", [("device", str), ("vm_uuid", str), ("generation", int)])


def candidates(label: str, devices: str = "/dev", blocks: str = "/sys/block") -> List[str]:
    """CD-ROM drives of this guest, the one that udev found under the label first; each once."""
    found: List[str] = []
    by_label = os.path.join(devices, "disk", "by-label", label)
    if os.path.exists(by_label):
        found.append(os.path.realpath(by_label))
    names = os.listdir(blocks) if os.path.isdir(blocks) else []
    found += [os.path.join(devices, name) for name in sorted(names) if name.startswith("sr")]
    return list(dict.fromkeys(found))


def read_manifest(folder: str) -> Optional[Dict[str, Any]]:
    """The manifest of a mounted disc, or None when it is not a tools disc."""
    try:
        with open(os.path.join(folder, MANIFEST), "rb") as stream:
            found = json.loads(stream.read(MANIFEST_LIMIT).decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("format") == MANIFEST_FORMAT else None


def choose(discs: List[Disc], vm_uuid: Optional[str]) -> Disc:
    """The newest disc of this VM; DISC_NOT_FOUND without any, DISC_OF_ANOTHER_VM when all are somebody else's."""
    if not discs:
        raise OpenNGTError("DISC_NOT_FOUND", "no CD-ROM drive of this guest holds a tools disc")
    own = [disc for disc in discs if vm_uuid is None or disc.vm_uuid == vm_uuid]
    if not own:
        others = ", ".join("{0} in {1}".format(disc.vm_uuid, disc.device) for disc in discs)
        raise OpenNGTError("DISC_OF_ANOTHER_VM", "this VM is {0}; the tools discs are of {1}".format(vm_uuid, others))
    return max(own, key=lambda disc: disc.generation)


@contextlib.contextmanager
def mounted_disc(
    label: str,
    mount_point: str,
    vm_uuid: Optional[str],
    warn: Callable[[str], None],
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """Folder of this VM's tools disc, mounted.

    Unmounted at the end also when somebody else had mounted it: a disc in use cannot be ejected. Other discs are left
    as they were. A disc that was inserted this moment is waited for, and so is whoever has one mounted this way.
    """
    with turn(), _folder(mount_point):
        disc = _find(label, mount_point, vm_uuid, warn, pause)
        folder, _ours = _mount(disc.device, mount_point)
        try:
            yield folder
        finally:
            _unmount(folder)


@contextlib.contextmanager
def _folder(path: str) -> Iterator[None]:
    """Have the folder for a while; what was missing of it is removed again."""
    missing = []
    while not os.path.exists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        os.mkdir(each, 0o755)
    try:
        yield
    finally:
        for each in missing:
            if not os.listdir(each):
                os.rmdir(each)


def _find(
    label: str,
    mount_point: str,
    vm_uuid: Optional[str],
    warn: Callable[[str], None],
    pause: Callable[[float], None],
) -> Disc:
    # The kernel asks a drive every two seconds whether its medium changed.
    for _attempt in range(ATTEMPTS - 1):
        discs = _look_into_all(label, mount_point, vm_uuid, lambda _text: None)
        if any(disc.vm_uuid == vm_uuid for disc in discs):
            return choose(discs, vm_uuid)
        pause(1.0)
    return choose(_look_into_all(label, mount_point, vm_uuid, warn), vm_uuid)


def _look_into_all(label: str, mount_point: str, vm_uuid: Optional[str], warn: Callable[[str], None]) -> List[Disc]:
    """Where the guest has one drive, this VM's disc is left mounted: it is the one that will be chosen."""
    devices = candidates(label)
    keep = vm_uuid if len(devices) == 1 else None
    seen = [_look_into(device, mount_point, keep, warn) for device in devices]
    return [disc for disc in seen if disc is not None]


def _look_into(device: str, mount_point: str, keep: Optional[str], warn: Callable[[str], None]) -> Optional[Disc]:
    try:
        folder, ours = _mount(device, mount_point)
    except OpenNGTError as error:  # an empty drive, or a disc that no kernel can read: the next one may be ours
        if error.code != "COMMAND_FAILED":
            raise
        warn("{0} was passed over: {1}".format(device, error.message))
        return None
    disc = None
    try:
        manifest = read_manifest(folder)
        if manifest is not None:
            generation = manifest.get("generation")
            disc = Disc(device, str(manifest.get("vm_uuid")), generation if isinstance(generation, int) else 0)
    finally:
        if ours and (disc is None or disc.vm_uuid != keep):
            _unmount(folder)
    return disc


def _mount(device: str, mount_point: str) -> Tuple[str, bool]:
    """(folder, mounted by us): a disc that is mounted already is used where it is."""
    existing = where(device)
    if existing is not None:
        return existing, False
    done = run(["mount", "-t", "iso9660", "-o", MOUNT_OPTIONS, device, mount_point])
    if done.returncode != 0:
        said = done.stderr.strip() or "exit status {0}".format(done.returncode)
        raise OpenNGTError("COMMAND_FAILED", "mount {0}: {1}".format(device, said))
    return mount_point, True


def _unmount(folder: str) -> None:
    done = run(["umount", folder])
    # "not mounted" is what we want: the installer on the disc, or a person, may have been faster.
    if done.returncode != 0 and os.path.ismount(folder):
        raise OpenNGTError("COMMAND_FAILED", "umount {0}: {1}".format(folder, done.stderr.strip()))


def where(device: str) -> Optional[str]:
    """Where a device is mounted, if anywhere."""
    for line in (read_text("/proc/self/mounts") or "").splitlines():
        fields = line.split(" ")
        if fields[0].startswith("/") and os.path.realpath(fields[0]) == os.path.realpath(device):
            return fields[1].replace("\\040", " ")
    return None
