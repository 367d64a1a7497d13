# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificate refresh on a real guest: by a disc that is hot-mounted, and over the link with the agent's own key."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from openngt.client import Client
from openngt_service.lab.service_process import ServiceProcess

from ..fakes.agent_client import AgentClient, client_context
from .conftest import Guests, WarmVm, restore
from .hands import drives, install, isos, said, until
from .plays import Ansible

pytestmark = pytest.mark.guest

PID = "systemctl show -p MainPID --value ngt_guest_agent.service"
IDENTITY = "cat /usr/local/openngt/config/identity.pem"


def refused(service: ServiceProcess, client: Client, identity: str, folder: Path) -> bool:
    """Whether the gateway turns this identity away."""
    pem = folder / "old.pem"
    pem.touch(0o600)
    pem.write_text(identity)
    ca_file = folder / "ca.pem"
    ca_file.write_text(client.ca()["ca_pem"])

    async def attempt() -> bool:
        try:
            agent = await AgentClient.connect(
                service.gateway_port, client_context(ca_file, pem), client.ca()["service_name"]
            )
            return await agent.read() is None
        except (ssl.SSLError, ConnectionError):
            return True

    return asyncio.run(attempt())


def guest_serial(vm: WarmVm) -> str:
    return str(json.loads(said(vm, "ngtcli status --output json"))["identity"]["serial"])


@pytest.fixture(scope="module")
def web(guests: Guests, service: ServiceProcess) -> Iterator[WarmVm]:
    """With an agent that runs on its long-lived identity; the tests of this module refresh it."""
    with service.client() as client:
        install(client, guests.web)
        until(lambda: client.vm(guests.web.vm_uuid)["certificate"]["kind"] == "link", "the long-lived identity")
    yield guests.web
    restore(guests, service)


@pytest.mark.parametrize("via", ["iso", "link"])
def test_the_running_agent_takes_the_new_certificate(
    web: WarmVm, service: ServiceProcess, client: Client, ansible: Ansible, tmp_path: Path, via: str
) -> None:
    old_serial, old_identity, pid = guest_serial(web), said(web, IDENTITY), said(web, PID)
    chosen = ["--limit", "web", "-e", f"openngt_via={via}", "-e", "openngt_validity_days=400"]
    done = ansible.play("refresh", *chosen, "--diff").succeeded()
    assert "web: Refreshing NGT certificates" in done.output
    assert ("web: Mounting Nutanix Guest Tools iso image to VM" in done.output) == (via == "iso")
    record = client.vm(web.vm_uuid)
    assert old_serial != record["certificate"]["serial"] == guest_serial(web)
    assert (record["certificate"]["kind"], record["certificate"]["state"]) == ("link", "current")
    assert 398 <= record["certificate"]["days_left"] <= 400 and record["communication_link_active"]
    assert said(web, PID) == pid, "the agent has not been restarted"
    assert isos(service.state) == [] and record["mount"] is None
    assert all(holds is None for holds in drives(client, web).values())
    assert web.ssh("findmnt -rno TARGET -t iso9660; blkid -L NUTANIX_TOOLS").stdout == ""
    assert said(web, IDENTITY) != old_identity
    assert refused(service, client, old_identity, tmp_path), "the old certificate opens nothing"


def test_check_mode_and_a_second_run_change_nothing(web: WarmVm, client: Client, ansible: Ansible) -> None:
    before = guest_serial(web)
    planned = ansible.play("refresh", "--limit", "web", "--check", "--diff").succeeded()
    assert "due: was named; expires in" in planned.output and "certificate_ends" in planned.output
    again = ansible.play("refresh", "--limit", "web", "-e", "openngt_threshold_days=45").succeeded()
    assert again.recap["web"]["changed"] == 0, again.output
    assert guest_serial(web) == before == client.vm(web.vm_uuid)["certificate"]["serial"]
