# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest in a folder: the real agent in a thread, on the real network; systemd and the firmware are what is played.

Its half of a diagnosis is put together from the agent's own status file and from `link_facts`' own connections.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openngt.agent import identity, runtime_status
from openngt.agent.paths import Paths
from openngt.agent.service import Agent
from openngt.agent.waiter import Waiter
from openngt.diagnosis.evidence import GuestSaw
from openngt.effects import now
from openngt.install.link_facts import reach

__all__ = ["FolderGuest"]


class FolderGuest:
    def __init__(self, root: Path, vm_uuid: str) -> None:
        self.vm_uuid = vm_uuid
        self.paths = Paths(str(root))
        dmi = root / "sys/class/dmi/id/product_uuid"
        dmi.parent.mkdir(parents=True)
        dmi.write_text(vm_uuid.upper() + "\n")
        (root / "usr/local/openngt").mkdir(parents=True)
        (root / "run").mkdir()
        self.config: dict[str, Any] = {}
        self.ca_pem = ""
        self._thread: threading.Thread | None = None
        self._waiter: Waiter | None = None
        self.shown: runtime_status.RuntimeStatus | None = None

    def give(self, client_pem: str, ca: Mapping[str, Any], *, host: str, port: int, vm_uuid: str | None = None) -> None:
        """An identity of that CA (the answer of `GET /v1/ca`), and where its service is."""
        made = identity.make("link", ca["cluster_uuid"], client_pem, ca["ca_pem"], ca["ca_sha256"], check_time=False)
        self.config = {
            "cluster_ip": host,
            "port": port,
            "cluster_uuid": ca["cluster_uuid"],
            "service_name": ca["service_name"],
            "ngt_uuid": made.ngt_uuid,
            "vm_uuid": made.vm_uuid,
            "vm_name": "guest",
            "generation": made.generation,
            "ngt_version": "0.1.0",
            "capabilities": {},
        }
        self.ca_pem = ca["ca_pem"]
        identity.store(self.paths, made, self.config)

    def start(self) -> None:
        self.shown = runtime_status.RuntimeStatus(self.paths)
        self._waiter = Waiter()
        agent = Agent(self.paths, self._waiter, self.shown)
        self._thread = threading.Thread(target=agent.run)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None and self._waiter is not None:
            self._waiter.stop()
            self._thread.join()
            self._waiter.close()
            self._thread = self._waiter = None

    @property
    def status(self) -> dict[str, Any]:
        return runtime_status.read(self.paths) or {}

    @property
    def link(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status["link"]
        return found

    def saw(self, wanted: Mapping[str, Any], **more: Any) -> GuestSaw:
        """The guest's half now; `wanted` is `gateway` of the service's half."""
        runs = self._thread is not None
        status = self.status
        link = status.get("link") if runs else runtime_status.no_link()
        found: dict[str, Any] = {
            "time": now().isoformat(),
            "clock_ahead_seconds": 0.0,
            "is_root": True,
            "python": "3.11",
            "vm_uuid": self.vm_uuid,
            "agent_files": [self.paths.home],
            "installed": True,
            "status": {**status, "link": link},
            "unit": {
                "load_state": "loaded",
                "active_state": "active" if runs else "inactive",
                "sub_state": "running" if runs else "dead",
                "unit_file_state": "enabled",
            },
            "journal": [],
            "config": self.config,
            "gateway": self._tried(wanted),
            "firewall": [],
            "serial_devices": [],
            "other_tools": [],
            "file_systems": [{"path": "/run", "free_kib": 100_000, "free_files": 1000}],
            "disc": None,
            **more,
        }
        return found  # type: ignore[return-value]  # put together as JSON, which is what it is

    def _tried(self, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
        name, places = self.config["service_name"], [(self.config["cluster_ip"], self.config["port"])]
        tried = [reach(*places[0], self.ca_pem, name, configured=True)]
        other = (wanted["host"], wanted["port"])
        return tried if other in places else [*tried, reach(*other, self.ca_pem, name)]
