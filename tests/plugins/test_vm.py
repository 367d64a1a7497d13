# SPDX-License-Identifier: GPL-3.0-or-later
"""Module `vm`, run by ansible-core against a service behind HTTPS."""

from collections.abc import Callable
from typing import Any

from tests.fakes.api import FakeService

RunTasks = Callable[..., list[dict[str, Any]]]
VM = "openngt.guest_tools.vm"


def test_twelve_steps(service: FakeService, run_tasks: RunTasks) -> None:
    """Create, again, modify, again, delete, again; each first in check mode."""
    vm_uuid = service.add_vm("web01")
    changed = {"vm": "web01", "capabilities": {"self_service_restore": False}}
    steps = [{"vm": "web01"}, {"vm": "web01"}, changed, changed, *[{"vm": "web01", "state": "absent"}] * 2]
    results = run_tasks(
        [{VM: step, "check_mode": check} for step in steps for check in (True, False)],
        diff=True,
        environment=service.environment,
    )
    create, again, modify, same, delete, gone = zip(results[::2], results[1::2], strict=True)

    for predicted, real in (create, modify, delete):
        assert predicted["changed"] and real["changed"], (predicted, real)
        assert predicted["diff"] == real["diff"], "check mode and run show the same plan"
    for predicted, real in (again, same, gone):
        assert not predicted["changed"] and not real["changed"], (predicted, real)

    assert create[0]["vm"]["vm_uuid"] == create[1]["vm"]["vm_uuid"] == vm_uuid
    assert set(create[0]["vm"]) - set(create[1]["vm"]) == set(), "what is foretold has the record's names"
    assert modify[1]["vm"]["vss_snapshot"] is True, "what is not named stays"
    assert modify[1]["diff"]["after"] == {"ngt_enabled": True, "vss_snapshot": True, "self_service_restore": False}
    assert [method for method, _ in service.changes()] == ["PUT", "PUT", "DELETE"], "nothing else was asked for"
    assert service.records == {}


def test_a_vm_that_is_off_is_not_enrolled_when_it_must_run(service: FakeService, run_tasks: RunTasks) -> None:
    service.add_vm("web01", power_state="off")
    [refused, allowed] = run_tasks(
        [{VM: {"vm": "web01", "require_running": True}}, {VM: {"vm": "web01"}}], environment=service.environment
    )
    assert (refused["failed"], refused["code"]) == (True, "VM_POWERED_OFF")
    assert allowed["changed"]


def test_removal_of_a_vm_in_use_needs_force(service: FakeService, run_tasks: RunTasks) -> None:
    service.add_vm("web01")
    service.enable("web01", {})
    service.mount("web01", {"holder": "alice@elsewhere pid 1", "holder_is_dead": None})
    [refused, forced] = run_tasks(
        [{VM: {"vm": "web01", "state": "absent", "force": force}} for force in (False, True)],
        environment=service.environment,
    )
    assert (refused["code"], refused["details"]["holder"]) == ("VM_BUSY", "alice@elsewhere pid 1")
    assert forced["changed"]
    assert next(path.rpartition("/")[2] for _, path in service.changes()) == "eject", "the ISO leaves first"
    assert service.records == {}
