# SPDX-License-Identifier: GPL-3.0-or-later
"""Another CA follows the service's with a real guest on its link, phase by phase, as both sides have it."""

import json
from typing import Any

import pytest

from openngt_service.lab.service_process import ServiceProcess

from .conftest import Guests, WarmVm
from .hands import install, said, until
from .plays import Ansible

pytestmark = pytest.mark.guest

PID = "systemctl show -p MainPID --value ngt_guest_agent.service"


def guest_trusts(vm: WarmVm) -> list[str]:
    identity: dict[str, Any] = json.loads(said(vm, "ngtcli status --output json"))["identity"]
    return list(identity["trusted_ca_sha256"])


def test_a_guest_goes_over_to_the_next_ca_on_its_link(
    guests: Guests, service: ServiceProcess, ansible: Ansible, restored: None
) -> None:
    web = guests.web
    with service.client() as client:
        install(client, web)
        until(lambda: client.vm(web.vm_uuid)["certificate"]["kind"] == "link", "the long-lived identity")
        old, pid = client.ca()["ca_sha256"], said(web, PID)
        refused = client.vm(web.vm_uuid)["link"]["last_refusal"]

    def play(*arguments: str) -> int:
        """How many tasks have changed something."""
        done = ansible.play("ca_rollover", "-e", f"openngt_ca_replaces={old}", *arguments).succeeded()
        return done.recap["localhost"]["changed"]

    def stands(phase: str, signing: str) -> None:
        """As the service has it, whose own file every client on this host goes by."""
        with service.client() as client:
            found, vm = client.ca_rollover(), client.vm(web.vm_uuid)
        assert (found["phase"], found["signing"]["ca_sha256"], found["vms_behind"]) == (phase, signing, [])
        assert vm["communication_link_active"] and vm["link"]["last_refusal"] == refused
        assert said(web, PID) == pid, "the agent has not been restarted"

    assert play("--check") == 1 and guest_trusts(web) == [old]
    assert play("--tags", "prepare") == 2  # made; handed out
    stands("prepared", old)
    [_, new] = guest_trusts(web)
    assert guest_trusts(web) == [old, new]
    assert play("--tags", "activate") == 2
    stands("activated", new)
    assert guest_trusts(web) == [new]
    assert play("--tags", "retire") == 1
    stands("none", new)
    said(web, "systemctl restart ngt_guest_agent.service")
    pid = said(web, PID)
    until(lambda: linked_anew(service, web), "a link by the new CA alone")
    stands("none", new)
    assert play() == 0


def linked_anew(service: ServiceProcess, vm: WarmVm) -> bool:
    """By the guest's own word: the service may not have missed the old agent yet."""
    status = json.loads(said(vm, "ngtcli status --output json"))
    with service.client() as client:
        return bool(status["link"]["active"] and client.vm(vm.vm_uuid)["communication_link_active"])
