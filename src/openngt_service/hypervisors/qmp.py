# SPDX-License-Identifier: GPL-3.0-or-later
"""One short QMP conversation with one QEMU process, with a limit on every wait and one kind of error.

For the qemu adapter and the lab. A conversation lasts for one piece of work: QEMU serves one client a socket at a time,
so a connection that is kept open would lock out everybody else who may look at the VM.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError

from openngt.errors import OpenNGTError

__all__ = ["Qmp", "open_qmp"]

# The library logs each failed connection as an error before it raises it; whether it is one, we know better: a VM that
# is off is none, and everything else becomes an OpenNGTError.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

NOBODY_LISTENS = (ConnectionRefusedError, FileNotFoundError)
GREETINGS = 3
"""A QEMU that has not noticed the end of the last conversation yet, or that is ending, accepts and hangs up."""
GREETING_PAUSE_SECONDS = 0.1


class Qmp:
    def __init__(self, client: QMPClient, vm_name: str, answer_seconds: float) -> None:
        self._client = client
        self._vm_name = vm_name
        self._answer_seconds = answer_seconds

    async def execute(self, command: str, **arguments: Any) -> Any:
        """Run one command (`_` in argument names becomes `-`) and return its `return` value.

        HYPERVISOR_FAILED when QEMU refuses, goes away or does not answer in time; `details.refused` tells the first
        of them apart, since only there the state of the VM is known to be unchanged.
        """
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        try:
            return await asyncio.wait_for(self._client.execute(command, named), self._answer_seconds)
        except ExecuteError as exc:
            raise self._failure(f"QEMU refused {command}: {exc}", command, refused=True) from exc
        except TimeoutError as exc:
            raise self._failure(
                f"QEMU did not answer {command} within {self._answer_seconds:g} s", command, refused=False
            ) from exc
        except (QMPError, OSError) as exc:
            raise self._failure(f"QEMU went away during {command}: {exc}", command, refused=False) from exc

    async def execute_until(self, command: str, *events: str) -> str:
        """Run a command and return the name of the first of these events that follows; errors as for `execute`."""
        with self._client.listener(events) as heard:
            await self.execute(command)
            try:
                event = await asyncio.wait_for(heard.get(), self._answer_seconds)
            except TimeoutError as exc:
                text = f"QEMU took {command}, but told no {' or '.join(events)} within {self._answer_seconds:g} s"
                raise self._failure(text, command, refused=False) from exc
        return str(event["event"])

    def _failure(self, message: str, command: str, *, refused: bool) -> OpenNGTError:
        details = {"vm_name": self._vm_name, "command": command, "refused": refused}
        return OpenNGTError("HYPERVISOR_FAILED", f"VM {self._vm_name}: {message}", details)


@asynccontextmanager
async def open_qmp(socket: Path, vm_name: str, answer_seconds: float) -> AsyncIterator[Qmp | None]:
    """A conversation over the QMP socket; None when nobody listens there, which is how a VM that is off looks.

    HYPERVISOR_FAILED when somebody listens but does not greet in time.
    """
    try:
        client = await asyncio.wait_for(_greeted(socket, vm_name), answer_seconds)
    except TimeoutError as exc:
        raise OpenNGTError(
            "HYPERVISOR_FAILED",
            f"VM {vm_name}: QEMU does not greet on {socket} within {answer_seconds:g} s; "
            "another program may hold this socket, for QEMU serves one client a socket",
            {"vm_name": vm_name, "socket": str(socket)},
        ) from exc
    except (ConnectError, OSError) as exc:
        if _nobody_listens(exc):
            yield None
            return
        raise OpenNGTError(
            "HYPERVISOR_FAILED",
            f"VM {vm_name}: no QMP conversation on {socket}: {exc.__cause__ or exc}",
            {"vm_name": vm_name, "socket": str(socket)},
        ) from exc
    try:
        yield Qmp(client, vm_name, answer_seconds)
    finally:
        await _hang_up(client)


async def _greeted(socket: Path, vm_name: str) -> QMPClient:
    for attempt in range(1, GREETINGS + 1):
        client = QMPClient(vm_name)
        try:
            await client.connect(str(socket))
        except ConnectError as exc:
            if attempt == GREETINGS or _nobody_listens(exc):
                raise
            await asyncio.sleep(GREETING_PAUSE_SECONDS)
        else:
            break
    return client


def _nobody_listens(exc: Exception) -> bool:
    return isinstance(exc.__cause__ or exc, NOBODY_LISTENS)


async def _hang_up(client: QMPClient) -> None:
    """The answer to our last command is in; how the connection ends tells nothing more."""
    try:
        await client.disconnect()
    except (QMPError, OSError, EOFError):
        return
