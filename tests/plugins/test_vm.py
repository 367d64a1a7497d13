# SPDX-License-Identifier: GPL-3.0-or-later
"""Module `vm`, run by ansible-core against the real service."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.obedient_guest import ObedientGuest

from .conftest import Fleet

RunTasks = Callable[..., list[dict[str, Any]]]
VM = "openngt.guest_tools.vm"


def test_twelve_steps(fleet: Fleet, run_tasks: RunTasks) -> None:
    """Create, again, modify, again, delete, again; each first in check mode."""
    vm_uuid = fleet.add_vm("web01")
    changed = {"vm": "web01", "capabilities": {"self_service_restore": False}}
    steps = [{"vm": "web01"}, {"vm": "web01"}, changed, changed, *[{"vm": "web01", "state": "absent"}] * 2]
    results = run_tasks(
        [{VM: step, "check_mode": check} for step in steps for check in (True, False)],
        diff=True,
        environment=fleet.environment,
    )
    create, again, modify, same, delete, gone = zip(results[::2], results[1::2], strict=True)

    for predicted, real in (create, modify, delete):
        assert predicted["changed"] and real["changed"], (predicted, real)
        assert predicted["diff"] == real["diff"], "check mode and run show the same plan"
    for predicted, real in (again, same, gone):
        assert not predicted["changed"] and not real["changed"], (predicted, real)

    assert create[0]["vm"]["vm_uuid"] == create[1]["vm"]["vm_uuid"] == vm_uuid
    assert set(create[0]["vm"]) <= set(create[1]["vm"]), "what is foretold has the record's names"
    for name in ("ngt_enabled", "vss_snapshot", "self_service_restore", "tools_iso_mounted", "power_state"):
        assert create[0]["vm"][name] == create[1]["vm"][name], name
    assert modify[1]["vm"]["vss_snapshot"] is True, "what is not named stays"
    assert modify[1]["diff"]["after"] == {"ngt_enabled": True, "vss_snapshot": True, "self_service_restore": False}
    assert fleet.changes() == ["vm.enable", "vm.enable", "vm.disable"], "nothing else was done"
    assert fleet.client.vms() == []


def test_a_vm_that_is_off_is_not_enrolled_when_it_must_run(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01", power_state="off")
    [refused, allowed] = run_tasks(
        [{VM: {"vm": "web01", "require_running": True}}, {VM: {"vm": "web01"}}], environment=fleet.environment
    )
    assert (refused["failed"], refused["code"]) == (True, "VM_POWERED_OFF")
    assert allowed["changed"]


def test_removal_of_a_vm_in_use_needs_force(fleet: Fleet, run_tasks: RunTasks) -> None:
    vm_uuid = fleet.add_vm("web01", enrolled=True)
    fleet.mount(vm_uuid, "alice@elsewhere pid 1")
    [refused, forced] = run_tasks(
        [{VM: {"vm": "web01", "state": "absent", "force": force}} for force in (False, True)],
        environment=fleet.environment,
    )
    assert (refused["code"], refused["details"]["holder"]) == ("VM_BUSY", "alice@elsewhere pid 1")
    assert forced["changed"]
    assert fleet.changes() == ["vm.eject", "certificate.revoke", "vm.disable"], "the ISO leaves first"
    assert fleet.service.hypervisor.media() == []


def test_capabilities_changed_by_module_and_command_reach_the_connected_agent(
    fleet: Fleet, run_tasks: RunTasks, tmp_path: Path
) -> None:
    vm_uuid = fleet.add_vm("web01", enrolled=True)
    guest = ObedientGuest(fleet.service, vm_uuid, tmp_path)
    changed = {VM: {"vm": "web01", "capabilities": {"vss_snapshot": False}}}
    [first, again] = run_tasks([changed, changed], environment=fleet.environment)
    assert (first["changed"], again["changed"]) == (True, False)
    assert first["vm"]["agent_capabilities"] == {"vss_snapshot": False, "self_service_restore": True}
    assert fleet.service.cli("vm", "enable", "web01", "--no-self-service-restore").returncode == 0
    none = {"vss_snapshot": False, "self_service_restore": False}
    assert [params["capabilities"] for _, params in guest.asked] == [first["vm"]["agent_capabilities"], none]
    assert fleet.client.vm(vm_uuid)["agent_capabilities"] == none
