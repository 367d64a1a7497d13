# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of old on a real guest: delete, create, mount, restart."""

import pytest

from openngt.client import Client
from openngt_service.lab.service_process import ServiceProcess

from .conftest import Guests
from .hands import drives, install, isos, said
from .plays import Ansible

pytestmark = pytest.mark.guest

PID = "systemctl show -p MainPID --value ngt_guest_agent.service"


@pytest.mark.usefixtures("restored")
def test_the_restarted_agent_has_the_new_certificate_and_nothing_is_left(
    guests: Guests, service: ServiceProcess, client: Client, ansible: Ansible
) -> None:
    vm = guests.web
    install(client, vm)
    client.enable(vm.vm_uuid, {"vss_snapshot": False})
    before, pid = client.vm(vm.vm_uuid), said(vm, PID)
    ansible.play("refresh_legacy", "--limit", "web").succeeded()
    after = client.vm(vm.vm_uuid)
    assert after["communication_link_active"] and after["certificate"]["kind"] == "link"
    assert after["certificate"]["serial"] != before["certificate"]["serial"] and said(vm, PID) != pid
    assert (after["vss_snapshot"], after["self_service_restore"]) == (False, True)
    assert isos(service.state) == [] and all(holds is None for holds in drives(client, vm).values())
