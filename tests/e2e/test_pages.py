# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages whose examples take a guest, each from its first example to its last, on the lab's guests."""

import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from openngt_service.hypervisors.vm_files import VM_FILE, read_vm_file, write_vm_file
from openngt_service.lab.inventory import inventory
from openngt_service.lab.process import free_port
from openngt_service.lab.service_process import HOST_SEEN_FROM_GUESTS, ServiceProcess

from ..conftest import program
from ..docs.layouts import BEFORE, BEFORE_ON_GUESTS, IDS, ON_SIMULATED_GUESTS, VARIABLES, environment, own_environment
from ..docs.session import UUIDS, Session, on_guests, page_name, run_page, take_a_guest
from ..docs.shell import Finished, Shell
from ..fakes.simulated_guests.fleet import MAY_SIMULATE
from .conftest import Guests, WarmVm
from .hands import insert, monitor, said, until

pytestmark = pytest.mark.guest

ELSEWHERE = ON_SIMULATED_GUESTS if MAY_SIMULATE else set()
TAKE_A_GUEST = [page for page in take_a_guest() if page_name(page) not in ELSEWHERE]
LIMIT_SECONDS = 900.0
# Its other examples bring VMs of their own, which tests/docs runs.
GUESTS_ONLY = {"docs/lab.md"}

# What their examples do, test_power, test_without_service, test_refresh and test_refresh_legacy do as well.
NIGHTLY = {
    "docs/power.md",
    "docs/modules-without-service.md",
    "docs/refresh.md",
    "plugins/modules/power.py",
    "plugins/modules/refresh.py",
}

MakeSession = Callable[[Path], Session]


def by_name(guests: Guests) -> Mapping[str, WarmVm]:
    """As the pages call them."""
    return {"web1": guests.web, "db1": guests.db}


@pytest.fixture
def alone(service: ServiceProcess, restored: None) -> Iterator[None]:
    """The other tests' service out of the way: of two, one would get a VM's serial port."""
    assert service.stop() == 0
    yield
    service.start()


@pytest.fixture
def session_for(guests: Guests, collection: Path, tmp_path: Path, alone: None) -> Iterator[MakeSession]:
    """A terminal beside the lab, with a service of its own whose state is below the page's folder."""
    shells: list[Shell] = []
    api, gateway = free_port(), free_port()

    def make(page: Path) -> Session:
        folder = tmp_path / "page"
        folder.mkdir()
        if page_name(page) == "README.md":
            outside = own_environment(tmp_path, folder)
        else:
            outside = environment(tmp_path, collection, [str(Path(program("openngt")).parent)])
        here = {
            "OPENNGT_API_PORT": str(api),
            "OPENNGT_GATEWAY_PORT": str(gateway),
            "OPENNGT_LAB_DIRECTORY": str(guests.lab.directory),
            "OPENNGT_QEMU_DIRECTORY": str(folder / "vms"),
            # Nothing is private here: what a page forgets to say must not land in the host's own folder.
            "OPENNGT_STATE_DIR": str(folder / "state"),
        }
        shell = Shell(folder, {**outside, **here}, private=False, limit=LIMIT_SECONDS)
        shells.append(shell)
        for name, vm in by_name(guests).items():
            (folder / "vms" / name).mkdir(parents=True)
            write_vm_file(folder / "vms" / name, replace(read_vm_file(Path(vm.folder) / VM_FILE), vm_name=name))
        return Session(shell, page, translation(guests, folder, api, page), VARIABLES, hand(shell, guests, page), IDS)

    yield make
    for shell in shells:
        shell.close()
    for vm in guests.both:
        vm.hang_up()
        if vm.pid is None:  # after a page that failed
            subprocess.run(read_vm_file(Path(vm.folder) / VM_FILE).start, cwd=vm.folder, check=True)
        guests.lab.wait(vm)
        said(vm, "for disc in $(findmnt -rno TARGET -t iso9660); do umount $disc; done")
        monitor(vm, "eject", id="cd0", force=True)


def translation(guests: Guests, folder: Path, api: int, page: Path) -> dict[str, str]:
    """What the pages name -> what is so here."""
    here = {
        "https://192.0.2.10": "https://127.0.0.1",
        "192.0.2.10": HOST_SEEN_FROM_GUESTS,
        ":2073": f":{api}",
        "/var/lib/openngt": f"{folder}/state",
        **{UUIDS[name]: vm.vm_uuid for name, vm in by_name(guests).items()},
    }
    if page_name(page) == "docs/lab.md":
        here |= {name: vm.name for name, vm in by_name(guests).items()}
    return here


def hand(shell: Shell, guests: Guests, page: Path) -> Callable[[str], Finished]:
    """Runs what is typed as root in the page's guest; a disc that has just come may take the kernel a moment."""
    vm = guests.db if page_name(page) == "docs/guide.md" else guests.web

    def run(text: str) -> Finished:
        if text.startswith("blkid"):
            until(lambda: vm.ssh(text).returncode == 0, "the disc's label")
        pinned = shell.run("printf %s $CA_SHA256").output
        done = vm.ssh(f"export CA_SHA256={pinned}; {text}", timeout=LIMIT_SECONDS)
        return Finished(done.returncode, done.stdout + done.stderr)

    return run


def hosts(guests: Guests) -> dict[str, Any]:
    """An inventory of web1 alone: the pages install by hand on the other one."""
    document = inventory(guests.lab, [replace(guests.web, name="web1")], "admin")
    document["all"]["vars"] |= {"guest_agent_wait_seconds": 120}
    return {**document, "web": {"hosts": {"web1": {}}}}


@pytest.fixture
def attached(guests: Guests, tmp_path: Path) -> Iterator[None]:
    """Somebody who attaches isos/web1.iso as soon as it is there, as the play's prompt asks."""
    done = threading.Event()

    def attach() -> None:
        iso = tmp_path / "page/isos/web1.iso"
        while not done.wait(0.2):
            if iso.exists():
                insert(guests.web, "cd0", iso)
                return

    thread = threading.Thread(target=attach)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page_name(page), marks=[pytest.mark.nightly] * (page_name(page) in NIGHTLY))
        for page in TAKE_A_GUEST
    ],
)
@pytest.mark.usefixtures("attached")
def test_the_examples_of_a_page_run_in_its_order(page: Path, session_for: MakeSession, guests: Guests) -> None:
    name = page_name(page)
    session = session_for(page)
    session.lay_out(hosts(guests), BEFORE_ON_GUESTS.get(name, BEFORE.get(name, ())))
    run_page(session, on_guests if name in GUESTS_ONLY else lambda _: True)
