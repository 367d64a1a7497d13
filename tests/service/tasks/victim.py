# SPDX-License-Identifier: GPL-3.0-or-later
"""A service process that a failpoint kills: `python -m tests.service.tasks.victim FOLDER OPERATION`.

Writes a line for each operation whose answer it has got, at once, so that its murderer knows what was acknowledged.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from tests.fakes.workshop import HOLDER, VM, Workshop, open_workshop

from openngt_service.store.task_rows import request_key

USERS = "/isos/debian.iso"
KEY = request_key("test", "the key", "mount", {"vm": VM})


def acknowledge(operation: str, result: Any) -> None:
    os.write(1, f"{operation} {result}\n".encode())


async def enable(workshop: Workshop) -> None:
    workshop.hypervisor.add(VM, "web1", {"ide0": USERS, "ide1": None})
    await workshop.operations.enable("web1", {}, actor="test")
    acknowledge("enable", "")


async def mount(workshop: Workshop) -> None:
    await enable(workshop)
    task = await workshop.operations.mount(VM, holder=HOLDER, config_only=True, actor="test", key=KEY)
    acknowledge("task", task["task_id"])
    acknowledge("mount", (await workshop.result(task))["serial"])


async def eject(workshop: Workshop) -> None:
    await mount(workshop)
    acknowledge("eject", (await workshop.eject())["ejected"])


async def disable(workshop: Workshop) -> None:
    await mount(workshop)
    acknowledge("disable", (await workshop.operations.disable(VM, actor="test"))["revoked"])


async def rotate(workshop: Workshop) -> None:
    await mount(workshop)
    iso = (workshop.settings.iso_directory / f"{VM}.iso").read_bytes()
    begin = iso.index(b"-----BEGIN PRIVATE KEY-----")
    await workshop.gateway.connect(iso[begin : iso.index(b"-----END CERTIFICATE-----", begin) + 30])
    while not workshop.gateway.calls:
        await asyncio.sleep(0.01)
    acknowledge("rotate", workshop.gateway.calls[0][2]["generation"])
    await asyncio.sleep(5)  # the failpoint after the call is met by now


async def main() -> None:
    folder, operation = Path(sys.argv[1]), globals()[sys.argv[2]]
    async with open_workshop(folder) as workshop:
        await operation(workshop)


if __name__ == "__main__":
    asyncio.run(main())
