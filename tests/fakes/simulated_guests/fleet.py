# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests by the hundred without a VM: each a real sshd on a loopback address, in namespaces and on a disk of its own.

What logs in meets root and `admin` with sudo, one password for both, a Debian 12 without an agent, and the CD-ROM
drives that the fake hypervisor has given the VM. The agent that is installed really runs and really has its link.
Needs root.
"""

import contextlib
import itertools
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..hypervisor import FakeHypervisor
from .spec import ADMIN, PORT, Spec

__all__ = ["MAY_SIMULATE", "SimulatedFleet", "SimulatedGuest"]

ROOT = Path(__file__).resolve().parents[3]
MAY_SIMULATE = os.geteuid() == 0
BOOT_SECONDS = 60


@dataclass
class SimulatedGuest:
    """`spec` may be replaced while it is off; but for `files` and accounts, which stand on its disk."""

    spec: Spec
    public_key: str
    """Of its sshd: `ssh-ed25519 AAAA…`."""
    hub: "Hub"
    drives: int = 1
    pid: int | None = None
    """Of its PID 1, as this host sees it; None while it is off."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def vm_uuid(self) -> str:
        return self.spec.vm_uuid

    @property
    def address(self) -> str:
        return self.spec.address

    @property
    def password(self) -> str:
        return self.spec.password

    @property
    def root(self) -> Path:
        """Its file system, while it is on."""
        assert self.pid is not None, f"{self.name} is off"
        return Path(f"/proc/{self.pid}/root")

    @property
    def mounts(self) -> str:
        """Its /proc/mounts, while it is on."""
        return Path(f"/proc/{self.pid}/mounts").read_text()

    def commands(self) -> list[str]:
        """Command lines of all that runs in it beside PID 1, while it is on."""
        found, waiting = [], [str(self.pid)]
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(OSError):  # ended meanwhile
                waiting += Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip())
        return found[1:]

    def is_quiet(self) -> bool:
        """Nothing but its sshd and perhaps its agent runs: the guest's half of a run that was killed has ended as well.

        Until then it may hold its disc, which is mounted as a tmpfs and would not be taken for one.
        """
        return all("[listener]" in command or command.endswith("ngt_agent.pyz run") for command in self.commands())

    @property
    def known_hosts(self) -> str:
        return f"[{self.address}]:{PORT} {self.public_key}\n"

    def start(self) -> None:
        """Boot it and do not wait."""
        self.pid = self.hub.ask("start", drives=self.drives, **asdict(self.spec))["pid"]

    def kill(self) -> None:
        """Pull the plug: whatever runs in it is gone in this moment; its disk stays."""
        self.hub.ask("kill", vm_uuid=self.vm_uuid)
        self.pid = None

    def resize_disk(self, mib: int) -> None:
        self.hub.ask("resize", vm_uuid=self.vm_uuid, mib=mib)

    def await_sshd(self) -> None:
        end = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                socket.create_connection((self.address, PORT), timeout=5).close()
                return
            except OSError:
                assert time.monotonic() < end, f"no sshd on {self.address}"
                time.sleep(0.02)


class Hub:
    """The process of hub.py, by its pipes."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.simulated_guests.hub", str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str, **fields: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None, "as it was started"
        self._process.stdin.write(json.dumps({"do": what, **fields}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer

    def end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None, "as it was started"
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class SimulatedFleet:
    """`with SimulatedFleet(folder, service.hypervisor) as fleet:` guests that end with it, however it ends.

    The guests' VMs are made known to the hypervisor as they are added: best before its service is started.
    """

    def __init__(self, folder: Path, hypervisor: FakeHypervisor) -> None:
        self.guests: list[SimulatedGuest] = []
        self.folder = folder
        self._hypervisor = hypervisor
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self._network, network = _reserve_network()
        self._addresses = (f"{network}.{high}.{low}" for high in itertools.count(1) for low in range(1, 251))
        self.hub = Hub(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hub.end()
        self._network.close()

    def add(self, *names: str, drives: Iterable[str] = ("cd0",), on_hypervisor: bool = True, **fields: Any) -> None:
        """Guests that are off. `fields` are those of Spec, for each of them."""
        passwords = [fields.get("password") or secrets.token_urlsafe(9) for _ in names]
        for name, password, hashed in zip(names, passwords, _hashes(passwords), strict=True):
            key = Ed25519PrivateKey.generate()
            private = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
            public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
            known: dict[str, Any] = {
                "name": name,
                "vm_uuid": str(uuid.uuid4()),
                "address": next(self._addresses),
                "password_hash": hashed,
                "host_key": private.decode(),
                "hypervisor": str(self._hypervisor.path),
                **fields,
                "password": password,
            }
            spec = Spec(**known)
            if on_hypervisor:
                self._hypervisor.add(spec.vm_uuid, name, dict.fromkeys(drives))
            self.guests.append(SimulatedGuest(spec, public.decode(), self.hub, drives=len(list(drives))))

    def start(self) -> None:
        """Boot those that are off; returns when each takes connections."""
        for guest in self.guests:
            if guest.pid is None:
                guest.start()
        for guest in self.guests:
            guest.await_sshd()

    def guest(self, name: str) -> SimulatedGuest:
        return next(guest for guest in self.guests if guest.name == name)

    def write_known_hosts(self, path: Path) -> Path:
        path.write_text("".join(guest.known_hosts for guest in self.guests))
        return path

    def targets(self, known_hosts: Path, *, user: str = "root", key: Path | None = None) -> list[dict[str, Any]]:
        """For controller.py; a test may make them wrong."""
        return [
            {
                "name": guest.name,
                "vm": guest.vm_uuid,
                "host": guest.address,
                "port": PORT,
                "user": user,
                "password": guest.password if key is None else None,
                "key": None if key is None else str(key),
                "known_hosts": str(known_hosts),
            }
            for guest in self.guests
        ]

    def write_inventory(self, path: Path, known_hosts: Path, *, user: str = "root", key: Path | None = None) -> Path:
        """In Ansible's own words; with `key` no password logs in, but sudo is told it all the same."""
        shared: dict[str, Any] = {
            "ansible_port": PORT,
            "ansible_user": user,
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts}",
        }
        if key is not None:
            shared["ansible_ssh_private_key_file"] = str(key)
        hosts = {guest.name: {"ansible_host": guest.address} for guest in self.guests}
        for guest in self.guests:
            if key is None:
                hosts[guest.name]["ansible_password"] = guest.password
            if user == ADMIN:
                hosts[guest.name]["ansible_become_password"] = guest.password
        path.write_text(json.dumps({"all": {"hosts": hosts, "vars": shared}}, indent=1))
        path.chmod(0o600)
        return path


def _reserve_network() -> tuple[socket.socket, str]:
    """A /16 of loopback that no other fleet has, of whatever process: `127.N`, ours until the socket is closed."""
    numbers = list(range(1, 255))
    random.shuffle(numbers)
    for number in numbers:
        holder = socket.socket()
        try:
            holder.bind((f"127.{number}.0.1", PORT))
        except OSError:
            holder.close()
            continue
        return holder, f"127.{number}"
    raise OSError(f"other fleets hold port {PORT} of every loopback network")


def _hashes(passwords: list[str]) -> list[str]:
    """As crypt(5) has them."""
    done = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"],
        input="".join(f"{password}\n" for password in passwords),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()
