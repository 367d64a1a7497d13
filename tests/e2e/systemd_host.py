# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian hosts with systemd and sshd at native speed: containers of systemd-nspawn, made of the lab's guest image.

Each has a network namespace of its own, so its firewall is not this machine's. What it installs comes from packages
that were downloaded once, and from folders that the test gives it.
"""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from openngt.effects import Finished, run
from openngt_service.lab.image import Image, default_cache
from openngt_service.lab.ssh import SshTarget, make_key, ssh_options

__all__ = ["Host", "as_root", "boot", "packages_layer", "require_containers"]

SCRIPT = Path(__file__).with_name("nspawn.sh")
BOOT_SECONDS = 60.0
END_SECONDS = 10.0

NETWORK = """\
[Match]
Name=host0

[Network]
Address={address}/30
LinkLocalAddressing=no
"""
PIP = """\
[global]
no-index = true
find-links = /srv/wheels
"""


@dataclass(frozen=True)
class Host:
    address: str
    target: SshTarget
    folder: Path

    def ssh(self, command: str, timeout: float = 120.0) -> Finished:
        """As root; over one connection that is kept open."""
        kept = ["-o", "ControlMaster=auto", "-o", "ControlPersist=300s", "-o", f"ControlPath={self.folder}/ssh"]
        ssh, *rest = self.target.command("root", command)
        return run([ssh, *kept, *rest], timeout=timeout)

    def say(self, command: str) -> str:
        """What a command prints that has to succeed."""
        done = self.ssh(command)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def reaches(self, port: int) -> bool:
        """Whether this machine can connect to a port of the host."""
        try:
            socket.create_connection((self.address, port), 2).close()
        except OSError:
            return False
        return True


def as_root() -> list[str]:
    """Prefix for a command that needs root; skips the test where nothing gives it."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and run(["sudo", "-n", "true"]).returncode == 0:
        return ["sudo", "-n"]
    pytest.skip("a container needs root, or sudo that asks for no password")


def require_containers(image: Image, folder: Path) -> None:
    """Skip the test, and say what is missing, where this machine cannot run such hosts."""
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is missing: make system-packages")
    done = run(privileged("probe", image, folder))
    if done.returncode:
        pytest.skip(f"this machine cannot mount what a container needs: {done.stderr.strip()}")


def privileged(action: str, image: Image, folder: Path, *arguments: str | Path) -> list[str]:
    namespace = ["unshare", "--mount", "--propagation", "private"]
    words = [action, image.disk, folder, *arguments]
    return [*as_root(), *namespace, "sh", str(SCRIPT), *map(str, words)]


def packages_layer(image: Image, folder: Path, packages: Sequence[str]) -> Path:
    """A folder of the user's cache to lay over the image: apt's lists, and these packages with what they need."""
    digest = hashlib.sha256("\n".join([image.folder.name, *packages]).encode()).hexdigest()[:16]
    layer = default_cache() / f"packages-{digest}"
    if not layer.exists():
        unfinished = layer.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        done = run(privileged("fetch", image, folder, unfinished, *packages), timeout=600)
        assert done.returncode == 0, done
        unfinished.rename(layer)
    return layer


@contextlib.contextmanager
def boot(image: Image, layer: Path, folder: Path, wheels: Path) -> Iterator[Host]:
    """A host that answers over SSH, as root and as the sudoer `admin`. Its pip takes packages from `wheels` alone."""
    ours, address = free_network()
    interface = f"ngt{random.getrandbits(32):08x}"
    target = seed(folder, address)
    (folder / "wheels").symlink_to(wheels)
    with (folder / "console.log").open("wb") as console:
        process = subprocess.Popen(
            privileged("boot", image, folder, layer, interface),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    host = Host(address, target, folder)

    def connected() -> bool:
        assert process.poll() is None, (folder / "console.log").read_text(errors="replace")[-4000:]
        return run([*as_root(), "ip", "address", "replace", f"{ours}/30", "dev", interface]).returncode == 0

    try:
        eventually(connected, "the container's network card")
        assert run([*as_root(), "ip", "link", "set", interface, "up"]).returncode == 0
        eventually(lambda: host.reaches(22) and host.ssh("systemctl is-system-running --wait").stdout != "", "SSH")
        yield host
        run(["ssh", "-o", f"ControlPath={folder}/ssh", "-O", "exit", "any"])
    finally:
        end(process)


def seed(folder: Path, address: str) -> SshTarget:
    """What makes a host of the image: keys, address, where pip looks."""
    etc = folder / "seed/etc"
    (etc / "ssh").mkdir(parents=True)
    (etc / "systemd/network").mkdir(parents=True)
    make_key(folder / "key", "test")
    (etc / "systemd/network/10-host0.network").write_text(NETWORK.format(address=address))
    (etc / "pip.conf").write_text(PIP)
    target = SshTarget(22, folder / "key", folder / "known_hosts", address)
    # For port 22 known_hosts wants the bare address.
    target.known_hosts.write_text(f"{address} {make_key(etc / 'ssh/ssh_host_ed25519_key', 'host')}")
    return target


def free_network() -> tuple[str, str]:
    """Two addresses of a small network that no route of this machine leads to but the default one (RFC 2544)."""
    used = run(["ip", "-4", "-oneline", "address"]).stdout
    while True:
        start = f"198.18.{random.randrange(256)}.{random.randrange(64) * 4}"
        head, _, last = start.rpartition(".")
        ours, theirs = f"{head}.{int(last) + 1}", f"{head}.{int(last) + 2}"
        if f" {ours}/" not in used:
            return ours, theirs


def eventually(what: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while not what():
        assert time.monotonic() < deadline, f"{name}: not there after {BOOT_SECONDS:g} s"
        time.sleep(0.1)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Nothing in the container is worth an orderly end. Root's processes: sudo hands on what it is sent."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        run([*as_root(), "kill", f"-{int(number)}", "--", f"-{process.pid}"])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
            return


def ansible_host(host: Host, **variables: str) -> dict[str, object]:
    """A host of an inventory, for `admin`."""
    return {
        "ansible_host": host.address,
        "ansible_user": "admin",
        "ansible_become": True,
        "ansible_ssh_private_key_file": str(host.target.key),
        "ansible_ssh_common_args": " ".join(ssh_options(host.target.known_hosts)),
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_pipelining": True,
        **variables,
    }
