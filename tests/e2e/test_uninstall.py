# SPDX-License-Identifier: GPL-3.0-or-later
"""The uninstall playbook: nothing stays in the guest, nothing can be done with what somebody kept."""

import contextlib
import re
import socket
import ssl
import urllib.request
from pathlib import Path

import pytest

from openngt.client import Client
from openngt.errors import OpenNGTError
from openngt_service.lab.service_process import ServiceProcess
from openngt_service.lab.vm import LabVm

from .conftest import Guests
from .hands import install, monitor, said
from .plays import Ansible

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("restored")]

# Logs, and the places where Ansible and any program of the guest work; what systemd shows is asked of systemd.
WORKPLACES = ("/proc", "/sys", "/dev", "/tmp", "/var/tmp", "/var/log")
NOT_OURS = (*WORKPLACES, "/run/systemd", "/run/udev", "/run/user", "/run/blkid")


def files_of(vm: LabVm) -> set[str]:
    pruned = " -o ".join(f"-path {place}" for place in (*NOT_OURS, "/home/admin/.ansible", "/run/sudo"))
    return set(said(vm, rf"find / \( {pruned} \) -prune -o -print").splitlines())


def refused_as_revoked(service: ServiceProcess) -> float:
    context = ssl.create_default_context(cafile=service.environment()["OPENNGT_CA_FILE"])
    url = service.environment()["OPENNGT_ENDPOINT"] + "/metrics"
    with urllib.request.urlopen(url, context=context) as answer:
        found = re.search(r'^openngt_gateway_refused_total\{reason="revoked"\} (\S+)$', answer.read().decode(), re.M)
    assert found is not None, "the reason must be counted from 0 on"
    return float(found[1])


def greeting(service: ServiceProcess, client: Client, identity: Path) -> bytes:
    """What the gateway says to the holder of an identity; nothing when it turns him away."""
    context = ssl.create_default_context(cafile=service.environment()["OPENNGT_CA_FILE"])
    context.load_cert_chain(identity)
    name = client.ca()["service_name"]
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", service.gateway_port), timeout=20) as connection,
        context.wrap_socket(connection, server_hostname=name) as tls,
    ):
        return tls.recv(4)
    return b""


def test_no_file_stays_in_the_guest_and_a_kept_identity_opens_nothing(
    guests: Guests, service: ServiceProcess, client: Client, ansible: Ansible, tmp_path: Path
) -> None:
    said(guests.web, "sudo true", user="admin")  # a login's first sudo leaves a mark of its own at home
    before = files_of(guests.web)
    install(client, guests.web)
    identity = tmp_path / "identity.pem"
    identity.touch(mode=0o600)
    identity.write_text(said(guests.web, "cat /usr/local/openngt/config/identity.pem") + "\n", encoding="ascii")
    assert greeting(service, client, identity) != b"", "the copy is good, as long as the VM is enrolled"

    play = ansible.play("uninstall", "--limit", "web").succeeded()

    assert play.recap["web"]["changed"] == 2, play.output
    assert files_of(guests.web) - before == set()
    assert guests.web.ssh("systemctl list-units --all --no-legend 'ngt*'").stdout == ""
    counted = refused_as_revoked(service)
    assert greeting(service, client, identity) == b""
    assert refused_as_revoked(service) == counted + 1
    with pytest.raises(OpenNGTError) as caught:
        client.vm(guests.web.vm_uuid)
    assert caught.value.code == "NOT_ENROLLED"


def test_force_ends_the_enrolment_of_a_guest_that_does_not_answer(
    guests: Guests, client: Client, ansible: Ansible
) -> None:
    client.enable(guests.db.vm_uuid)
    monitor(guests.db, "stop")
    force = ["-e", "openngt_force=true openngt_force_timeout=5"]
    try:
        # Ansible's own patience with a connection: it takes a minute where the guest shall answer.
        ansible.play("uninstall", "--limit", "db", *force, environment={"ANSIBLE_TIMEOUT": "10"}).succeeded()
        assert client.vms() == []
    finally:
        monitor(guests.db, "cont")
