# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of one VM, from nothing to deleted, each step asserted from both sides.

`build/records/life-of-a-vm.md` is the record: what was done, how long it took, what service and guest said.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from openngt.client import Client
from openngt.errors import OpenNGTError
from openngt_service.lab.console import Console
from openngt_service.lab.demo_views import ASK, compare, guest_view, service_view, view_of_text
from openngt_service.lab.service_process import ServiceProcess

from ..conftest import ROOT
from .conftest import Guests, WarmVm
from .hands import monitor, said, until
from .plays import Ansible
from .record import Record

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("restored")]

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Life:
    guests: Guests
    service: ServiceProcess
    client: Client
    ansible: Ansible
    record: Record

    @property
    def web(self) -> WarmVm:
        return self.guests.web

    def seen_by_service(self) -> dict[str, Any]:
        return self.client.vm(self.web.vm_uuid)

    def agreed(self, transport: str = "serial") -> dict[str, Any]:
        """What service and guest both say of `web`, once its link is active over the transport."""
        until(lambda: self.seen_by_service()["transport"] == transport, f"the link over {transport}")
        service = service_view(self.seen_by_service())
        self.record.both_sides(compare("web", service, guest_view(self.web)))
        return service

    def play(self, playbook: str, *arguments: str) -> None:
        done = self.ansible.play(playbook, "--limit", "web", *arguments).succeeded()
        self.record.saw(f"`ansible-playbook openngt.guest_tools.{playbook}`: {done.recap['web']}")


def test_the_life_of_a_vm(guests: Guests, service: ServiceProcess, client: Client, ansible: Ansible) -> None:
    record = Record(ROOT / "build/records/life-of-a-vm.md", "The life of a VM")
    life = Life(guests, service, client, ansible, record)
    install(life)
    lose_the_network(life)
    refresh(life)
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
            assert life.web.ssh("true", timeout=15).returncode != 0, "SSH is gone"
            life.record.saw("the VM's network card has no link; SSH does not answer")
            life.client.enable(life.web.vm_uuid, {"vss_snapshot": False})
            until(lambda: life.seen_by_service()["agent_capabilities"]["vss_snapshot"] is False, "the capability")
            status, text = console.run(ASK)
            assert status == 0, text
            service = service_view(life.seen_by_service())
            life.record.both_sides(compare("web", service, view_of_text(text)))
            assert (service["transport"], service["VSS"]) == ("serial", False)
        life.guests.lab.wait(life.web)
        life.record.saw("SSH answers again")
        life.client.enable(life.web.vm_uuid, {"vss_snapshot": True})
        until(lambda: life.seen_by_service()["agent_capabilities"]["vss_snapshot"] is True, "the capability")
        life.agreed()
        assert life.seen_by_service()["link"]["since"] == since, "the link never went down"


@contextmanager
def network_down(life: Life) -> Iterator[None]:
    """As if the cable were pulled: the guest sees its card lose the carrier."""
    life.web.hang_up()
    monitor(life.web, "set_link", name="net0", up=False)
    try:
        yield
    finally:
        monitor(life.web, "set_link", name="net0", up=True)


@contextmanager
def at_console(life: Life) -> Iterator[Console]:
    with Console(life.web.console_socket) as console:
        console.log_in("operator", life.guests.lab.operator_password.read_text(encoding="ascii").strip())
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


def delete(life: Life) -> None:
    with life.record.step("Delete"):
        life.play("uninstall")
        assert said(life.web, "ls -d /usr/local/openngt /run/openngt 2>/dev/null; true") == ""
        life.record.saw("the guest has no file of the agent")
        with pytest.raises(OpenNGTError) as caught:
            life.seen_by_service()
        assert caught.value.code == "NOT_ENROLLED"
        life.record.saw(f"the service: {caught.value}")
