# SPDX-License-Identifier: GPL-3.0-or-later
"""`--check --diff` on VMs that nobody has enrolled: everything is foretold, nothing is done."""

import re

import pytest

from openngt.client import Client
from openngt_service.lab.service_process import ServiceProcess

from .conftest import Guests
from .hands import drives, isos, said
from .plays import Ansible

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("restored")]

FOOTPRINT = "ls -d /usr/local/openngt /run/openngt /usr/local/bin/ngtcli /etc/systemd/system/ngt* /mnt/nutanix || :"
HIDE_PYTHON = 'for file in /usr/bin/python3*; do mv "$file" "$file.hidden-by-test"; done'


def test_check_mode_foretells_every_step_and_touches_nothing_also_on_a_guest_without_python(
    guests: Guests, service: ServiceProcess, client: Client, ansible: Ansible
) -> None:
    said(guests.web, HIDE_PYTHON)  # `restored` puts it back
    held = [drives(client, vm) for vm in guests.both]

    play = ansible.play("install", "--check", "--diff").succeeded()

    assert "this guest has no Python, so the rest cannot be foretold" in play.output
    for host in ("web", "db"):
        assert play.recap[host]["changed"] > 0, play.output
    for fact in ("ngt_enabled", "tools_iso_mounted", "installed"):
        assert re.search(rf'^\+ *"?{fact}"?: true', play.output, re.M), play.output
    assert client.vms() == []
    assert [drives(client, vm) for vm in guests.both] == held
    assert isos(service.state) == []
    for vm in guests.both:
        assert said(vm, FOOTPRINT) == ""
