# SPDX-License-Identifier: GPL-3.0-or-later
"""A service process that a failpoint kills.

It writes a line for each operation whose answer it has got, at once, so that its murderer knows what was acknowledged.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from tests.fakes.agents import agents_of
from tests.fakes.upgrading import upgradable_agents_of
from tests.fakes.workshop import HOLDER, VM, Workshop, open_workshop

from openngt_service.store.task_rows import request_key
from openngt_service.tasks.ca_rollover import CaRollover
from openngt_service.tasks.ca_rollover_plan import STEPS
from openngt_service.tasks.customization_plan import Outcome
from openngt_service.tasks.customize import finish
from openngt_service.tasks.refresh_plan import Ask, Via
from openngt_service.tasks.upgrade_plan import UpgradeAsk

ACKNOWLEDGED = "acknowledged"
USERS = "/isos/debian.iso"
OLD_AGENT = "0.0.9"
KEY = request_key("test", "the key", "mount", {"vm": VM})


def acknowledge(workshop: Workshop, operation: str, result: Any) -> None:
    with (workshop.settings.state_dir / ACKNOWLEDGED).open("a") as stream:
        stream.write(f"{operation} {result}\n")


async def enable(workshop: Workshop) -> None:
    workshop.hypervisor.add(VM, "web1", {"ide0": USERS, "ide1": None})
    await workshop.operations.enable("web1", {}, actor="test")
    acknowledge(workshop, "enable", "")


async def mount(workshop: Workshop) -> None:
    await enable(workshop)
    task = await workshop.operations.mount(VM, holder=HOLDER, config_only=True, actor="test", key=KEY)
    acknowledge(workshop, "task", task["task_id"])
    acknowledge(workshop, "mount", (await workshop.result(task))["serial"])


async def eject(workshop: Workshop) -> None:
    await mount(workshop)
    acknowledge(workshop, "eject", (await workshop.eject())["ejected"])


async def disable(workshop: Workshop) -> None:
    await mount(workshop)
    acknowledge(workshop, "disable", (await workshop.operations.disable(VM, actor="test"))["revoked"])


async def rotate(workshop: Workshop) -> None:
    await mount(workshop)
    iso = (workshop.settings.iso_directory / f"{VM}.iso").read_bytes()
    begin = iso.index(b"-----BEGIN PRIVATE KEY-----")
    await workshop.gateway.connect(iso[begin : iso.index(b"-----END CERTIFICATE-----", begin) + 30])
    while not workshop.gateway.calls:
        await asyncio.sleep(0.01)
    acknowledge(workshop, "rotate", workshop.gateway.calls[0][2]["generation"])
    await asyncio.sleep(5)  # the failpoint after the call is met by now


async def power(workshop: Workshop) -> None:
    await enable(workshop)
    acknowledge(workshop, "power", (await workshop.power("off"))["power_state"])


async def customize(workshop: Workshop) -> None:
    """Given twice with other content, switched on, told as failed, withdrawn."""
    workshop.hypervisor.add(VM, "web1", {"ide0": USERS, "ide1": None}, "off")
    acknowledge(workshop, "added", "")
    service, script = workshop.operations.customizations, {"content": "#!/bin/sh\n"}
    for scripts in ([script], [script, script]):
        record = await service.apply(
            VM, {"scripts": scripts}, power_on=len(scripts) > 1, wait_seconds=None, actor="test"
        )
        acknowledge(workshop, "customize", (await workshop.result({"task_id": record.task_id}))["digest"])
    row = workshop.store.customizations.get(VM)
    assert row is not None
    await finish(workshop.parts, row, Outcome("failed", "CUSTOMIZATION_FAILED", "oops", {"told_by": "serial"}))
    record = await service.withdraw(VM, actor="test")
    acknowledge(workshop, "withdraw", await workshop.result({"task_id": record.task_id}))


async def customize_as_it_starts(workshop: Workshop) -> None:
    workshop.hypervisor.add(VM, "web1", {"ide0": USERS, "ide1": None}, "off")
    workshop.hypervisor.guest(VM, starts=0)
    acknowledge(workshop, "added", "")
    spec = {"scripts": [{"content": "#!/bin/sh\n"}]}
    record = await workshop.operations.customizations.apply(VM, spec, power_on=True, wait_seconds=None, actor="test")
    acknowledge(workshop, "customize", await workshop.result({"task_id": record.task_id}))


async def refresh(workshop: Workshop) -> None:
    async with agents_of(workshop) as agents:
        await agents.install(VM, "web1", {"ide0": USERS, "ide1": None})
        task = await workshop.operations.refresh(Ask(vm=(VM,), via="iso", wait_seconds=30.0), actor="test")
        acknowledge(workshop, "refresh", task["task_id"])
        acknowledge(workshop, "refreshed", await workshop.result(task))


async def roll_over(workshop: Workshop) -> None:
    """All steps, with an agent that lags behind; the failpoint is met in the first of them, or in the last."""
    async with agents_of(workshop) as agents:
        await agents.install(VM, "web1")
        acknowledge(workshop, "installed", "")
        rollover = CaRollover(workshop.parts, lambda succession: None)
        for step in STEPS[: STEPS.index("retire") + 1]:
            acknowledge(workshop, step, (await rollover.step(step, actor="test", force=True))["phase"])


async def upgrade(workshop: Workshop, via: Via) -> None:
    async with upgradable_agents_of(workshop) as agents:
        agents.versions[VM] = OLD_AGENT
        await agents.install(VM, "web1", {"ide0": USERS, "ide1": None})
        agents.gone.add(VM)  # it is changed over after the next start at the earliest
        task = await workshop.operations.upgrade(UpgradeAsk(vm=(VM,), via=via, wait_seconds=30.0), actor="test")
        acknowledge(workshop, "upgrade", task["task_id"])
        acknowledge(workshop, "upgraded", await workshop.result(task))


async def upgrade_by_link(workshop: Workshop) -> None:
    await upgrade(workshop, "link")


async def upgrade_by_iso(workshop: Workshop) -> None:
    await upgrade(workshop, "iso")


DONE_BY = (
    mount,
    eject,
    disable,
    rotate,
    power,
    customize,
    customize_as_it_starts,
    refresh,
    roll_over,
    upgrade_by_link,
    upgrade_by_iso,
)
OPERATIONS = {operation.__name__: operation for operation in DONE_BY}


async def perform(folder: Path, operation: str) -> None:
    async with open_workshop(folder) as workshop:
        await OPERATIONS[operation](workshop)


def run(folder: Path, operation: str, step: str) -> None:
    """The life of the process."""
    os.environ["OPENNGT_FAILPOINT"] = step
    asyncio.run(perform(folder, operation))
