# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""COM ports and virtio ports of a Windows guest, as something that can be waited for.

Windows selects sockets alone. So two threads move the port's bytes to and from a socket, whose other end is the
agent's.
"""

import contextlib
import ctypes
import errno
import re
import socket
import threading
import time
from ctypes import byref, c_int, c_uint32, c_void_p, c_wchar_p
from typing import Any, List, Sequence, Tuple

from .errors import AgentError
from .system import Port
from .windows_api import INVALID_HANDLE, call, checked, close_handle, error

__all__ = ["WindowsPort", "names_of", "open_first"]

GENERIC_READ_WRITE, OPEN_EXISTING, FILE_FLAG_OVERLAPPED = 0xC0000000, 3, 0x40000000
PURGE_ALL = 0xF  # both directions, what waits and what is under way
SETTINGS = "baud=115200 parity=N data=8 stop=1 xon=off odsr=off octs=off dtr=on rts=on idsr=off"
# A read returns with what is there, at once when there is something, after this many milliseconds when there is not.
READ_MILLISECONDS = 500
WRITE_MILLISECONDS = 5000
MAXDWORD = 0xFFFFFFFF
PIECE = 4096
# So little is on its way to the port unseen that a heartbeat never waits behind more than a few frames.
BUFFER = 8192
LET_GO_SECONDS = 0.5

ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND, ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION = 2, 3, 5, 32
ERROR_IO_PENDING = 997
ABSENT, BUSY = (ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND), (ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION)


class _Overlapped(ctypes.Structure):
    _fields_ = [
        ("internal", c_void_p),
        ("internal_high", c_void_p),
        ("offset", c_uint32),
        ("offset_high", c_uint32),
        ("event", c_void_p),
    ]


class _Timeouts(ctypes.Structure):
    _fields_ = [(name, c_uint32) for name in ("interval", "read_each", "read", "write_each", "write")]


def names_of(device: str) -> Tuple[str, str]:
    """(name for people, name for CreateFile) of a port that the configuration names as Linux does.

    The second serial port is /dev/ttyS1 there and COM2 here; a virtio port is called by its own name.
    """
    serial = re.fullmatch(r"/dev/ttyS(\d{1,2})", device)
    if serial:
        name = "COM{0}".format(int(serial.group(1)) + 1)
        return name, "\\\\.\\" + name
    name = device.rpartition("/")[2]
    return name, "\\\\.\\Global\\" + name


def open_first(devices: Sequence[str]) -> "WindowsPort":
    """The first of the ports that can be had; else what is wrong with the first one that is there at all."""
    failures: List[AgentError] = []
    for device in devices:
        try:
            return WindowsPort(device)
        except AgentError as exc:
            failures.append(exc)
    for failure in failures:
        if failure.code != "SERIAL_PORT_ABSENT":
            raise failure
    names = " or ".join(names_of(device)[0] for device in devices)
    raise AgentError("SERIAL_PORT_ABSENT", "this guest has no port {0}".format(names))


class WindowsPort(Port):
    """An open port; nobody else has it. SERIAL_PORT_ABSENT, SERIAL_PORT_BUSY or SERIAL_PORT_FAILED."""

    def __init__(self, device: str) -> None:
        self.device, path = names_of(device)
        self._handle = _opened(self.device, path)
        try:
            if self.device.startswith("COM"):
                _prepare(self._handle)
        except OSError as exc:
            close_handle(self._handle)
            raise AgentError("SERIAL_PORT_FAILED", "{0}: {1}".format(self.device, exc.strerror or exc)) from exc
        self._ours, self._theirs = socket.socketpair()
        for end in (self._ours, self._theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._ours.setblocking(False)
        self._closing = False
        self._threads = [threading.Thread(target=pump, daemon=True) for pump in (self._pump_in, self._pump_out)]
        for thread in self._threads:
            thread.start()

    def fileno(self) -> int:
        return self._ours.fileno()

    def read(self, most: int) -> bytes:
        try:
            data = self._ours.recv(most)
        except BlockingIOError:
            return b""
        if not data:
            raise OSError(errno.ENOTCONN, "the port is gone")
        return data

    def write(self, data: bytes) -> int:
        return self._ours.send(data)

    def close(self) -> None:
        """What was written last gets a moment to leave; the rest is thrown away."""
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_WR)
        self._threads[1].join(LET_GO_SECONDS)
        self._closing = True
        call("kernel32", "CancelIoEx", c_int, c_void_p(self._handle), None)
        self._ours.close()
        for thread in self._threads:
            thread.join(2 * READ_MILLISECONDS / 1000.0)
        self._theirs.close()
        close_handle(self._handle)

    def _pump_in(self) -> None:
        """From the port to the agent."""
        with contextlib.suppress(OSError):
            while not self._closing:
                began = time.monotonic()
                data = self._transfer("ReadFile", PIECE)
                if data:
                    self._theirs.sendall(data)
                elif time.monotonic() - began < READ_MILLISECONDS / 2000.0:
                    time.sleep(0.1)  # a driver that knows no time limits, or nobody at the host's end
        with contextlib.suppress(OSError):
            self._theirs.shutdown(socket.SHUT_WR)

    def _pump_out(self) -> None:
        """From the agent to the port."""
        with contextlib.suppress(OSError):
            while not self._closing:
                data = self._theirs.recv(PIECE)
                if not data:
                    return
                while data:
                    data = data[self._send(data) :]
        # Nothing is taken any more: the agent's next write fails, as it should.
        with contextlib.suppress(OSError):
            self._theirs.shutdown(socket.SHUT_RD)

    def _send(self, data: bytes) -> int:
        sent = self._moved("WriteFile", ctypes.create_string_buffer(data, len(data)), len(data))
        if sent == 0:
            raise OSError(errno.ETIMEDOUT, "nothing was taken")
        return sent

    def _transfer(self, name: str, most: int) -> bytes:
        buffer = ctypes.create_string_buffer(most)
        moved = self._moved(name, buffer, most)
        return buffer.raw[:moved]

    def _moved(self, name: str, buffer: Any, most: int) -> int:
        """Bytes that one ReadFile or WriteFile moved; the calling thread waits for its end."""
        event = call("kernel32", "CreateEventW", c_void_p, None, c_int(1), c_int(0), None)
        if not event:
            raise error()
        try:
            overlapped, moved = _Overlapped(event=event), c_uint32(0)
            handle = c_void_p(self._handle)
            if not call("kernel32", name, c_int, handle, buffer, c_uint32(most), None, byref(overlapped)):
                failure = error()
                if getattr(failure, "winerror", None) != ERROR_IO_PENDING:
                    raise failure
            checked("kernel32", "GetOverlappedResult", handle, byref(overlapped), byref(moved), c_int(1))
            return int(moved.value)
        finally:
            close_handle(event)


def _opened(name: str, path: str) -> int:
    """A handle that nobody can share."""
    flags = (c_uint32(GENERIC_READ_WRITE), c_uint32(0), None, c_uint32(OPEN_EXISTING), c_uint32(FILE_FLAG_OVERLAPPED))
    handle = call("kernel32", "CreateFileW", c_void_p, c_wchar_p(path), *(flags + (None,)))
    if handle is not None and handle != INVALID_HANDLE:
        return int(handle)
    failure = error()
    number = getattr(failure, "winerror", None)
    if number in ABSENT:
        raise AgentError("SERIAL_PORT_ABSENT", "{0}: there is no such port".format(name))
    if number in BUSY:
        raise AgentError("SERIAL_PORT_BUSY", "{0}: another program has it".format(name))
    raise AgentError("SERIAL_PORT_FAILED", "{0}: {1}".format(name, failure.strerror or failure))


def _prepare(handle: int) -> None:
    """Raw, empty, and with time limits."""
    settings = ctypes.create_string_buffer(64)  # a DCB has 28 bytes
    ctypes.memmove(settings, (c_uint32 * 1)(28), 4)
    checked("kernel32", "GetCommState", c_void_p(handle), settings)
    checked("kernel32", "BuildCommDCBW", c_wchar_p(SETTINGS), settings)
    checked("kernel32", "SetCommState", c_void_p(handle), settings)
    limits = _Timeouts(MAXDWORD, MAXDWORD, READ_MILLISECONDS, 0, WRITE_MILLISECONDS)
    checked("kernel32", "SetCommTimeouts", c_void_p(handle), byref(limits))
    checked("kernel32", "PurgeComm", c_void_p(handle), c_uint32(PURGE_ALL))
