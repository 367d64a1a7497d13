# SPDX-License-Identifier: GPL-3.0-or-later
"""How the adapter for QEMU starts a process, ends it, and presses its buttons.

Facts it is built on, measured with QEMU 7.2:

* A guest that powers itself off ends its process; with `-no-shutdown` the process stays, in the state `shutdown`, and
  `system_reset` followed by `cont` is how that VM is switched on again.
* With `-no-reboot`, a reset ends the process as well. Then SHUTDOWN is told instead of RESET.
* After `quit`, a QEMU that still closes its disks accepts connections and greets nobody; its files are locked until the
  process is gone. So the end of the process is waited for, by the pid that its socket tells.
"""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import tempfile
from collections.abc import Awaitable
from pathlib import Path

from openngt.errors import OpenNGTError

from .base import PowerAction
from .qmp import Qmp
from .vm_files import VmFile

__all__ = ["press", "pull_plug", "start_process", "unsupported"]

LAST_WORDS = 1000
"""Characters of a failed start command's output that are shown."""


def unsupported(vm: VmFile, action: PowerAction, reason: str) -> OpenNGTError:
    message = f"adapter qemu cannot switch VM {vm.vm_name} {action}: {reason}"
    return OpenNGTError("POWER_UNSUPPORTED", message, {"adapter": "qemu", "action": action, "reason": reason})


async def start_process(vm: VmFile, seconds: float) -> None:
    """Run the VM's start command, which has to return in time; POWER_UNSUPPORTED where there is none to be run.

    It gets none of our settings, which may hold a database's password, and a session of its own: what we are told at a
    terminal is not for the VM.
    """
    if vm.cannot_start is not None:
        raise unsupported(vm, "on", vm.cannot_start)
    assert vm.path is not None, "read from a file"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENNGT_")}
    with tempfile.TemporaryFile() as output:  # not a pipe: a daemon that keeps it open would be waited for
        try:
            process = await asyncio.create_subprocess_exec(
                *vm.start,
                cwd=vm.path.parent,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        except OSError as exc:
            raise _not_started(vm, f"{exc.strerror or exc}") from exc
        try:
            status = await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            text = f"it did not return within {seconds:g} s (does it stay in the foreground?)"
            raise _not_started(vm, text) from None
        if status:
            output.seek(0)
            said = output.read().decode("utf-8", "replace").strip()[-LAST_WORDS:]
            raise _not_started(vm, f"it ended with status {status}" + (f": {said}" if said else ""))


async def pull_plug(qmp: Qmp, vm: VmFile, seconds: float) -> Awaitable[None] | None:
    """Have the process end; what is returned waits until it is gone, HYPERVISOR_FAILED after so many seconds."""
    ended = _watch_end(vm.qmp)
    try:
        await qmp.execute("quit")
    except OpenNGTError:
        if ended is not None:
            os.close(ended)
        raise
    return None if ended is None else _gone(ended, vm, seconds)


async def _gone(ended: int, vm: VmFile, seconds: float) -> None:
    loop, seen = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(ended, seen.set)
    try:
        await asyncio.wait_for(seen.wait(), seconds)
    except TimeoutError as exc:
        raise OpenNGTError(
            "HYPERVISOR_FAILED",
            f"VM {vm.vm_name}: QEMU took quit, but did not end within {seconds:g} s",
            {"vm_name": vm.vm_name, "outcome": "unknown"},
        ) from exc
    finally:
        loop.remove_reader(ended)
        os.close(ended)


async def press(qmp: Qmp, vm: VmFile, action: PowerAction) -> None:
    """The buttons of a machine that runs: `shutdown` and `reset`."""
    if action == "shutdown":
        await qmp.execute("system_powerdown")
    elif await qmp.execute_until("system_reset", "RESET", "SHUTDOWN") == "SHUTDOWN":
        raise OpenNGTError(
            "HYPERVISOR_FAILED",
            f"VM {vm.vm_name} went off instead of starting anew: its QEMU runs with -no-reboot",
            {"vm_name": vm.vm_name, "outcome": "off"},
        )


def _not_started(vm: VmFile, why: str) -> OpenNGTError:
    details = {"vm_name": vm.vm_name, "program": vm.start[0]}
    return OpenNGTError("HYPERVISOR_FAILED", f"VM {vm.vm_name}: its start command {vm.start[0]} failed: {why}", details)


def _watch_end(path: Path) -> int | None:
    """A descriptor that becomes readable when the process that listens there ends; None where it cannot be watched
    (another PID namespace).
    """
    credentials = struct.Struct("3i")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
            pid, _uid, _gid = credentials.unpack(
                probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
            )
            return os.pidfd_open(pid)
        except (OSError, ValueError):
            return None
