# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a deleted VM still gets anything, by a handshake or in its live session, from the DELETE's first byte on.

The service is a process of its own; beside each deletion hundreds of agents beat and others connect all the time. What
the API and the ledger's commit take is inside the time, and so is what the measuring end takes.
"""

import asyncio
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fakes.service import ServiceProcess
from tests.fakes.swarm import Swarm

from openngt.client import Client

__all__ = ["rows"]

BYSTANDERS = 300
SAMPLES = 120
CONNECTING = 2
GOALS = {"refused": 1.0, "cut": 2.0}
NAMES = {
    "refused": "revocation: DELETE until a new handshake is refused",
    "cut": "revocation: DELETE until the live session is cut",
}


def rows() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="openngt-bench-") as name:
        service = ServiceProcess(Path(name), {"log_level": "warning"})
        service.start()
        try:
            swarm = Swarm(service, Path(name))
            bystanders, victims = swarm.enrol(BYSTANDERS), swarm.enrol(SAMPLES)
            samples = asyncio.run(_measure(service, swarm, bystanders, victims))
        finally:
            service.stop()
    return [_row(what, percent, values) for what, values in samples.items() for percent in (50, 99)]


def _row(what: str, percent: int, samples: list[float]) -> dict[str, Any]:
    load = f"{BYSTANDERS} agents beating, {CONNECTING} loops connecting"
    value = statistics.quantiles(samples, n=100, method="inclusive")[percent - 1]
    return {
        "name": f"{NAMES[what]}, p{percent} of {len(samples)}, {load}",
        "value": value * 1e3,
        "unit": "ms",
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "goal": f"<= {GOALS[what] * 1e3:,.0f} ms",
        "met": value <= GOALS[what],
    }


async def _measure(
    service: ServiceProcess, swarm: Swarm, bystanders: list[str], victims: list[str]
) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {"refused": [], "cut": []}
    await swarm.connect_all(bystanders)
    busy = [asyncio.create_task(_keep_connecting(swarm, bystanders[start::CONNECTING])) for start in range(CONNECTING)]
    try:
        with service.client() as client:
            for victim in victims:
                refused, cut = await _delete(client, swarm, victim)
                samples["refused"].append(refused)
                samples["cut"].append(cut)
    finally:
        for task in busy:
            task.cancel()
        await swarm.stop()
    return samples


async def _keep_connecting(swarm: Swarm, vms: list[str]) -> None:
    for vm in itertools.cycle(vms):
        assert await swarm.is_welcome(vm), "a bystander was refused"


async def _delete(client: Client, swarm: Swarm, vm: str) -> tuple[float, float]:
    """Seconds until the first handshake that was refused had ended, and until the agent saw its session end."""
    agent = await swarm.connect(vm)
    begin = time.monotonic()
    deleting = asyncio.create_task(asyncio.to_thread(client.disable, vm))

    async def until_refused() -> float:
        while await swarm.is_welcome(vm):
            pass
        return time.monotonic() - begin

    async def until_cut() -> float:
        await agent.closed()
        return time.monotonic() - begin

    refused, cut, _ = await asyncio.gather(until_refused(), until_cut(), deleting)
    return refused, cut
