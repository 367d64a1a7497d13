# SPDX-License-Identifier: GPL-3.0-or-later
"""Module and action plugin `mount`, run by ansible-core against a service behind HTTPS."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plugins.module_utils import holder
from tests.fakes.api import FakeService

RunTasks = Callable[..., list[dict[str, Any]]]
MOUNT = "openngt.guest_tools.mount"


def test_each_step_and_its_check_mode(service: FakeService, run_tasks: RunTasks) -> None:
    """Mount, again, eject, again; each first in check mode."""
    vm_uuid = service.add_vm("web01")
    service.enable("web01", {})
    mount, eject = {"vm": "web01"}, {"vm": "web01", "state": "ejected"}
    results = run_tasks(
        [{MOUNT: step, "check_mode": check} for step in (mount, mount, eject, eject) for check in (True, False)],
        diff=True,
        environment=service.environment,
    )
    mounted, again, ejected, gone = zip(results[::2], results[1::2], strict=True)
    for predicted, real in (mounted, ejected):
        assert predicted["changed"] and real["changed"]
        assert predicted["diff"] == real["diff"]
    for predicted, real in (again, gone):
        assert not predicted["changed"] and not real["changed"]
    for _, real in (mounted, again):
        assert {key: real["mount"][key] for key in ("drive", "generation", "ca_sha256")} == {
            "drive": "cd0",
            "generation": 1,
            "ca_sha256": service.ca_sha256,
        }
    assert ejected[1]["mount"] is None
    assert len(service.changes()) == 2
    assert service.vms[vm_uuid]["cdrom_drives"][0]["state"] == "empty"


def test_the_holder_names_this_run_and_stays_the_same_within_it(service: FakeService, run_tasks: RunTasks) -> None:
    service.add_vm("web01")
    service.enable("web01", {})
    [mounted] = run_tasks([{MOUNT: {"vm": "web01"}}], environment=service.environment)
    assert mounted["changed"]
    [record] = service.records.values()
    holder = record["mount"]["holder"]
    assert f"@{os.uname().nodename} pid " in holder
    assert "(ansible)" in holder


def test_the_mount_of_a_run_that_died_is_taken_over(service: FakeService, run_tasks: RunTasks) -> None:
    service.add_vm("web01")
    service.enable("web01", {})
    # Each run_tasks is an ansible-playbook of its own, which is gone when it returns.
    [first] = run_tasks([{MOUNT: {"vm": "web01"}}], environment=service.environment)
    [second, ejected] = run_tasks(
        [{MOUNT: {"vm": "web01"}}, {MOUNT: {"vm": "web01", "state": "ejected"}}], environment=service.environment
    )
    assert second["changed"] and second["mount"]["generation"] == first["mount"]["generation"] + 1
    assert ejected["changed"]


def test_the_disc_of_a_run_that_died_is_ejected(service: FakeService, run_tasks: RunTasks) -> None:
    service.add_vm("web01")
    service.enable("web01", {})
    run_tasks([{MOUNT: {"vm": "web01"}}], environment=service.environment)
    [ejected] = run_tasks([{MOUNT: {"vm": "web01", "state": "ejected"}}], environment=service.environment)
    assert ejected["changed"]


def test_a_living_holder_is_left_alone(service: FakeService, run_tasks: RunTasks) -> None:
    service.add_vm("web01")
    service.enable("web01", {})
    alive = holder.describe(os.getpid())
    service.mount("web01", {"holder": alive, "holder_is_dead": None})
    results = run_tasks(
        [
            {MOUNT: {"vm": "web01"}},
            {MOUNT: {"vm": "web01"}, "check_mode": True},
            {MOUNT: {"vm": "web01", "state": "ejected"}},
        ],
        environment=service.environment,
    )
    for result in results:
        assert (result["code"], result["details"]["holder"]) == ("VM_BUSY", alive)
        assert "lease" in result["remedy"]
    assert service.changes() == []


def test_check_mode_foretells_for_a_vm_that_is_not_enrolled_yet(service: FakeService, run_tasks: RunTasks) -> None:
    service.add_vm("web01")
    steps = [{MOUNT: {"vm": "web01", "state": state}} for state in ("mounted", "ejected")]
    [mounted, ejected] = run_tasks(steps, check=True, environment=service.environment)
    assert mounted["changed"] and not mounted.get("failed")
    assert not ejected["changed"] and not ejected.get("failed")
    assert service.changes() == []


def test_a_users_disc_is_named_and_left_in_its_drive(service: FakeService, run_tasks: RunTasks) -> None:
    service.add_vm("web01", holds="debian-12-netinst.iso")
    service.enable("web01", {})
    results = run_tasks(
        [{MOUNT: {"vm": "web01"}, "check_mode": check} for check in (True, False)], environment=service.environment
    )
    for result in results:
        assert result["code"] == "NO_EMPTY_DRIVE"
        assert "cd0 holds debian-12-netinst.iso" in result["msg"]
        assert result["details"]["drives"][0]["holds"] == "debian-12-netinst.iso"
    assert service.changes() == []


def test_progress_is_shown_while_the_play_runs(collection: Path, service: FakeService, tmp_path: Path) -> None:
    service.add_vm("web01")
    service.enable("web01", {})
    command = [str(Path(sys.executable).parent / "ansible"), "localhost", "-m", MOUNT, "-a", "vm=web01"]
    environment = {
        **os.environ,
        **service.environment,
        "ANSIBLE_COLLECTIONS_PATH": str(collection),
        "ANSIBLE_HOME": str(tmp_path),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "localhost: mounting the tools ISO" in done.stdout
    assert "localhost: tools ISO of generation 1 is in drive cd0" in done.stdout
    assert service.token not in done.stdout + done.stderr
