# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrades on a real guest: over its serial port, by the ISO, and taken back when the new agent is no good."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from openngt.client import Client
from openngt.version import __version__
from openngt_service.lab.service_process import ServiceProcess

from ..fakes.agent_releases import CRASHES, DROPS, HANGS, release
from .conftest import Guests, WarmVm, restore
from .hands import drives, install, isos, said, shelved, until
from .plays import Ansible

pytestmark = pytest.mark.guest

NEXT = "0.1.1"
BAD = {"0.1.2": (CRASHES, "was started again"), "0.1.3": (HANGS, "become ready"), "0.1.4": (DROPS, "no link has held")}
# The agent's suite takes back each of them as well, in seconds; the one left has the hardest way here.
NIGHTLY = ("0.1.2", "0.1.4")
BOOT = "cat /proc/sys/kernel/random/boot_id"


def status(vm: WarmVm) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said(vm, "ngtcli status --output json"))
    return found


def upgraded(client: Client, vm: WarmVm, **ask: Any) -> dict[str, Any]:
    """The VM's row after an upgrade that has ended, however."""
    task = client.upgrade(vm=[vm.vm_uuid], **ask)
    until(lambda: client.task(task["task_id"], wait=20)["state"] in ("succeeded", "failed"), "the upgrade's end")
    [row] = client.upgrade_rows(task["task_id"])
    return row


@pytest.fixture(scope="module")
def web(guests: Guests, service: ServiceProcess) -> Iterator[WarmVm]:
    """With an agent of the service's version, linked; and other agents on the service's shelf."""
    bad = {version: release(version, main) for version, (main, _) in BAD.items()}
    with shelved(service.state, {NEXT: release(NEXT), **bad}):
        with service.client() as client:
            install(client, guests.web)
            until(lambda: client.vm(guests.web.vm_uuid)["certificate"]["kind"] == "link", "the long-lived identity")
        yield guests.web
        restore(guests, service)


def test_over_the_serial_port_without_a_login_or_a_reboot(web: WarmVm, client: Client, ansible: Ansible) -> None:
    boot, before = said(web, BOOT), client.vm(web.vm_uuid)
    assert before["transport"] == "serial" and before["agent_support"]["state"] == "supported"
    chosen = ["--limit", "web", "-e", f"openngt_version={NEXT}", "--diff"]
    planned = ansible.play("upgrade", *chosen, "--check").succeeded()
    assert f"due: runs {__version__}; agent {NEXT}" in planned.output
    assert client.vm(web.vm_uuid)["agent_version"] == __version__
    done = ansible.play("upgrade", *chosen).succeeded()
    assert done.recap["web"]["changed"] > 0 and f"upgraded: runs {__version__}; agent {NEXT}" in done.output
    record, guest = client.vm(web.vm_uuid), status(web)
    assert (record["agent_version"], record["transport"]) == (NEXT, "serial")
    assert (guest["agent_version"], guest["upgrade"]["state"]) == (NEXT, "kept")
    assert said(web, BOOT) == boot
    assert said(web, "readlink /usr/local/openngt/agent/current /usr/local/openngt/agent/proven") == f"{NEXT}\n{NEXT}"
    again = ansible.play("upgrade", *chosen).succeeded()
    assert again.recap["web"]["changed"] == 0, again.output


@pytest.mark.parametrize(
    "version", [pytest.param(version, marks=[pytest.mark.nightly] * (version in NIGHTLY)) for version in BAD]
)
def test_an_agent_that_is_no_good_is_taken_back(web: WarmVm, client: Client, version: str) -> None:
    serves = client.vm(web.vm_uuid)["agent_version"]
    task = client.upgrade(vm=[web.vm_uuid], version=version, rollback_seconds=20)
    if version == "0.1.3":  # a hard time for the one who watches, too
        until(lambda: web.ssh("test -e /usr/local/openngt/agent/.trial").returncode == 0, "the trial")
        said(web, "systemctl kill -s KILL ngt_agent_upgrade.service")
    until(lambda: client.task(task["task_id"], wait=20)["state"] == "failed", "the upgrade's failure")
    [row] = client.upgrade_rows(task["task_id"])
    assert (row["state"], row["code"]) == ("failed", "UPGRADE_ROLLED_BACK"), row
    assert f"agent {version} did not hold its link within 20 s" in row["message"] and BAD[version][1] in row["message"]
    until(lambda: client.vm(web.vm_uuid)["communication_link_active"], "the old agent's link")
    assert client.vm(web.vm_uuid)["agent_version"] == status(web)["agent_version"] == serves
    assert web.ssh(f"test -e /usr/local/openngt/agent/{version}").returncode == 1


def test_back_by_the_iso_and_only_when_asked(web: WarmVm, service: ServiceProcess, client: Client) -> None:
    serves = client.vm(web.vm_uuid)["agent_version"]
    refused = upgraded(client, web, version="0.1.0")
    assert refused["code"] == ("DOWNGRADE_REFUSED" if serves == NEXT else None)
    row = upgraded(client, web, allow_downgrade=True, via="iso")
    assert (row["state"], row["via"], row["new_version"]) == ("upgraded", "iso", __version__), row
    record = client.vm(web.vm_uuid)
    assert record["agent_version"] == __version__
    assert (record["certificate"]["kind"], record["certificate"]["state"]) == ("link", "current")
    assert isos(service.state) == [] and all(holds is None for holds in drives(client, web).values())
    assert said(web, "ls /usr/local/openngt/config").split() == [
        "identity.pem",
        "ngt_config.json",
        "upgrade.json",
    ]
