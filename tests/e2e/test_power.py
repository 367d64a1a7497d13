# SPDX-License-Identifier: GPL-3.0-or-later
"""Every power verb on a real guest: what the hypervisor shows, what the guest logs, and who may refuse."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from openngt.client import Client
from openngt.errors import OpenNGTError
from openngt.powering import begin, failure_of, wait
from openngt_service.lab.service_process import ServiceProcess

from .conftest import Guests, restore
from .hands import LIMIT_SECONDS, install, said, until
from .plays import Ansible

pytestmark = pytest.mark.guest

# Nobody obeys ACPI then. The bus must not start it again.
NO_LOGIND = "systemctl mask --runtime --now systemd-logind.service dbus-org.freedesktop.login1.service"
JOURNAL = "journalctl -u ngt_guest_agent.service | grep openngt.host"
BLOCKED = "/usr/local/openngt/config/blocked_methods"


@pytest.fixture(scope="module")
def agent(guests: Guests, service: ServiceProcess) -> Iterator[None]:
    """`web` has an agent for all tests of this file."""
    with service.client() as client:
        install(client, guests.web)
    yield
    restore(guests, service)


@pytest.fixture(autouse=True)
def running(agent: None, guests: Guests, client: Client) -> Iterator[None]:
    """Whatever a test did to `web`, it runs again at the end."""
    until_linked(client, guests)
    yield
    guests.web.hang_up()
    done(client, guests, "on")
    guests.lab.wait(guests.web)


def done(client: Client, guests: Guests, verb: str, **options: Any) -> dict[str, Any]:
    """The verb's result; its failure is raised."""
    ask = {"vm": [guests.web.vm_uuid], "verb": verb, "wait_seconds": LIMIT_SECONDS, **options}
    outcome = wait(client, begin(client, ask))
    failure = failure_of(outcome)
    if failure is not None:
        raise failure
    guests.web.hang_up()  # SSH connections that are kept open do not outlive the guest
    return outcome.rows[0]


def refused(client: Client, guests: Guests, verb: str, **options: Any) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        done(client, guests, verb, **options)
    return caught.value


def boot_id(guests: Guests) -> str:
    guests.lab.wait(guests.web)
    return said(guests.web, "cat /proc/sys/kernel/random/boot_id")


def until_linked(client: Client, guests: Guests) -> None:
    until(lambda: client.vm(guests.web.vm_uuid)["communication_link_active"], "the link")


def test_the_agent_reboots_its_guest_and_the_administrator_may_forbid_it(
    guests: Guests, client: Client, ansible: Ansible
) -> None:
    """T39: every operation of the host is in the guest's journal, refused ones included."""
    first = boot_id(guests)
    said(guests.web, f"echo guest.reboot > {BLOCKED}")
    play = ansible.play("power", "-e", "openngt_power=guest_reboot", "--limit", "web")
    assert play.status != 0
    assert "[METHOD_BLOCKED]" in play.output and play.recap["web"]["failed"] == 1, play.output
    assert "guest.reboot: blocked by the guest's administrator" in said(guests.web, JOURNAL)
    assert boot_id(guests) == first

    said(guests.web, f"rm {BLOCKED}")
    result = done(client, guests, "guest_reboot")
    assert result["boot_id"] == boot_id(guests) != first
    last_boot = said(guests.web, JOURNAL.replace("-u", "-b -1 -u"))
    assert "guest.reboot: asked" in last_boot and "guest.reboot: systemctl reboot" in last_boot


def test_capabilities_that_are_changed_reach_the_agent_that_is_connected(guests: Guests, client: Client) -> None:
    changed = client.enable(guests.web.vm_uuid, {"vss_snapshot": False})
    expected = {"vss_snapshot": False, "self_service_restore": True}
    assert changed["agent_capabilities"] == expected
    told = json.loads(said(guests.web, "ngtcli status --output json").splitlines()[-1])
    assert told["capabilities"] == expected


def test_a_guest_that_ignores_acpi_is_named_and_its_agent_shuts_it_down(guests: Guests, client: Client) -> None:
    said(guests.web, NO_LOGIND)
    ignored = refused(client, guests, "shutdown", wait_seconds=10)
    assert ignored.code == "ACPI_IGNORED" and ignored.message.endswith("its agent is connected")
    assert not done(client, guests, "on")["changed"], "it has not even stumbled"
    result = done(client, guests, "guest_shutdown")
    assert (result["stopped_by"], result["power_state"]) == ("agent", "off")
    assert guests.web.pid is None, "the process has ended"
    assert refused(client, guests, "reset").code == "VM_POWERED_OFF"
    assert not done(client, guests, "guest_shutdown")["changed"]


def test_the_buttons_of_the_hypervisor(guests: Guests, client: Client) -> None:
    """Those that need no guest come while none has booted: under emulation each boot takes half a minute."""
    result = done(client, guests, "shutdown")
    assert (result["stopped_by"], guests.web.pid) == ("acpi", None)
    assert done(client, guests, "on")["power_state"] == "on"
    assert done(client, guests, "off")["power_state"] == "off"
    assert guests.web.pid is None
    assert done(client, guests, "on")["power_state"] == "on"
    process = guests.web.pid
    assert done(client, guests, "power_cycle")["changed"]
    assert guests.web.pid not in (None, process), "another process"
    boot, process = boot_id(guests), guests.web.pid
    assert done(client, guests, "reset")["changed"]
    assert boot_id(guests) != boot and guests.web.pid == process
