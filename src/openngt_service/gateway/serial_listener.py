# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the serial ports of the enrolled VMs attached: those that can be, at next to no cost for those that cannot.

A VM that is off is a socket that nobody listens on. It is tried again when the file of the socket is a new one, which
costs a look at the file, and once in a while in any case.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from openngt.errors import OpenNGTError

from .connection import Hub, Line
from .serial_port import SerialPort

__all__ = ["PortAddress", "SerialListener"]

LOOK_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 2.0
ATTEMPTS_AT_ONCE: Final = 64
READ_BYTES: Final = 16 * 1024

log = structlog.get_logger("openngt.gateway")


@dataclass(frozen=True, slots=True)
class PortAddress:
    """Where the host's end of a VM's port is, and what people call it."""

    vm_uuid: str
    name: str
    socket: Path


Fingerprint = tuple[int, int] | None
"""Of a socket's file: another one after each start of its VM. None: there is no file."""


class SerialListener:
    """`wanted` names the ports to be attached; it is asked every LOOK_SECONDS."""

    def __init__(self, hub: Hub, wanted: Callable[[], Awaitable[Iterable[PortAddress]]]) -> None:
        self._hub = hub
        self._wanted = wanted
        self._buffer = bytearray(READ_BYTES)
        self._attached: dict[PortAddress, SerialPort] = {}
        self._failed: dict[PortAddress, tuple[Fingerprint, float]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
            except OpenNGTError as exc:  # what the adapter cannot tell now, it may be able to tell later
                log.warning("serial_ports_unknown", code=exc.code, message=exc.message)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Attach what is wanted and can be, let go of what is not wanted."""
        wanted = set(await self._wanted())
        for address in [address for address in self._attached if address not in wanted]:
            self._attached.pop(address).close()
        self._failed = {address: failed for address, failed in self._failed.items() if address in wanted}
        missing = sorted(wanted - self._attached.keys(), key=lambda address: address.vm_uuid)
        fingerprints = await asyncio.to_thread(_fingerprints, missing)
        now = asyncio.get_running_loop().time()
        due = [address for address in missing if self._is_due(address, fingerprints[address], now)]
        for start in range(0, len(due), ATTEMPTS_AT_ONCE):
            group = due[start : start + ATTEMPTS_AT_ONCE]
            await asyncio.gather(*(self._attach(address, fingerprints[address]) for address in group))

    async def stop(self) -> None:
        """Let go of every port."""
        for port in list(self._attached.values()):
            port.close()
        self._attached.clear()

    def _is_due(self, address: PortAddress, fingerprint: Fingerprint, now: float) -> bool:
        if fingerprint is None:
            return False
        before, at = self._failed.get(address, (None, 0.0))
        return fingerprint != before or now - at >= RETRY_SECONDS

    async def _attach(self, address: PortAddress, fingerprint: Fingerprint) -> None:
        loop = asyncio.get_running_loop()
        line = Line("serial", address.name, self._hub.limits.for_serial(), address.vm_uuid)
        port = SerialPort(self._hub, loop, line, lambda: self._detached(address, port), self._buffer)
        try:
            await self._connect(port, address, line)
        except (OSError, TimeoutError) as exc:
            self._failed[address] = (fingerprint, loop.time())
            if not isinstance(exc, (ConnectionRefusedError, FileNotFoundError)):  # those are how a VM that is off looks
                log.warning("serial_port_not_attached", vm_uuid=address.vm_uuid, port=address.name, reason=str(exc))
            return
        self._failed.pop(address, None)
        self._attached[address] = port
        log.info("serial_port_attached", vm_uuid=address.vm_uuid, port=address.name)

    async def _connect(self, port: SerialPort, address: PortAddress, line: Line) -> None:
        loop = asyncio.get_running_loop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            # What the kernel holds for a guest that does not read cannot be overtaken by anything urgent.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, line.limits.socket_buffer_bytes)
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.sock_connect(connection, str(address.socket))
                await loop.create_unix_connection(lambda: port, sock=connection)
        except BaseException:
            connection.close()
            raise

    def _detached(self, address: PortAddress, port: SerialPort) -> None:
        if self._attached.get(address) is port:
            del self._attached[address]
            log.info("serial_port_lost", vm_uuid=address.vm_uuid, port=address.name)


def _fingerprints(addresses: Iterable[PortAddress]) -> dict[PortAddress, Fingerprint]:
    found: dict[PortAddress, Fingerprint] = {}
    for address in addresses:
        found[address] = None
        with contextlib.suppress(OSError):
            status = address.socket.stat()
            found[address] = (status.st_ino, status.st_ctime_ns)
    return found
