# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA and an ISO made on the controller, inserted by the hypervisor's own means, adopted by a service later."""

import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from openngt_service.lab.service_process import HOST_SEEN_FROM_GUESTS, ServiceProcess, clean_environment

from ..conftest import RunTasks, program
from .conftest import Guests
from .hands import insert, monitor, said, until
from .plays import Ansible

pytestmark = [pytest.mark.guest, pytest.mark.usefixtures("restored")]


def make(run_tasks: RunTasks, folder: Path, **iso: Any) -> dict[str, Any]:
    """A CA in `folder/ca` and an ISO at `folder/tools.iso`, by the modules; what `iso` returned."""
    ca = {"openngt.guest_tools.ca": {"path": str(folder / "ca")}}
    arguments = {"path": str(folder / "tools.iso"), "ca_path": str(folder / "ca"), "bootstrap_hours": 0, **iso}
    made = run_tasks([ca, {"openngt.guest_tools.iso": arguments}])
    assert not any(result["failed"] for result in made), made
    found: dict[str, Any] = made[1]["iso"]
    return found


def test_an_agent_installed_without_a_service_waits_for_one_and_is_adopted(
    guests: Guests, ansible: Ansible, run_tasks: RunTasks, tmp_path: Path
) -> None:
    vm, cluster = guests.web, str(uuid.uuid4())
    # The place where a service will be one day: its port is chosen now, nobody listens on it yet.
    later = ServiceProcess(tmp_path / "later", Path(program("openngt")), tmp_path / "later.log")
    later.directory.mkdir()
    later.configure(guests.lab.directory, cluster_uuid=cluster)
    iso = make(
        run_tasks,
        later.state,
        vm_uuid=vm.vm_uuid,
        vm_name=vm.name,
        cluster_uuid=cluster,
        cluster_ip=HOST_SEEN_FROM_GUESTS,
        port=later.gateway_port,
    )
    insert(vm, "cd0", later.state / "tools.iso")
    try:
        install = {"openngt.guest_tools.agent": {"ca_sha256": iso["ca_sha256"], "wait_seconds": 5}, "become": True}
        play = ansible.play([{"hosts": "web", "gather_facts": False, "tasks": [install]}])
    finally:
        said(vm, "! mountpoint -q /mnt/nutanix/ngt || umount /mnt/nutanix/ngt")
        monitor(vm, "eject", id="cd0", force=True)
    [failure] = play.failures("web")
    assert failure["code"] == "LINK_NOT_ACTIVE", play.output
    assert failure["details"]["guest"]["link"]["last_error"], "it says what the agent saw"
    assert said(vm, "systemctl is-active ngt_guest_agent.service") == "active"

    try:
        later.start()
        command = [program("openngt"), "--state-dir", str(later.state), "ca", "adopt", str(later.state / "ca")]
        subprocess.run(command, check=True, env=clean_environment())
        with later.client() as client:
            until(lambda: bool(client.vm(vm.vm_uuid)["communication_link_active"]), "the adopted agent's link")
            assert client.vm(vm.vm_uuid)["generation"] >= iso["generation"]
    finally:
        assert later.stop() == 0
