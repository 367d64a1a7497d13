# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""What the agent asks of the operating system, and the one place where it is chosen which one that is."""

import os
from typing import Any, Callable, Dict, Optional, Sequence

from .files import Runner
from .identity import Identity
from .key_request import KeyRequest
from .paths import Paths
from .upgrade_record import Stage

__all__ = ["WINDOWS", "Port", "System", "this_system"]

WINDOWS = os.name == "nt"


class Port:
    """An open serial or virtio port. `read` and `write` never wait."""

    device = ""

    def fileno(self) -> int:
        """What a Waiter waits on."""
        raise NotImplementedError

    def read(self, most: int) -> bytes:
        """What is there; may be nothing. OSError when there is nothing at the other end."""
        raise NotImplementedError

    def write(self, data: bytes) -> int:
        """How many bytes were taken; BlockingIOError when none can be now."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class System:
    """One operating system, for the agent that serves. `paths` is where the agent lives in it."""

    paths: Paths

    def vm_uuid(self) -> Optional[str]:
        """What this VM is called by its hypervisor, in lower case; None where nothing says so."""
        raise NotImplementedError

    def record(self, serial_port: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        """The status record of this moment (ARCHITECTURE.md, section 4). `serial_port`: as in SerialView."""
        raise NotImplementedError

    def disc_mounted(self) -> bool:
        """Is a tools disc in use in the guest? Asked at each heartbeat."""
        raise NotImplementedError

    def open_port(self, devices: Sequence[str]) -> Port:
        """The first of the configuration's ports that can be had; SERIAL_PORT_ABSENT, _BUSY or _FAILED."""
        raise NotImplementedError

    def make_request(self) -> KeyRequest:
        """A key of the agent's own, with its request; COMMAND_NOT_FOUND where nothing here can make one."""
        raise NotImplementedError

    def go_down(self, method: str) -> bool:
        """Carry `guest.shutdown` or `guest.reboot` out; False, with the reason in the log, when it is refused."""
        raise NotImplementedError

    def check_upgrade(self, size: int) -> None:
        """Raise what keeps a package of `size` bytes from being taken over the link."""
        raise NotImplementedError

    def start_upgrade(self, staged: Stage) -> None:
        """Hand a verified package to who changes over to it. A failure leaves nothing."""
        raise NotImplementedError

    def watch_discs(self, taken: Callable[[Identity], None]) -> None:
        """Look for tools discs from now on, in a thread; `taken` is called there with each identity that was stored."""
        raise NotImplementedError


def this_system(paths: Paths, run: Runner, run_briefly: Runner) -> System:
    """The operating system that this process runs in. What is for the other one cannot even be imported here."""
    if WINDOWS:
        from .windows import Windows

        return Windows(paths)
    from .linux import Linux

    return Linux(paths, run, run_briefly)
