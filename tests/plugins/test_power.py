# SPDX-License-Identifier: GPL-3.0-or-later
"""Module and playbook `power`, run by ansible-core against the real service; guests answer over the real link."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.obedient_guest import ObedientGuest

from ..conftest import program
from .conftest import Fleet

RunTasks = Callable[..., list[dict[str, Any]]]
POWER = "openngt.guest_tools.power"


def test_twelve_steps(fleet: Fleet, run_tasks: RunTasks) -> None:
    """On, again, over, again, off, again; each first in check mode."""
    vm_uuid = fleet.add_vm("web01", power_state="off")
    steps = [{"vm": "web01", "verb": verb} for verb in ("on", "on", "reset", "reset", "off", "off")]
    results = run_tasks(
        [{POWER: step, "check_mode": check} for step in steps for check in (True, False)],
        diff=True,
        environment=fleet.environment,
    )
    on, again, reset, over, off, gone = zip(results[::2], results[1::2], strict=True)
    for predicted, real in (on, reset, over, off):
        assert predicted["changed"] and real["changed"], (predicted, real)
    for predicted, real in (again, gone):
        assert not predicted["changed"] and not real["changed"], (predicted, real)
    for predicted, real in (on, again, reset, over, off, gone):
        assert predicted["diff"] == real["diff"], "check mode and run show the same plan"
    assert on[1]["diff"] == {
        "before": {"web01": {"power_state": "off"}},
        "after": {"web01": {"power_state": "on"}},
    }
    assert reset[1]["diff"]["after"] == {"web01": {"power_state": "on", "restarted": True}}
    assert on[1]["vms"][0]["vm_uuid"] == vm_uuid
    assert (on[0]["vms"][0]["state"], on[1]["vms"][0]["state"]) == ("due", "switched")
    assert fleet.changes() == ["vm.power"] * 4, "one for each real change, none in check mode"


def test_the_verbs_that_yaml_takes_for_booleans_are_understood(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01", power_state="off")
    [on, off] = run_tasks(
        [{POWER: {"vm": "web01", "verb": value}} for value in (True, False)], environment=fleet.environment
    )
    assert [on["vms"][0]["power_state"], off["vms"][0]["power_state"]] == ["on", "off"]


def test_of_many_vms_each_outcome_is_told(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01")
    stubborn = fleet.add_vm("web02")
    fleet.service.hypervisor.guest(stubborn, ignores_acpi=True)
    task = {"vm": ["web01", "web02", "nobody"], "verb": "shutdown", "wait_seconds": 1}
    [mixed, forced] = run_tasks(
        [{POWER: task}, {POWER: {"vm": "web02", "verb": "shutdown", "fallback": "off", "wait_seconds": 1}}],
        environment=fleet.environment,
    )
    assert mixed["failed"] and mixed["changed"]
    assert [(vm["vm"], vm["state"], vm["code"]) for vm in mixed["vms"]] == [
        ("web01", "switched", None),
        ("web02", "failed", "ACPI_IGNORED"),
        ("nobody", "failed", "VM_NOT_FOUND"),
    ]
    failed = {vm: error["code"] for vm, error in mixed["details"]["failed"].items()}
    assert failed == {"web02": "ACPI_IGNORED", "nobody": "VM_NOT_FOUND"}
    assert "guest_shutdown" in mixed["details"]["failed"]["web02"]["remedy"]
    assert (forced["vms"][0]["stopped_by"], forced["vms"][0]["failed_before"][0]["code"]) == ("off", "ACPI_IGNORED")


def test_a_mounted_tools_iso_is_respected(fleet: Fleet, run_tasks: RunTasks) -> None:
    """F25."""
    vm_uuid = fleet.add_vm("web01", enrolled=True)
    fleet.mount(vm_uuid, "alice@elsewhere pid 1")
    [refused, forced] = run_tasks(
        [{POWER: {"vm": "web01", "verb": "off", "force": force}} for force in (False, True)],
        environment=fleet.environment,
    )
    assert (refused["code"], refused["details"]["holder"]) == ("VM_BUSY", "alice@elsewhere pid 1")
    assert forced["changed"]


def test_a_guest_is_rebooted_and_shut_down_by_its_agent(fleet: Fleet, run_tasks: RunTasks, tmp_path: Path) -> None:
    vm_uuid = fleet.add_vm("web01", enrolled=True)
    ObedientGuest(fleet.service, vm_uuid, tmp_path)
    [reboot, shutdown] = run_tasks(
        [{POWER: {"vm": "web01", "verb": verb, "wait_seconds": 30}} for verb in ("guest_reboot", "guest_shutdown")],
        environment=fleet.environment,
    )
    assert reboot["vms"][0]["boot_id"] == "boot-2"
    assert (shutdown["vms"][0]["stopped_by"], shutdown["vms"][0]["power_state"]) == ("agent", "off")


def test_the_guests_administrator_refuses_visibly(fleet: Fleet, run_tasks: RunTasks, tmp_path: Path) -> None:
    """T39."""
    vm_uuid = fleet.add_vm("web01", enrolled=True)
    ObedientGuest(fleet.service, vm_uuid, tmp_path).blocked = True
    task = {"vm": "web01", "verb": "guest_shutdown", "fallback": "off"}
    [refused] = run_tasks([{POWER: task}], environment=fleet.environment)
    assert refused["code"] == "METHOD_BLOCKED" and "blocked_methods" in refused["remedy"]
    assert not refused["changed"]
    [seen] = fleet.client.hypervisor_vms(vm_uuid)
    assert seen["power_state"] == "on"


def calls(fleet: Fleet) -> int:
    return sum(task["kind"] == "fleet_power" for task in fleet.client.tasks())


@pytest.mark.parametrize("asked", [None, "off"])
def test_the_playbook_does_what_it_is_asked_for_and_nothing_by_itself(
    fleet: Fleet, collection: Path, tmp_path: Path, asked: str | None
) -> None:
    names = [f"web{number:02d}" for number in range(4)]
    for name in names:
        fleet.add_vm(name)
    (tmp_path / "inventory").write_text("\n".join(names))
    before = calls(fleet)
    wanted = [] if asked is None else ["-e", f"openngt_power={asked}", "-e", "openngt_serial=2"]
    done = subprocess.run(
        [program("ansible-playbook"), "openngt.guest_tools.power", "-i", str(tmp_path / "inventory"), *wanted],
        env={
            **fleet.environment,
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(collection),
            "ANSIBLE_HOME": str(tmp_path / "ansible"),
            "ANSIBLE_NOCOLOR": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    states = {vm["power_state"] for vm in fleet.client.hypervisor_vms()}
    assert states == ({"on"} if asked is None else {"off"})
    assert done.stdout.count("PLAY [") == (1 if asked is None else 2)
    assert ("Nothing is done" in done.stdout) == (asked is None)
    assert calls(fleet) - before == (0 if asked is None else 2), "one call for all VMs of a batch"
    assert ("web00: Switching VM  100 %  done" in done.stdout) == (asked is not None)


def test_each_host_of_the_playbook_has_its_own_verdict(fleet: Fleet, collection: Path, tmp_path: Path) -> None:
    fleet.add_vm("web01")
    other = fleet.add_vm("web02", power_state="off").upper()
    (tmp_path / "inventory").write_text(f"a openngt_vm=web01\nb openngt_vm={other}\nnobody\n")
    command = [program("ansible-playbook"), "openngt.guest_tools.power", "-i", str(tmp_path / "inventory")]
    environment = {
        **fleet.environment,
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(collection),
        "ANSIBLE_NOCOLOR": "true",
    }
    done = subprocess.run(
        [*command, "-e", "openngt_power=off"], env=environment, capture_output=True, text=True, check=False
    )
    recap = {
        words[0]: words for line in done.stdout.splitlines() if (words := line.split()) and "unreachable=0" in line
    }
    assert done.returncode == 2, done.stdout + done.stderr
    assert {host: "failed=1" in words for host, words in recap.items()} == {"a": False, "b": False, "nobody": True}
    assert "changed=0" in recap["b"] and "[VM_NOT_FOUND] remedy: " in done.stdout
    assert {vm["power_state"] for vm in fleet.client.hypervisor_vms()} == {"off"}


def test_a_play_may_leave_it_to_the_service_and_look_later(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01", power_state="off")
    [begun] = run_tasks([{POWER: {"vm": "web01", "verb": "on", "wait": False}}], environment=fleet.environment)
    assert begun["task_id"] and not begun.get("failed")
    [ended] = run_tasks([{POWER: {"task_id": begun["task_id"]}}], environment=fleet.environment)
    assert ended["finished"] and ended["changed"] and ended["vms"][0]["power_state"] == "on"
