# SPDX-License-Identifier: GPL-3.0-or-later
"""Issuing VM certificates as another program does it: over HTTPS, in batches, each one durable in ledger and audit log.

The service is a process of its own; what its caller spends on TLS and JSON is inside the time.
"""

import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from tests.fakes.service import ServiceProcess

from bench import issue
from openngt.client import Client

__all__ = ["rows"]

VMS = 100
BATCH = 500
SECONDS = 6.0
GOAL_PER_SECOND = 1000


def rows() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="openngt-bench-") as name:
        service = ServiceProcess(Path(name), {"log_level": "warning"})
        vms = [str(uuid.uuid4()) for _ in range(VMS)]
        for number, vm in enumerate(vms):
            service.hypervisor.add(vm, f"vm{number}", {"cd0": None})
        service.start()
        try:
            value = per_second(service.client(), vms)
        finally:
            service.stop()
        peer_value = issue.openssl(service.state_dir / "ca")
    return [
        {
            "name": f"issue P-256 certificates through the API, durable, batches of {BATCH}",
            "value": value,
            "unit": "1/s",
            "peer": "openssl req, then openssl x509, for each, nothing durable",
            "peer_value": peer_value,
            "ratio": value / peer_value,
            "goal": f"at least {GOAL_PER_SECOND}/s",
            "met": value >= GOAL_PER_SECOND,
        }
    ]


def per_second(client: Client, vms: list[str]) -> float:
    for vm in vms:
        client.enable(vm)
    batch = [{"vm_uuid": vms[number % VMS]} for number in range(BATCH)]
    client.issue_batch(batch)
    made, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < SECONDS:
        made += len(client.issue_batch(batch))
    return made / elapsed
