# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""The guest's end of a serial port or virtio port: one opener, raw, never blocking."""

import contextlib
import errno
import fcntl
import os
import re
import stat
import struct
import termios
import time
from typing import List, Sequence

from .errors import AgentError
from .files import read_text
from .paths import Paths
from .system import Port

__all__ = ["SerialPort", "console_devices", "open_first"]

# What a host wrote while nobody listened waits in the port, up to 85 KB as measured; a port that has more is flooded.
MOST_STALE = 1 << 20
DRAIN_SECONDS = 0.5
TIOCOUTQ = 0x5411

# By its errno, where the port is not there: no node, a node without a port behind it.
ABSENT = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO, errno.ENOTDIR)
BUSY = (errno.EBUSY, errno.EWOULDBLOCK)


class SerialPort(Port):
    """An open port. `read` and `write` never wait; `close` takes at most DRAIN_SECONDS.

    SERIAL_PORT_ABSENT, SERIAL_PORT_BUSY or SERIAL_PORT_FAILED when it cannot be had.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        try:
            self._descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            raise _failure(device, exc) from exc
        try:
            self._is_tty = self._prepare()
        except (OSError, termios.error) as exc:
            os.close(self._descriptor)
            raise _failure(device, exc) from exc

    def fileno(self) -> int:
        return self._descriptor

    def read(self, most: int) -> bytes:
        """What is there; may be nothing. OSError (ENOTCONN) when there is no host at the other end."""
        try:
            data = os.read(self._descriptor, most)
        except BlockingIOError:
            return b""
        if not data:
            raise OSError(errno.ENOTCONN, "no host at the other end")
        return data

    def write(self, data: bytes) -> int:
        """How many bytes were taken; BlockingIOError when none can be now."""
        return os.write(self._descriptor, data)

    def close(self) -> None:
        """What was written last gets a moment to leave; the rest is thrown away.

        A port whose host does not read would otherwise hold its closer for half a minute (the 8250's closing_wait).
        """
        with contextlib.suppress(OSError, termios.error):
            if self._is_tty:
                end = time.monotonic() + DRAIN_SECONDS
                while self._waiting() and time.monotonic() < end:
                    time.sleep(0.02)
                if self._waiting():
                    termios.tcflush(self._descriptor, termios.TCOFLUSH)
                fcntl.ioctl(self._descriptor, termios.TIOCNXCL)
        os.close(self._descriptor)

    def _waiting(self) -> int:
        """Bytes that have not left."""
        (count,) = struct.unpack("i", fcntl.ioctl(self._descriptor, TIOCOUTQ, b"\0" * 4))
        return int(count)

    def _prepare(self) -> bool:
        """Make it ours, raw, and empty; is it a terminal?"""
        if not stat.S_ISCHR(os.fstat(self._descriptor).st_mode):
            raise OSError(errno.ENODEV, "not a device")
        # The lock is for those who ask; TIOCEXCL is for all others but root.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.isatty(self._descriptor):
            if _is_ttys_node(self.device):
                raise OSError(errno.EIO, "a terminal's node without a port behind it")
            self._drop_stale()
            return False
        fcntl.ioctl(self._descriptor, termios.TIOCEXCL)
        # By hand: tty.setraw leaves INLCR, IGNCR, IXOFF and CRTSCTS as they were.
        speed = termios.B115200
        characters: List[bytes] = [b"\0"] * len(termios.tcgetattr(self._descriptor)[6])
        characters[termios.VMIN] = b"\1"
        mode = [termios.IGNBRK, 0, termios.CS8 | termios.CREAD | termios.CLOCAL, 0, speed, speed, characters]
        termios.tcsetattr(self._descriptor, termios.TCSANOW, mode)  # type: ignore[arg-type]  # its list is of one type
        termios.tcflush(self._descriptor, termios.TCIOFLUSH)
        return True

    def _drop_stale(self) -> None:
        left = MOST_STALE
        with contextlib.suppress(BlockingIOError):
            while left > 0:
                data = os.read(self._descriptor, 65536)
                if not data:
                    return
                left -= len(data)


def open_first(devices: Sequence[str], paths: Paths) -> SerialPort:
    """The first of the ports that can be had; else what is wrong with the first one that is there at all.

    Where the kernel has its console it shall stay.
    """
    consoles = console_devices(paths)
    failures: List[AgentError] = []
    for device in devices:
        try:
            if device in consoles:
                raise AgentError("SERIAL_PORT_BUSY", "{0}: the kernel's console is there".format(device))
            return SerialPort(paths.at(device.lstrip("/")))
        except AgentError as exc:
            failures.append(exc)
    for failure in failures:
        if failure.code != "SERIAL_PORT_ABSENT":
            raise failure
    raise AgentError("SERIAL_PORT_ABSENT", "this guest has no port {0}".format(" or ".join(devices)))


def console_devices(paths: Paths) -> List[str]:
    """The devices on which the kernel writes its messages and may read a console's."""
    active = read_text(paths.at("sys/class/tty/console/active")) or ""
    return ["/dev/" + name for name in active.split()]


def _is_ttys_node(device: str) -> bool:
    return re.fullmatch(r"tty[A-Z]+\d+", os.path.basename(os.path.realpath(device))) is not None


def _failure(device: str, exc: Exception) -> AgentError:
    number, text = (list(exc.args) + ["", ""])[:2]
    code = "SERIAL_PORT_FAILED"
    if number in ABSENT:
        code = "SERIAL_PORT_ABSENT"
    elif number in BUSY:
        code = "SERIAL_PORT_BUSY"
        text = "another program has it"
    return AgentError(code, "{0}: {1}".format(device, text or exc))
