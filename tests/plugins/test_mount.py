# SPDX-License-Identifier: GPL-3.0-or-later
"""Module and action plugin `mount`, run by ansible-core against the real service."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openngt import holder

from .conftest import Fleet

RunTasks = Callable[..., list[dict[str, Any]]]
MOUNT = "openngt.guest_tools.mount"
MOUNT_AND_EJECT = ["certificate.issue", "vm.mount", "vm.eject"]


def test_each_step_and_its_check_mode(fleet: Fleet, run_tasks: RunTasks) -> None:
    """Mount, again, eject, again; each first in check mode."""
    fleet.add_vm("web01", enrolled=True)
    mount, eject = {"vm": "web01"}, {"vm": "web01", "state": "ejected"}
    results = run_tasks(
        [{MOUNT: step, "check_mode": check} for step in (mount, mount, eject, eject) for check in (True, False)],
        diff=True,
        environment=fleet.environment,
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
            "ca_sha256": fleet.client.ca()["ca_sha256"],
        }
    assert ejected[1]["mount"] is None
    assert fleet.changes() == MOUNT_AND_EJECT
    assert fleet.service.hypervisor.media() == []


def test_the_holder_names_this_run_and_stays_the_same_within_it(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01", enrolled=True)
    [mounted] = run_tasks([{MOUNT: {"vm": "web01"}}], environment=fleet.environment)
    assert mounted["changed"]
    [record] = fleet.client.vms()
    holder = record["mount"]["holder"]
    assert f"@{os.uname().nodename} pid " in holder
    assert "(ansible)" in holder


def test_the_mount_of_a_run_that_died_is_taken_over(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01", enrolled=True)
    # Each run_tasks is an ansible-playbook of its own, which is gone when it returns.
    [first] = run_tasks([{MOUNT: {"vm": "web01"}}], environment=fleet.environment)
    [second, ejected] = run_tasks(
        [{MOUNT: {"vm": "web01"}}, {MOUNT: {"vm": "web01", "state": "ejected"}}], environment=fleet.environment
    )
    assert second["changed"] and second["mount"]["ca_sha256"] == first["mount"]["ca_sha256"]
    assert ejected["changed"]
    assert "vm.mount.take_over" in fleet.changes()


def test_the_disc_of_a_run_that_died_is_ejected(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01", enrolled=True)
    run_tasks([{MOUNT: {"vm": "web01"}}], environment=fleet.environment)
    [ejected] = run_tasks([{MOUNT: {"vm": "web01", "state": "ejected"}}], environment=fleet.environment)
    assert ejected["changed"]


def test_a_living_holder_is_left_alone(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01", enrolled=True)
    alive = holder.describe(os.getpid())
    fleet.mount("web01", alive)
    results = run_tasks(
        [
            {MOUNT: {"vm": "web01"}},
            {MOUNT: {"vm": "web01"}, "check_mode": True},
            {MOUNT: {"vm": "web01", "state": "ejected"}},
        ],
        environment=fleet.environment,
    )
    for result in results:
        assert (result["code"], result["details"]["holder"]) == ("VM_BUSY", alive)
        assert "lease" in result["remedy"]
    assert fleet.changes() == []


def test_check_mode_foretells_for_a_vm_that_is_not_enrolled_yet(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01")
    steps = [{MOUNT: {"vm": "web01", "state": state}} for state in ("mounted", "ejected")]
    [mounted, ejected] = run_tasks(steps, check=True, environment=fleet.environment)
    assert mounted["changed"] and not mounted.get("failed")
    assert not ejected["changed"] and not ejected.get("failed")
    assert fleet.changes() == []


def test_a_users_disc_is_named_and_left_in_its_drive(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web01", holds="debian-12-netinst.iso", enrolled=True)
    results = run_tasks(
        [{MOUNT: {"vm": "web01"}, "check_mode": check} for check in (True, False)], environment=fleet.environment
    )
    for result in results:
        assert result["code"] == "NO_EMPTY_DRIVE"
        assert "cd0 holds debian-12-netinst.iso" in result["msg"]
        assert result["details"]["drives"][0]["holds"] == "debian-12-netinst.iso"
    assert fleet.changes() == []


def test_progress_is_shown_while_the_play_runs(collection: Path, fleet: Fleet, tmp_path: Path) -> None:
    fleet.add_vm("web01", enrolled=True)
    command = [str(Path(sys.executable).parent / "ansible"), "localhost", "-m", MOUNT, "-a", "vm=web01"]
    environment = {
        **os.environ,
        **fleet.environment,
        "ANSIBLE_COLLECTIONS_PATH": str(collection),
        "ANSIBLE_HOME": str(tmp_path),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "localhost: mounting the tools ISO" in done.stdout
    assert "localhost: tools ISO of generation 1 is in drive cd0" in done.stdout
    assert fleet.service.token not in done.stdout + done.stderr
