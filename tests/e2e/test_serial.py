# SPDX-License-Identifier: GPL-3.0-or-later
"""The link over the second serial port of real VMs: the first choice, and the only one where there is no network."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from openngt.client import Client
from openngt_service.lab.accelerator import choose_accelerator
from openngt_service.lab.console import Console
from openngt_service.lab.image import ensure_image
from openngt_service.lab.service_process import ServiceProcess, clean_environment
from openngt_service.lab.vm import Lab, LabVm

from .conftest import Guests, restore
from .hands import HOLDER, LIMIT_SECONDS, drives, give_back_port, install, said, silence_port, until

pytestmark = pytest.mark.guest

WAIT_FOR_DISC = "for i in $(seq 60); do d=$(blkid -L NUTANIX_TOOLS) && break; sleep 1; done; mount -o ro $d /mnt"


def transport(client: Client, vm: LabVm) -> Any:
    return client.vm(vm.vm_uuid)["transport"]


@pytest.fixture(scope="module")
def installed(guests: Guests, service: ServiceProcess) -> Iterator[LabVm]:
    with service.client() as client:
        install(client, guests.web)
    yield guests.web
    restore(guests, service)


@pytest.fixture
def linked(installed: LabVm, client: Client) -> LabVm:
    """`web`, over its port."""
    until(lambda: transport(client, installed) == "serial", "the link over the port")
    return installed


def test_the_port_is_used_first_and_shown_as_the_original_does(linked: LabVm, client: Client) -> None:
    record = client.vm(linked.vm_uuid)
    assert record["communication_type"] == "kFallbackToIP"
    assert record["communication_link_active"] and record["communication_link_over_serial_port_active"]
    assert record["certificate"]["kind"] == "link", "it was rotated over the port"
    assert (record["serial_port"], record["link"]["peer"]) == ("ready", "serial port 1")
    assert record["vm_info"]["serial_port"] == {"device": "/dev/ttyS1", "state": "present", "held_until": None}
    assert "active over serial to /dev/ttyS1" in said(linked, "ngtcli status")
    assert linked.ssh("systemctl is-enabled serial-getty@ttyS1.service").stdout.strip() == "masked"


def test_with_its_network_down_a_guest_is_linked_and_managed(
    linked: LabVm, guests: Guests, client: Client, service: ServiceProcess
) -> None:
    password = guests.lab.operator_password.read_text(encoding="ascii").strip()
    since = client.vm(linked.vm_uuid)["link"]["since"]
    with Console(linked.console_socket) as console:
        console.log_in("operator", password)
        card = console.run("basename $(ls -d /sys/class/net/e*)")[1]
        assert console.run(f"ip link set {card} down")[0] == 0
        try:
            seen = client.vm(linked.vm_uuid)["link"]["last_seen"]
            until(lambda: client.vm(linked.vm_uuid)["link"]["last_seen"] > seen, "a heartbeat without a network")
            assert client.vm(linked.vm_uuid)["link"]["since"] == since, "the link never went down"
            status, text = console.run("ngtcli status")
            assert status == 0 and "active over serial" in text
        finally:
            assert console.run(f"ip link set {card} up")[0] == 0


def test_a_silent_port_is_left_for_the_network_and_taken_up_again(linked: LabVm, client: Client) -> None:
    silence_port(linked)
    try:
        until(lambda: transport(client, linked) == "tls", "the fall back to the network")
        record = client.vm(linked.vm_uuid)
        assert record["communication_link_active"] and not record["communication_link_over_serial_port_active"]
        assert "active over tls" in said(linked, "ngtcli status")
    finally:
        give_back_port(linked)
    until(lambda: transport(client, linked) == "serial", "the return to the port")
    assert "answers again" in said(linked, "journalctl -u ngt_guest_agent.service --no-pager -n 50")


@pytest.fixture
def alone(guests: Guests, service: ServiceProcess, request: pytest.FixtureRequest) -> Iterator[LabVm]:
    """A VM without any network card, with the port of the parameter's kind alone."""
    image = ensure_image(print)
    lab = Lab(guests.lab.directory, print)
    ports = {"serial": request.param == "serial port 1", "virtio_port": request.param == "virtio port"}
    vm = lab.start("alone", image, choose_accelerator(image, print), network=False, **ports)
    try:
        lab.wait(vm)
        yield vm
    finally:
        lab.down(["alone"])
        restore(guests, service)


# The kernel makes a node for each port that a PC may have.
OPEN_MISSING_PORT = """cd /; PYTHONPATH=/usr/local/openngt/agent/current/ngt_agent.pyz python3 -c "
from openngt_agent.errors import AgentError
from openngt_agent.serial_port import SerialPort
try: SerialPort('/dev/ttyS1')
except AgentError as exc: print(exc.code)\""""


# What is installed, told and asked over serial port 1 is so in the tests above, which have a network beside it.
@pytest.mark.parametrize(
    "alone", [pytest.param("serial port 1", marks=pytest.mark.nightly), "virtio port"], indirect=True
)
def test_a_vm_without_a_network_is_installed_from_its_disc_and_managed_over_its_port_alone(
    alone: LabVm, guests: Guests, client: Client, service: ServiceProcess
) -> None:
    client.enable(alone.vm_uuid)
    pinned = client.wait_task(client.mount(alone.vm_uuid, HOLDER, 1800), LIMIT_SECONDS)["result"]["ca_sha256"]
    with Console(alone.console_socket) as console:
        console.log_in("operator", guests.lab.operator_password.read_text(encoding="ascii").strip())
        assert console.run("ls /sys/class/net") == (0, "lo")
        command = f"python3 /mnt/installer/linux/install_ngt.py --ca-sha256 {pinned} --wait 180"
        status, text = console.run(f"{WAIT_FOR_DISC} && {command}")
        assert status == 0, text
        client.wait_task(client.eject(alone.vm_uuid, HOLDER), LIMIT_SECONDS)
        record = client.vm(alone.vm_uuid)
        assert record["transport"] == "serial" and record["certificate"]["kind"] == "link", record
        if record["link"]["peer"] == "virtio port":
            assert record["vm_info"]["serial_port"]["device"] == "/dev/virtio-ports/org.openngt.guest_tools.0"
            assert console.run(OPEN_MISSING_PORT) == (0, "SERIAL_PORT_ABSENT")
        assert drives(client, alone) == {"cd0": None, "cd1": None}
        # What the service asks for reaches it, and what it tells is heard.
        client.enable(alone.vm_uuid, {"vss_snapshot": False})
        status, text = console.run("journalctl -u ngt_guest_agent.service --no-pager | grep openngt.host")
        assert status == 0 and "identity.rotate: done" in text
    command = [str(service.program), "--state-dir", str(service.state), "vm", "list", "alone"]
    table = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment()).stdout
    assert "serial" in table
    assert client.disable(alone.vm_uuid)["revoked"]
