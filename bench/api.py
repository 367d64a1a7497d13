# SPDX-License-Identifier: GPL-3.0-or-later
"""Issuing VM certificates as another program does it: over HTTPS, in batches, each one durable in ledger and audit log.

The service is a process of its own; what its caller spends on TLS and JSON is inside the time.
"""

import tempfile
import time
import uuid
from pathlib import Path

from tests.fakes.service import ServiceProcess

from bench import _issuers, _processes
from bench._rows import Row, row
from openngt.client import Client

__all__ = ["rows"]

VMS = 100
BATCH = 500
SECONDS = 6.0
GOAL_PER_SECOND = 1000


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="openngt-bench-") as name:
        service = ServiceProcess(Path(name), {"log_level": "warning"})
        vms = [str(uuid.uuid4()) for _ in range(VMS)]
        for number, vm in enumerate(vms):
            service.hypervisor.add(vm, f"vm{number}", {"cd0": None})
        service.start()
        try:
            assert service.process is not None
            per_second, cpu = measure(service.client(), vms, service.process.pid)
        finally:
            service.stop()
    load = f"P-256 certificates through the API, durable, batches of {BATCH}"
    return [*_issuers.rate_rows(f"issue {load}", per_second, GOAL_PER_SECOND), *cpu_rows(f"CPU of {load}", cpu)]


def cpu_rows(name: str, cpu: float) -> list[Row]:
    """What is spent on one certificate, which other work on the machine changes little."""
    most = 1e6 / GOAL_PER_SECOND
    return [
        row(
            name,
            cpu * 1e6,
            "µs CPU",
            goal=f"at most {most:g} µs",
            met=cpu * 1e6 <= most,
            peer=peer.name,
            peer_value=None if peer.speed is None else peer.speed.cpu * 1e6,
        )
        for peer in _issuers.peers()
    ]


def measure(client: Client, vms: list[str], pid: int) -> tuple[float, float]:
    """Certificates a second, and seconds of CPU for one, in the service and in its caller together."""
    for vm in vms:
        client.enable(vm)
    batch = [{"vm_uuid": vms[number % VMS]} for number in range(BATCH)]
    client.issue_batch(batch)
    made, begin = 0, time.perf_counter()
    cpu = _processes.cpu_seconds(pid) + time.process_time()
    while (elapsed := time.perf_counter() - begin) < SECONDS:
        made += len(client.issue_batch(batch))
    return made / elapsed, (_processes.cpu_seconds(pid) + time.process_time() - cpu) / made
