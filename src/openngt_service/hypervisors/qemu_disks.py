# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies and snapshots of a QEMU VM's disk: by QEMU itself while the VM runs, by `qemu-img` while it is off.

Facts it is built on, measured with QEMU 7.2:

* `blockdev-backup` copies a disk as it was at one moment while the guest writes on; the copy is what a power cut at
  that moment would have left. With `sync: top` an overlay stays an overlay of the same image.
* `qemu-img` must not read a disk that a QEMU has open, not even an internal snapshot of it: QEMU's lock refuses that,
  and with the lock overridden the metadata may be half-written.
* An internal snapshot needs qcow2. `blockdev-snapshot-internal-sync` makes one of a running VM's disk, without
  its memory.
"""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

from openngt.errors import OpenNGTError

from .qmp import Qmp

__all__ = [
    "copy_running",
    "copy_stopped",
    "require_snapshot",
    "revert_stopped",
    "snapshot_running",
    "snapshot_stopped",
    "unsupported",
]

POLL_SECONDS = 0.2
JOB = "openngt-clone"
TARGET = "openngt-clone-target"


def unsupported(vm_name: str, what: str, reason: str) -> OpenNGTError:
    message = f"adapter qemu cannot {what} VM {vm_name}: {reason}"
    return OpenNGTError("DISK_UNSUPPORTED", message, {"adapter": "qemu", "action": what, "reason": reason})


async def copy_stopped(disk: Path, copy: Path) -> None:
    """The disk of a VM that is off, in its format, without its snapshots; an overlay stays one of the same image."""
    info = await _info(disk)
    await _img("convert", "-q", "-O", str(info["format"]), *_backing(info), str(disk), str(copy))


async def copy_running(qmp: Qmp, vm_name: str, disk: Path, copy: Path, seconds: float) -> None:
    """The disk of a running VM as it is at one moment. HYPERVISOR_FAILED after so many seconds; the VM runs on."""
    source = await _device_of(qmp, vm_name, disk)
    info = await _info(disk, shared=True)
    await _img("create", "-q", "-f", str(info["format"]), *_overlay(info), str(copy), str(info["virtual-size"]))
    target: dict[str, Any] = {"driver": info["format"], "file": {"driver": "file", "filename": str(copy)}}
    if _overlay(info):
        target["backing"] = None  # the running VM has that image open already
    await qmp.execute("blockdev-add", node_name=TARGET, **target)
    try:
        sync = "top" if _overlay(info) else "full"
        job: dict[str, Any] = {"job_id": JOB, "device": source, "target": TARGET, "sync": sync, "auto_dismiss": False}
        await qmp.execute("blockdev-backup", **job)
        await _job_done(qmp, vm_name, seconds)
    finally:
        await qmp.execute("blockdev-del", node_name=TARGET)


async def snapshot_stopped(vm_name: str, disk: Path, name: str) -> None:
    """DISK_UNSUPPORTED unless the disk is qcow2; INVALID_INPUT when there is a snapshot of that name."""
    if name in await _snapshots(vm_name, disk):
        raise _taken(vm_name, name)
    await _img("snapshot", "-c", name, str(disk))


async def snapshot_running(qmp: Qmp, vm_name: str, disk: Path, name: str) -> None:
    """As `snapshot_stopped`; the disk is as a power cut at this moment would leave it."""
    if name in await _snapshots(vm_name, disk, shared=True):
        raise _taken(vm_name, name)
    device = await _device_of(qmp, vm_name, disk)
    await qmp.execute("blockdev-snapshot-internal-sync", device=device, name=name)


async def revert_stopped(vm_name: str, disk: Path, name: str) -> None:
    """Put the disk of a VM that is off back; NOT_FOUND names the snapshots that there are."""
    await require_snapshot(vm_name, disk, name)
    await _img("snapshot", "-a", name, str(disk))


async def require_snapshot(vm_name: str, disk: Path, name: str) -> None:
    """NOT_FOUND names the snapshots that there are; the VM may be on."""
    known = await _snapshots(vm_name, disk, shared=True)
    if name not in known:
        there = ", ".join(known) or "none"
        raise OpenNGTError("NOT_FOUND", f"VM {vm_name} has no snapshot {name} (it has: {there})", {"snapshots": known})


async def _snapshots(vm_name: str, disk: Path, *, shared: bool = False) -> list[str]:
    info = await _info(disk, shared=shared)
    if info["format"] != "qcow2":
        raise unsupported(vm_name, "snapshot", f"its disk is {info['format']}, and only qcow2 keeps snapshots")
    return [str(snapshot["name"]) for snapshot in info.get("snapshots", ())]


def _taken(vm_name: str, name: str) -> OpenNGTError:
    return OpenNGTError("INVALID_INPUT", f"snapshot: VM {vm_name} has a snapshot {name} already", {"field": "snapshot"})


async def _info(disk: Path, *, shared: bool = False) -> dict[str, Any]:
    """`shared`: a QEMU has the disk open; its head is read all the same."""
    answer: dict[str, Any] = json.loads(
        await _img("info", "--output=json", *(["--force-share"] if shared else []), str(disk))
    )
    return answer


def _backing(info: dict[str, Any]) -> list[str]:
    """For `convert`, which calls it -B."""
    return ["-B", *_image(info)[:1], "-F", *_image(info)[1:]] if _image(info) else []


def _overlay(info: dict[str, Any]) -> list[str]:
    """For `create`, which calls it -b."""
    return ["-b", *_image(info)[:1], "-F", *_image(info)[1:]] if _image(info) else []


def _image(info: dict[str, Any]) -> list[str]:
    """File and format of the image below an overlay; nothing for a disk that stands alone."""
    file = info.get("full-backing-filename") or info.get("backing-filename")
    return [str(file), str(info.get("backing-filename-format", "raw"))] if file else []


async def _device_of(qmp: Qmp, vm_name: str, disk: Path) -> str:
    """What the running VM calls its disk."""
    for block in await qmp.execute("query-block"):
        inserted = block.get("inserted")
        if inserted is not None and Path(inserted["file"]).resolve() == disk.resolve():
            return str(block["device"] or inserted["node-name"])
    raise unsupported(vm_name, "copy", f"its process does not use {disk}, the disk in its description")


async def _job_done(qmp: Qmp, vm_name: str, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            while (job := await _job(qmp)) is not None and job["status"] != "concluded":
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as exc:
        with contextlib.suppress(OpenNGTError):
            await qmp.execute("block-job-cancel", device=JOB, force=True)
        job = await _wait_ended(qmp)
        text = f"VM {vm_name}: the copy of its disk was not done within {seconds:g} s"
        raise OpenNGTError("HYPERVISOR_FAILED", text, {"vm_name": vm_name}) from exc
    finally:
        with contextlib.suppress(OpenNGTError):
            await qmp.execute("job-dismiss", id=JOB)
    if job is not None and job.get("error"):
        raise OpenNGTError("HYPERVISOR_FAILED", f"VM {vm_name}: copy of its disk: {job['error']}", {"vm_name": vm_name})


async def _wait_ended(qmp: Qmp) -> dict[str, Any] | None:
    """A job that was cancelled still writes what it has begun; its target cannot go before that."""
    for _ in range(50):
        job = await _job(qmp)
        if job is None or job["status"] == "concluded":
            return job
        await asyncio.sleep(POLL_SECONDS)
    return None


async def _job(qmp: Qmp) -> dict[str, Any] | None:
    return next((job for job in await qmp.execute("query-jobs") if job["id"] == JOB), None)


async def _img(*arguments: str) -> str:
    """What `qemu-img` says; HYPERVISOR_FAILED with its own words."""
    try:
        process = await asyncio.create_subprocess_exec(
            "qemu-img",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as exc:
        raise OpenNGTError("COMMAND_NOT_FOUND", f"qemu-img: {exc.strerror}") from exc
    try:
        stdout, stderr = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        said = stderr.decode("utf-8", "replace").strip()[-500:]
        raise OpenNGTError("HYPERVISOR_FAILED", f"qemu-img {arguments[0]}: {said}")
    return stdout.decode("utf-8", "replace")
