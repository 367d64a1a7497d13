# SPDX-License-Identifier: GPL-3.0-or-later
"""The real agent as a process on this machine, with a folder for the root of its guest. It has no CD-ROM drive."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from openngt.agent import identity
from openngt.agent.paths import Paths
from openngt.client import Client

from .service import ServiceProcess
from .waiting import PATIENCE_SECONDS

__all__ = ["AgentProcess"]

PROGRAM = "from openngt.agent.paths import Paths; from openngt.agent.service import serve; serve(Paths({!r}))"


@dataclass
class AgentProcess:
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def paths(self) -> Paths:
        return Paths(str(self.folder))

    def install(self, service: ServiceProcess, client: Client, vm_uuid: str) -> None:
        """Give it a long-lived identity of the service, past any disc. The VM is enrolled."""
        [issued] = client.issue_batch([{"vm_uuid": vm_uuid}])
        ca, vm = client.ca(), client.vm(vm_uuid)
        client_pem = issued["private_key_pem"] + issued["certificate_pem"]
        new = identity.make("link", ca["cluster_uuid"], client_pem, ca["ca_pem"], ca["ca_sha256"])
        config = {
            "cluster_ip": "127.0.0.1",
            "port": service.gateway_port,
            "cluster_uuid": ca["cluster_uuid"],
            "service_name": ca["service_name"],
            "ngt_uuid": issued["ngt_uuid"],
            "vm_uuid": vm_uuid,
            "vm_name": vm["vm_name"],
            "generation": issued["generation"],
            "ngt_version": "0.1.0",
            "capabilities": {"vss_snapshot": True, "self_service_restore": True},
        }
        firmware = self.folder / "sys/class/dmi/id/product_uuid"
        firmware.parent.mkdir(parents=True)
        firmware.write_text(vm_uuid)
        (self.folder / "run").mkdir()
        identity.store(self.paths, new, config)

    def start(self) -> None:
        with (self.folder / "journal").open("a") as journal:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM.format(str(self.folder))], stdin=subprocess.DEVNULL, stderr=journal
            )

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE_SECONDS)
