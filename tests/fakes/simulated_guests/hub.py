# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that simulated guests are children of, and that has their disks in a mount namespace of its own.

python -m tests.fakes.simulated_guests.hub FOLDER   a request as JSON on a line, an answer on a line

At the end of its standard input it ends, and with it every guest, every mount and every disk.
"""

import gc
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from .disc import read_once
from .init import Init, spawn
from .linux import (
    CLONE_NEWIPC,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    MS_PRIVATE,
    MS_REC,
    MS_REMOUNT,
    die_with_parent,
    mount,
    setns,
    unshare,
)
from .root import build_base, furnish, mount_root
from .spec import Spec

__all__ = ["Hub"]


class Hub:
    def __init__(self, folder: Path) -> None:
        self._disks = folder
        self._guests: dict[str, int] = {}
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        os.umask(0o022)
        unshare(CLONE_NEWNS)
        mount("none", "/", None, MS_REC | MS_PRIVATE)
        mount("tmpfs", str(folder), "tmpfs", 0, "size=75%,mode=0755")
        build_base(folder / "base")
        read_once()
        gc.freeze()

    def start(self, drives: int, **fields: Any) -> dict[str, Any]:
        """Boot a guest from its disk, a new one at the first time; the pid of its PID 1 as the host sees it."""
        spec = Spec(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})
        disk = self._disks / "disks" / spec.vm_uuid
        if not disk.exists():
            disk.mkdir(parents=True)
            if spec.disk_mib:
                mount("tmpfs", str(disk), "tmpfs", 0, f"size={spec.disk_mib}m,mode=0755")
            furnish(disk, spec)
        told, tell = os.pipe()
        # Only one child of a process may be PID 1 of a new namespace; going back to one's own allows the next.
        unshare(CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            os.close(told)
            boot(self._disks / "base", disk, spec, drives, tell)
        setns(self._own_pids, CLONE_NEWPID)
        os.close(tell)
        with os.fdopen(told) as stream:
            problem = stream.read()
        self._guests[spec.vm_uuid] = pid
        if problem:
            self.kill(spec.vm_uuid)
            return {"error": problem}
        return {"pid": pid}

    def kill(self, vm_uuid: str) -> dict[str, Any]:
        """Pull the plug."""
        pid = self._guests.pop(vm_uuid, None)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return {}

    def resize(self, vm_uuid: str, mib: int) -> dict[str, Any]:
        """Give a guest that has a disk of its own a larger one."""
        mount("none", str(self._disks / "disks" / vm_uuid), None, MS_REMOUNT, f"size={mib}m")
        return {}

    def serve(self) -> None:
        for line in sys.stdin:
            request = json.loads(line)
            answer = getattr(self, request.pop("do"))(**request)
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def boot(base: Path, disk: Path, spec: Spec, drives: int, tell: int) -> None:
    """In the child that is PID 1; never returns. What goes wrong is told; `tell` is closed once all runs."""
    telling = os.fdopen(tell, "w")
    try:
        die_with_parent()
        os.setsid()
        unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC)
        host = os.open("/", os.O_PATH | os.O_CLOEXEC)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        root = mount_root(base, disk, drives)
        socket.sethostname(spec.name.replace("_", "-"))
        os.chroot(root)
        os.chdir("/")
        init = Init(host, spec.hypervisor, spec.vm_uuid)
        options = [f"-oListenAddress={spec.address}", *(f"-o{line}" for line in spec.sshd)]
        spawn(["/usr/sbin/sshd", "-D", *options, "-E", "/run/log/sshd"], "/run/log/sshd.out")
        telling.close()
        init.run()
    finally:
        # The hub's own loop, of which this is a copy, is not to be gone on with.
        if sys.exc_info()[0] is not None:
            traceback.print_exc(file=sys.stderr if telling.closed else telling)
            (sys.stderr if telling.closed else telling).flush()
        os._exit(0)


if __name__ == "__main__":
    Hub(Path(sys.argv[1])).serve()
