# SPDX-License-Identifier: GPL-3.0-or-later
"""A real VM is copied with its agent, and a real disk put back: neither lives under a wrong name, both come back."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from openngt.client import Client
from openngt.effects import run
from openngt_service.lab.service_process import ServiceProcess
from openngt_service.lab.vm import Lab, LabVm

from ..conftest import program
from .conftest import Guests, WarmVm, restore
from .hands import LIMIT_SECONDS, drives, install, isos, said, until

pytestmark = pytest.mark.guest

COPY = "web-copy"
IDENTITY = "/usr/local/openngt/config/identity.pem"


def lab_command(lab: Lab, *words: str) -> WarmVm:
    """`openngt lab …`, which waits for the guest; the copy as it is then."""
    done = run([program("openngt"), "lab", *words, "--directory", str(lab.directory)], timeout=LIMIT_SECONDS)
    assert done.returncode == 0, done
    return WarmVm(**vars(lab.vm(COPY)))


@pytest.fixture(scope="module")
def parent(guests: Guests, service: ServiceProcess) -> Iterator[WarmVm]:
    """`web`, with an agent that runs on its long-lived identity."""
    with service.client() as client:
        install(client, guests.web)
        until(lambda: linked_for_long(client, guests.web), "the long-lived identity")
    yield guests.web
    restore(guests, service)


@pytest.fixture(scope="module")
def copy(parent: WarmVm, guests: Guests, service: ServiceProcess) -> Iterator[WarmVm]:
    """A copy of the running VM, booted beside it."""
    try:
        vm = lab_command(guests.lab, "clone", parent.name, COPY)
        yield vm
        vm.hang_up()
    finally:
        with service.client() as client:
            for one in client.vms([COPY]):
                client.disable(one["vm_uuid"])
        guests.lab.down([vm.name for vm in guests.lab.vms() if vm.name == COPY])


def linked_for_long(client: Client, vm: LabVm, newer_than: int = 0) -> bool:
    record = client.vm(vm.vm_uuid)
    certificate = record["certificate"] or {}
    lasting = (certificate.get("kind"), certificate.get("state")) == ("link", "current")
    return bool(record["communication_link_active"] and lasting and certificate["generation"] > newer_than)


def agents_word(vm: LabVm) -> Any:
    """`ngtcli status`; None while the agent is starting."""
    done = vm.ssh("ngtcli status --output json")
    return json.loads(done.stdout) if done.returncode == 0 else None


def findings(client: Client, check: str, vm: LabVm) -> list[str]:
    """About this VM: an earlier test may have left its own about another."""
    [found] = [one for one in client.health() if one["name"] == check]
    return [item["message"] for item in found["items"] if item["vm_uuid"] == vm.vm_uuid]


def test_a_clone_is_told_apart_waits_to_be_enabled_and_goes_active_by_itself(
    parent: WarmVm, copy: WarmVm, client: Client, service: ServiceProcess
) -> None:
    """T1, F16: nothing runs under the parent's name; one `vm enable` and no login; the parent is undisturbed."""
    before = client.vm(parent.vm_uuid)
    assert said(copy, "cat /sys/class/dmi/id/product_uuid").lower() == copy.vm_uuid != parent.vm_uuid
    macs = [said(vm, "cat /sys/class/net/e*/address") for vm in (parent, copy)]
    assert macs[0] != macs[1]

    until(lambda: bool((agents_word(copy) or {"link": {"last_error": None}})["link"]["last_error"]), "the refusal")
    word = agents_word(copy)
    assert word["link"]["last_error"]["code"] == "IDENTITY_INVALID" and not word["link"]["active"]
    assert word["identity"]["vm_uuid"] == parent.vm_uuid, "it shows whose identity lies there"
    for part in (parent.vm_uuid, copy.vm_uuid, "openngt vm enable"):
        assert part in word["link"]["last_error"]["message"]

    [waiting] = client.hypervisor_vms(clone_pending=True)
    assert (waiting["vm_name"], waiting["enrolled"]) == (COPY, False)
    assert waiting["cloned_from"] == {"vm_uuid": parent.vm_uuid, "vm_name": parent.name}
    [message] = findings(client, "ngt_duplicate_identity_check", copy)
    assert COPY in message and f"clone of VM {parent.name}" in message

    key = said(parent, f"sed -n '/PRIVATE/,/PRIVATE/p' {IDENTITY} | sed -n 2p")
    assert said(copy, f"grep -rlF {key} /usr/local/openngt") == IDENTITY, "the copy has it still"
    client.enable(copy.vm_uuid)
    began = time.monotonic()
    until(lambda: linked_for_long(client, copy), "the clone's own link")
    sys.stderr.write(f"a clone was linked {time.monotonic() - began:.0f} s after it was enabled\n")
    until(lambda: (agents_word(copy) or {"link": {"active": False}})["link"]["active"], "the agent's word")
    assert agents_word(copy)["identity"]["vm_uuid"] == copy.vm_uuid
    assert copy.ssh(f"grep -rlF {key} /usr/local/openngt /run/openngt").stdout == "", "the parent's key is gone"
    until(lambda: client.vm(copy.vm_uuid)["mount"] is None and isos(service.state) == [], "the end of the disc")
    assert all(holds is None for holds in drives(client, copy).values())
    assert client.hypervisor_vms(clone_pending=True) == []
    [task] = [task for task in client.tasks(copy.vm_uuid) if task["kind"] == "clone"]
    assert task["state"] == "succeeded"

    after = client.vm(parent.vm_uuid)
    assert after["communication_link_active"]
    for field in ("since", "session"):
        assert after["link"][field] == before["link"][field], "the parent's link never went down"
    assert after["certificate"]["serial"] == before["certificate"]["serial"]


def test_a_vm_that_is_put_back_behind_its_certificate_recovers_by_itself(
    copy: WarmVm, guests: Guests, client: Client, service: ServiceProcess
) -> None:
    """T2: a snapshot, two refreshes, a revert; nobody helps, and the old identity is never accepted."""
    until(lambda: linked_for_long(client, copy), "the clone's own link")
    lab_command(guests.lab, "snapshot", COPY, "before")
    for _ in range(2):
        task = client.refresh(vm=[copy.vm_uuid], via="link")
        assert client.wait_task(task, LIMIT_SECONDS)["state"] == "succeeded"
    generation = client.vm(copy.vm_uuid)["generation"]
    copy.hang_up()
    reverted = lab_command(guests.lab, "revert", COPY, "before")
    began = time.monotonic()
    until(lambda: linked_for_long(client, reverted, generation), "the recovery")
    seen = time.monotonic() - began
    until(lambda: (agents_word(reverted) or {"link": {"active": False}})["link"]["active"], "the agent's word")
    said_so = time.monotonic() - began
    sys.stderr.write(
        f"after the revert, from its first answer over SSH on: linked {seen:.0f} s, it says so {said_so:.0f} s\n"
    )
    assert agents_word(reverted)["identity"]["generation"] > generation
    [task] = [task for task in client.tasks(copy.vm_uuid) if task["kind"] == "recover"]
    assert task["result"]["reason"] == "retired"
    until(lambda: client.vm(copy.vm_uuid)["mount"] is None and isos(service.state) == [], "the end of the disc")
    until(lambda: findings(client, "ngt_identity_recovery_check", reverted) == [], "a clean check")
    reverted.hang_up()
