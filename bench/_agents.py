# SPDX-License-Identifier: GPL-3.0-or-later
"""Real agents, each with a folder for its guest and a thread for its process; run as a program that tells their links.

python -m bench._agents FOLDER...   each folder is the root of a guest; a line for each change of a link
"""

import itertools
import sys
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openngt import effects
from openngt.agent import identity
from openngt.agent.paths import Paths
from openngt.agent.runtime_status import RuntimeStatus
from openngt.agent.service import Agent
from openngt.agent.waiter import Waiter
from openngt.pki.authority import Authority
from openngt.pki.issue import VmCertificateRequest, issue_vm_certificate

__all__ = ["CLUSTER_UUID", "SERVICE_NAME", "install"]

CLUSTER_UUID = "0005f3a1-7c2e-4d18-a6b0-5254009a1b2c"
SERVICE_NAME = f"guest-tools.{CLUSTER_UUID}"
_numbers = itertools.count()


def install(folder: Path, authority: Authority, port: int, *, device: str | None = None) -> tuple[int, str, str]:
    """A guest whose agent has a long-lived identity: serial, `vm_uuid`, `ngt_uuid`. `device` becomes its COM2."""
    request = VmCertificateRequest(str(uuid.uuid4()), str(uuid.uuid4()), 1, "link")
    issued = issue_vm_certificate(authority, request, now=effects.now())
    ca_pem = authority.certificate_pem.decode()
    new = identity.make("link", CLUSTER_UUID, issued.client_pem.decode(), ca_pem, authority.ca_sha256)
    config: dict[str, Any] = {
        "cluster_ip": "127.0.0.1",
        "port": port,
        "cluster_uuid": CLUSTER_UUID,
        "service_name": SERVICE_NAME,
        "ngt_uuid": request.ngt_uuid,
        "vm_uuid": request.vm_uuid,
        "vm_name": f"vm-{next(_numbers)}",
        "generation": 1,
        "ngt_version": "0.1.0",
        "capabilities": {"vss_snapshot": True, "self_service_restore": True},
    }
    if device is not None:
        config["serial_ports"] = ["/dev/ttyS1"]
        (folder / "dev").mkdir(parents=True)
        (folder / "dev/ttyS1").symlink_to(device)
    firmware = folder / "sys/class/dmi/id/product_uuid"
    firmware.parent.mkdir(parents=True)
    firmware.write_text(request.vm_uuid)
    (folder / "run").mkdir()
    identity.store(Paths(str(folder)), new, config)
    return int(issued.serial, 16), request.vm_uuid, request.ngt_uuid


class Telling(RuntimeStatus):
    """Says at once what it also writes: number of the agent, `up` or `down`, and the moment."""

    def __init__(self, paths: Paths, number: int, clock: Any) -> None:
        self._number, self._clock = number, clock
        super().__init__(paths)

    def connected(self, transport: str, peer: str, capabilities: dict[str, bool]) -> None:
        self._tell(f"up {transport}")
        super().connected(transport, peer, capabilities)

    def disconnected(self, code: str | None, message: str) -> None:
        self._tell("down -")
        super().disconnected(code, message)

    def _tell(self, what: str) -> None:
        sys.stdout.write(f"{self._number} {what} {self._clock()}\n")
        sys.stdout.flush()


def main(folders: Sequence[str]) -> None:
    """Until the standard input ends."""
    waiters, threads = [], []
    for number, folder in enumerate(folders):
        paths, waiter = Paths(folder), Waiter()
        agent = Agent(paths, waiter, Telling(paths, number, waiter.monotonic))
        threads.append(threading.Thread(target=agent.run))
        waiters.append(waiter)
    for thread in threads:
        thread.start()
    sys.stdin.read()
    for waiter in waiters:
        waiter.stop()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1:])
