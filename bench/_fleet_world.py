# SPDX-License-Identifier: GPL-3.0-or-later
"""Fresh guests before a fresh service for one contender of the fleet installation, and the proof that all must pass."""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.service import ServiceProcess
from tests.fakes.simulated_guests.fleet import SimulatedFleet, SimulatedGuest

__all__ = ["ROOT", "Spent", "World", "collection", "run_measured", "world_of"]

ROOT = Path(__file__).resolve().parents[1]
HOLDER = "bench pid 1 (fleet_install)"


@dataclass(frozen=True)
class Spent:
    """What a contender took. Seconds of CPU are those of two kinds, for the guests work on the same cores."""

    seconds: float
    cpu: float
    """Of the controller: its process and those that it has started."""
    all_cpu: float
    """The same with the guests and the service."""
    most_mib: float
    """The largest resident size of the controller's own process."""


@dataclass
class World:
    service: ServiceProcess
    guests: Sequence[SimulatedGuest]
    folder: Path
    key: Path
    known_hosts: Path
    inventory: Path
    targets: Sequence[Mapping[str, Any]]
    """For tests/fakes/simulated_guests/controller.py."""

    @property
    def environment(self) -> Mapping[str, str]:
        """For a controller's commands; nothing of the caller's Ansible."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OPENNGT_", "ANSIBLE_"))},
            "OPENNGT_ENDPOINT": self.service.endpoint,
            "OPENNGT_TOKEN": self.service.token,
            "OPENNGT_CA_FILE": self.service.ca_file,
            "XDG_STATE_HOME": str(self.folder / "xdg"),
        }

    def insert_discs(self) -> str:
        """Enrol every VM and mount its tools ISO; the CA's fingerprint."""
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(self._insert_disc, self.guests))
        with self.service.client() as client:
            return str(client.ca()["ca_sha256"])

    def _insert_disc(self, guest: SimulatedGuest) -> None:
        with self.service.client() as client:
            client.enable(guest.vm_uuid)
            client.wait_task(client.mount(guest.vm_uuid, HOLDER, 1800), 300.0)

    def prove(self) -> None:
        """RuntimeError unless each guest has a live link and a certificate of its own, current in the ledger."""
        with self.service.client() as client:
            vms = client.vms()
        linked = [vm for vm in vms if vm["communication_link_active"] and vm["certificate"]["kind"] == "link"]
        serials = {vm["certificate"]["serial"] for vm in linked if vm["certificate"]["state"] == "current"}
        if not len(self.guests) == len(linked) == len(serials):
            raise RuntimeError(f"{len(linked)} links and {len(serials)} current serials of {len(self.guests)} guests")


@contextlib.contextmanager
def world_of(count: int) -> Iterator[World]:
    """`count` guests without an agent, at which root logs in with a key, and a service that knows their VMs."""
    with tempfile.TemporaryDirectory(prefix="openngt-bench-") as name:
        folder = Path(name)
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        service = ServiceProcess(folder, {"log_level": "info"})
        with SimulatedFleet(folder / "guests", service.hypervisor) as fleet:
            fleet.add(*(f"vm{n:03}" for n in range(count)), authorized_key=key.with_suffix(".pub").read_text().strip())
            fleet.start()
            service.start()
            known_hosts = fleet.write_known_hosts(folder / "known_hosts")
            inventory = fleet.write_inventory(folder / "inventory.json", known_hosts, key=key)
            targets = fleet.targets(known_hosts, key=key)
            try:
                yield World(service, fleet.guests, folder, key, known_hosts, inventory, targets)
            finally:
                service.stop()


def run_measured(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Spent:
    """To its end, which has to be a good one."""
    begin, others = time.perf_counter(), _cpu_of_descendants()
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=dict(environment), cwd=ROOT, stdout=output, stderr=output)
        watcher = _Watcher(process.pid)
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds, others = time.perf_counter() - begin, _cpu_of_descendants() - others
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
    own = used.ru_utime + used.ru_stime
    return Spent(seconds, own, own + others, watcher.most_kib / 1024)


class _Watcher(threading.Thread):
    """Keeps what /proc says last of a process's peak: ru_maxrss also counts the process that has started it."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.most_kib = 0.0
        self._status = Path(f"/proc/{pid}/status")

    def run(self) -> None:
        with contextlib.suppress(OSError, IndexError):  # gone, or a zombie without memory
            while True:
                self.most_kib = float(self._status.read_text().split("VmHWM:")[1].split()[0])
                time.sleep(0.1)


def _cpu_of_descendants() -> float:
    """Seconds of all living processes that this one has started, and of those that they have waited for."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                parents[int(folder.name)] = int(fields[1])
                ticks[int(folder.name)] = sum(map(int, fields[11:15]))
    return sum(ticks[pid] for pid in ticks if _descends(pid, parents)) / os.sysconf("SC_CLK_TCK")


def _descends(pid: int, parents: Mapping[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
        if pid == os.getpid():
            return True
    return False


def collection(folder: Path) -> Path:
    """This tree's collection, built and installed below a folder, which is the path for Ansible to look in."""
    galaxy = [str(Path(sys.executable).parent / "ansible-galaxy"), "collection"]
    environment = {**os.environ, "ANSIBLE_HOME": str(folder / "home"), "ANSIBLE_COLLECTIONS_PATH": str(folder)}

    def run(*command: str) -> None:
        subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True)

    run(str(ROOT / "scripts/collections"), str(folder))
    run(*galaxy, "build", "--output-path", str(folder))
    [tarball] = folder.glob("*.tar.gz")
    run(*galaxy, "install", "--offline", "-p", str(folder), str(tarball))
    return folder
