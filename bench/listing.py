# SPDX-License-Identifier: GPL-3.0-or-later
"""Ten thousand enrolled VMs, listed as another program does it: over HTTPS, page by page, until the last one is parsed.

The service is a process of its own. Every VM has a certificate, and a status record as a guest reports it.
"""

import asyncio
import datetime
import json
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.service import ServiceProcess

from openngt.effects import now
from openngt_service.config import Settings
from openngt_service.service_certificates import ensure_authority
from openngt_service.store.ledger import IssueRequest
from openngt_service.store.link_rows import LinkRow
from openngt_service.store.opening import Store, open_store
from openngt_service.store.registry import Capabilities

__all__ = ["fill", "rows"]

VMS = 10_000
GOAL_SECONDS = 1.0
REPEAT = 3
GOLDEN_HELLO = Path(__file__).resolve().parents[1] / "tests/fakes/messages/0.1/hello.json"


def vm_uuid(number: int) -> str:
    return str(uuid.UUID(int=1 + number))


async def fleet(store: Store, count: int) -> None:
    status = json.loads(GOLDEN_HELLO.read_text(encoding="utf-8"))["message"]["params"]["status"]
    await store.load()
    await asyncio.gather(
        *(store.registry.enable(vm_uuid(n), f"vm{n:05}", Capabilities(), actor="bench") for n in range(count))
    )
    life = datetime.timedelta(days=1000)
    for begin in range(0, count, 1000):
        group = range(begin, min(begin + 1000, count))
        await store.ledger.issue([IssueRequest(vm_uuid(n), "link", life) for n in group], actor="bench")
    seen = now()
    await store.links.save(
        [LinkRow(vm_uuid(n), "0.1.0", status, seen, f"192.0.2.{n % 250}:40000", seen) for n in range(count)]
    )


def fill(service: ServiceProcess, count: int) -> None:
    """Enrol that many VMs in a service that has not been started yet, on hypervisor and in database."""
    hypervisor = {
        vm_uuid(n): {
            "vm_name": f"vm{n:05}",
            "power_state": "on",
            "drives": {"cd0": {"holds": None, "tray_open": False}},
        }
        for n in range(count)
    }
    service.hypervisor.path.write_text(json.dumps(hypervisor))
    service.state_dir.mkdir(mode=0o700)
    settings = Settings(state_dir=service.state_dir, cluster_ip="127.0.0.1")
    succession, _ = ensure_authority(settings, "bench CA", now())
    store = open_store(settings, succession.signer)
    asyncio.run(fleet(store, count))
    store.close()


def best(list_all: Callable[[], int]) -> float:
    """Seconds of the fastest of some runs; the first, which warms up, is not counted."""
    times = []
    for _ in range(REPEAT + 1):
        begin = time.perf_counter()
        assert list_all() == VMS
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def row(name: str, seconds: float) -> dict[str, Any]:
    return {
        "name": f"{name}, {VMS:,} VMs",
        "value": round(seconds, 3),
        "unit": "s",
        "peer": None,
        "peer_value": None,
        "ratio": None,
        "goal": f"at most {GOAL_SECONDS:g} s",
        "met": seconds <= GOAL_SECONDS,
    }


def rows() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="openngt-bench-") as name:
        service = ServiceProcess(Path(name), {"log_level": "warning"})
        fill(service, VMS)
        service.start()
        try:
            client = service.client()
            return [
                row("list by name, whole records, through the API", best(lambda: len(client.vms()))),
                row(
                    "list by days left, filtered, whole records, through the API",
                    best(lambda: len(client.vms(filters=["certificate_kind=link"], sort="-days_left"))),
                ),
                row(
                    "openngt vm list --output csv, the command from start to end",
                    best(lambda: len(service.command("vm", "list", "--output", "csv").stdout.splitlines()) - 1),
                ),
            ]
        finally:
            service.stop()
