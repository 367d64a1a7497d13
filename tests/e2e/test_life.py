# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of one VM, from nothing to deleted, each step asserted from both sides.

`build/records/life-of-a-vm.md` is the record: what was done, how long it took, what service and guest said.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openngt.client import Client
from openngt.errors import OpenNGTError
from openngt_service.lab.accelerator import choose_accelerator
from openngt_service.lab.console import Console
from openngt_service.lab.demo_views import ASK, compare, guest_view, service_view, view_of_text
from openngt_service.lab.image import ensure_image
from openngt_service.lab.service_process import ServiceProcess
from openngt_service.lab.vm import Lab

from ..conftest import ROOT, program
from ..fakes.agent_releases import release
from .conftest import Guests, WarmVm, restore
from .hands import LIMIT_SECONDS, monitor, said, shelved, until
from .plays import prepare
from .record import Record

pytestmark = [pytest.mark.guest, pytest.mark.nightly]

VM, COPY = "alice", "alice-copy"
NEXT = "0.1.1"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Life:
    lab: Lab
    service: ServiceProcess
    client: Client
    record: Record
    collection: Path
    folder: Path

    def vm(self, name: str = VM) -> WarmVm:
        """As it is now: each start gives it other ports."""
        return WarmVm(**vars(self.lab.vm(name)))

    def seen_by_service(self, name: str = VM) -> dict[str, Any]:
        return self.client.vm(self.vm(name).vm_uuid)

    def agreed(self, name: str = VM) -> dict[str, Any]:
        """What service and guest both say of a VM once it is linked over its port."""
        until(lambda: self.seen_by_service(name)["transport"] == "serial", "the link over the port")
        until(lambda: self.seen_by_service(name)["certificate"]["kind"] == "link", "the long-lived identity")
        until(lambda: "active over serial" in self.vm(name).ssh("ngtcli status").stdout, "the agent's word")
        service = service_view(self.seen_by_service(name))
        self.record.both_sides(compare(name, service, guest_view(self.vm(name))))
        return service

    def play(self, playbook: str, *arguments: str) -> None:
        ansible = prepare(self.folder, self.lab, self.service, self.collection)
        done = ansible.play(playbook, "--limit", VM, *arguments).succeeded()
        self.record.saw(f"`ansible-playbook openngt.guest_tools.{playbook} {' '.join(arguments)}`: {done.recap[VM]}")

    def lab_command(self, *words: str) -> None:
        command = [program("openngt"), "lab", *words, "--directory", str(self.lab.directory)]
        subprocess.run(command, check=True, timeout=LIMIT_SECONDS)
        self.record.saw(f"`openngt lab {' '.join(words)}`")


@pytest.fixture
def life(guests: Guests, service: ServiceProcess, client: Client, collection: Path, tmp_path: Path) -> Iterator[Life]:
    """A VM of its own, as it is switched off and put back; beside the other tests' guests."""
    record = Record(ROOT / "build/records/life-of-a-vm.md", "The life of a VM")
    lab, image = Lab(guests.lab.directory, print), ensure_image(print)
    try:
        lab.wait(lab.start(VM, image, choose_accelerator(image, print)))
        yield Life(lab, service, client, record, collection, tmp_path)
    finally:
        lab.down([vm.name for vm in lab.vms() if vm.name in (VM, COPY)])
        restore(guests, service)


def test_the_life_of_a_vm(life: Life) -> None:
    """T1, T2, F16, F21 in one life."""
    install(life)
    lose_the_network(life)
    refresh(life)
    clone(life)
    revert(life)
    upgrade(life)
    delete(life)


def install(life: Life) -> None:
    with life.record.step("Install over SSH"):
        life.play("install")
        seen = life.agreed()
        assert seen["link active"] and seen["NGT enabled"] and not seen["ISO mounted"]


def lose_the_network(life: Life) -> None:
    with life.record.step("Lose the network, keep working over the serial port, get the network back"):
        since = life.seen_by_service()["link"]["since"]
        with network_down(life), at_console(life) as console:
            assert life.vm().ssh("true", timeout=15).returncode != 0, "SSH is gone"
            life.record.saw("the VM's network card has no link; SSH does not answer")
            set_vss(life, wanted=False)
            status, text = console.run(ASK)
            assert status == 0, text
            service = service_view(life.seen_by_service())
            life.record.both_sides(compare(VM, service, view_of_text(text)))
            assert (service["transport"], service["VSS"]) == ("serial", False)
        life.lab.wait(life.vm())
        life.record.saw("SSH answers again")
        set_vss(life, wanted=True)
        life.agreed()
        assert life.seen_by_service()["link"]["since"] == since, "the link never went down"


def set_vss(life: Life, *, wanted: bool) -> None:
    """What the service asks for has reached the agent."""
    life.client.enable(life.vm().vm_uuid, {"vss_snapshot": wanted})
    until(lambda: life.seen_by_service()["agent_capabilities"]["vss_snapshot"] is wanted, "the capability")


@contextmanager
def network_down(life: Life) -> Iterator[None]:
    """As if the cable were pulled: the guest sees its card lose the carrier."""
    life.vm().hang_up()
    monitor(life.vm(), "set_link", name="net0", up=False)
    try:
        yield
    finally:
        monitor(life.vm(), "set_link", name="net0", up=True)


@contextmanager
def at_console(life: Life) -> Iterator[Console]:
    with Console(life.vm().console_socket) as console:
        console.log_in("operator", life.lab.operator_password.read_text(encoding="ascii").strip())
        assert console.run("dmesg -n 1")[0] == 0, "the kernel's own words would stand among the answers"
        yield console


def refresh(life: Life) -> None:
    for via in ("link", "iso"):
        with life.record.step(f"Refresh the certificate via {via}"):
            before = life.seen_by_service()["certificate"]["serial"]
            life.play("refresh", "-e", f"openngt_via={via}", "-e", "openngt_validity_days=400")
            seen = life.agreed()
            assert seen["certificate serial"] != before
            life.record.saw(f"certificate {before} is replaced by {seen['certificate serial']}")


def clone(life: Life) -> None:
    with life.record.step("Clone: the copy is told apart, waits, and has an identity of its own once it is enabled"):
        before = life.seen_by_service()
        life.lab_command("clone", VM, COPY)
        copy = life.vm(COPY)
        until(lambda: bool(life.client.hypervisor_vms(copy.vm_uuid, clone_pending=True)), "the clone, waiting")
        until(lambda: "vm enable" in copy.ssh("ngtcli status").stdout, "the agent's advice")
        life.record.saw(said(copy, "ngtcli status").replace("\n", "; "))
        life.client.enable(copy.vm_uuid)
        life.agreed(COPY)
        copy.hang_up()
        life.client.disable(copy.vm_uuid)
        life.lab.down([COPY])
        life.agreed()
        after = life.seen_by_service()
        assert after["link"]["since"] == before["link"]["since"], "the parent's link never went down"
        assert after["certificate"]["serial"] == before["certificate"]["serial"]


def revert(life: Life) -> None:
    with life.record.step("Revert to a snapshot that is older than the certificate"):
        life.lab_command("snapshot", VM, "before")
        life.play("refresh", "-e", "openngt_via=link")
        newest = life.agreed()
        life.vm().hang_up()
        life.lab_command("revert", VM, "before")
        until(lambda: life.seen_by_service()["certificate"]["serial"] != newest["certificate serial"], "the recovery")
        life.agreed()
        [task] = [task for task in life.client.tasks(life.vm().vm_uuid) if task["kind"] == "recover"]
        life.record.saw(f"by itself: {task['title']}, because the certificate was {task['result']['reason']}")


def upgrade(life: Life) -> None:
    with life.record.step("Upgrade the agent over the link"):
        boot = said(life.vm(), BOOT_ID)
        with shelved(life.service.state, {NEXT: release(NEXT)}):
            life.play("upgrade", "-e", f"openngt_version={NEXT}")
            assert life.agreed()["agent version"] == NEXT
        assert said(life.vm(), BOOT_ID) == boot
        life.record.saw("the guest was not booted anew")


def delete(life: Life) -> None:
    with life.record.step("Delete"):
        life.play("uninstall")
        assert said(life.vm(), "ls -d /usr/local/openngt /run/openngt 2>/dev/null; true") == ""
        life.record.saw("the guest has no file of the agent")
        with pytest.raises(OpenNGTError) as caught:
            life.seen_by_service()
        assert caught.value.code == "NOT_ENROLLED"
        life.record.saw(f"the service: {caught.value}")
        life.vm().hang_up()
