# SPDX-License-Identifier: GPL-3.0-or-later
"""Two real Debian guests and one service, started once for all tests of this folder and ended with the session.

Who works on these tests spares himself the boot: OPENNGT_TEST_LAB=<folder> keeps the guests running there for the next
session (`openngt lab down --directory <folder>/lab` ends them). Each worker of several has its own below it.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from openngt.client import Client
from openngt.effects import Finished, run
from openngt_service.hypervisors.qemu import QemuHypervisor
from openngt_service.lab.accelerator import choose_accelerator
from openngt_service.lab.image import ensure_image
from openngt_service.lab.service_process import ServiceProcess
from openngt_service.lab.vm import Lab, LabVm

from ..conftest import program
from .hands import monitor
from .last_will import ended_with_us
from .plays import Ansible, prepare

# Whatever state a test left: no disc mounted, no installer at work, no file of the agent, Python and SSH as they were.
RESTORE = """\
for held in /usr/bin/*.hidden-by-test; do [ -e "$held" ] && mv "$held" "${held%.hidden-by-test}"; done
for disc in $(findmnt -rno TARGET -t iso9660); do umount "$disc"; done
agent=/usr/local/openngt/agent/current/ngt_agent.pyz
[ ! -e $agent ] || python3 $agent uninstall >/dev/null
unit=/etc/systemd/system/ngt_guest_agent.service
[ ! -e $unit ] || { systemctl disable --now ${unit##*/}; rm $unit; systemctl daemon-reload; }
rm -f /etc/systemd/system/serial-getty@*.service
rm -rf /usr/local/openngt /run/openngt /usr/local/bin/ngtcli /mnt/nutanix
true"""


# In minutes what others take in seconds. They come first, so that at the end no worker has one of them to itself.
LONGEST = ("test_life", "test_template_to_fleet", "test_pages", "test_service_role", "test_customization", "test_power")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = [place for place, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    ours = sorted((items[place] for place in places), key=lambda item: ranks.get(item.path.stem, len(LONGEST)))
    for place, item in zip(places, ours, strict=True):
        items[place] = item


class WarmVm(LabVm):
    """Keeps its SSH connections open: under emulation the handshake of a new one takes seconds."""

    def ssh(self, *remote: str, user: str = "root", timeout: float = 120.0) -> Finished:
        ssh, *rest = self.target.command(user, *remote)
        kept = ["-o", "ControlMaster=auto", "-o", "ControlPersist=300s", "-o", f"ControlPath={self.sockets}/ssh-%r"]
        return run([ssh, *kept, *rest], timeout=timeout)

    def hang_up(self) -> None:
        for socket in Path(self.sockets).glob("ssh-*"):
            run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "any"])


@dataclass(frozen=True)
class Guests:
    """`web` has two empty CD-ROM drives, `db` a user's own disc in `cd1`."""

    lab: Lab
    web: WarmVm
    db: WarmVm
    users_disc: Path

    @property
    def both(self) -> tuple[WarmVm, WarmVm]:
        return self.web, self.db


@pytest.fixture(scope="session")
def guests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    kept = os.environ.get("OPENNGT_TEST_LAB")
    folder = Path(kept, os.environ.get("PYTEST_XDIST_WORKER", "")) if kept else tmp_path_factory.mktemp("guests")
    folder.mkdir(parents=True, exist_ok=True)
    users_disc = folder / "users.iso"
    if not users_disc.exists():
        users_disc.write_bytes(bytes(64 * 2048))

    def report(line: str) -> None:
        sys.stderr.write(line + "\n")

    image = ensure_image(report)
    accelerator = choose_accelerator(image, report)
    lab = Lab(folder / "lab", report)
    with contextlib.ExitStack() as end:
        if not kept:
            end.enter_context(ended_with_us("lab", lab.directory))
            end.callback(lab.down)
        web = lab.start("web", image, accelerator)
        db = lab.start("db", image, accelerator, cdrom=users_disc)
        guests = Guests(lab, WarmVm(**vars(web)), WarmVm(**vars(db)), users_disc)
        for vm in guests.both:
            lab.wait(vm)
        for vm, drive in ((guests.web, "cd0"), (guests.web, "cd1"), (guests.db, "cd0")):
            monitor(vm, "eject", id=drive, force=True)  # what a killed session left in kept guests
        yield guests
        for vm in guests.both:
            vm.hang_up()


@pytest.fixture
def adapter(guests: Guests) -> QemuHypervisor:
    return QemuHypervisor(guests.lab.directory, answer_seconds=20, release_seconds=30)


@pytest.fixture(scope="session")
def service(guests: Guests, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """`openngt serve` as a user starts it; it has to end in order."""
    directory = tmp_path_factory.mktemp("service")
    service = ServiceProcess(directory, Path(program("openngt")), directory / "service.log")
    service.configure(guests.lab.directory)
    with ended_with_us("service", directory):
        try:
            service.start()
            restore(guests, service)  # kept guests may be as a killed session left them
            yield service
        finally:
            status = service.stop()
    assert status == 0, service.log.read_text(encoding="utf-8")[-4000:]


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[Client]:
    """The admin's."""
    with service.client() as client:
        yield client


@pytest.fixture(scope="session")
def ansible(
    guests: Guests, service: ServiceProcess, collection: Path, tmp_path_factory: pytest.TempPathFactory
) -> Ansible:
    return prepare(tmp_path_factory.mktemp("ansible"), guests.lab, service, collection)


@pytest.fixture
def restored(guests: Guests, service: ServiceProcess) -> Iterator[None]:
    """Guests and service are left as they were before the first test."""
    yield
    restore(guests, service)


def restore(guests: Guests, service: ServiceProcess) -> None:
    with service.client() as client:
        for vm in client.vms():
            client.disable(vm["vm_uuid"])
    with ThreadPoolExecutor(2) as threads:
        for done in threads.map(lambda vm: vm.ssh(RESTORE), guests.both):
            assert done.returncode == 0, done
