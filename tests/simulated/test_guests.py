# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test with simulated guests may rely on: they take an installation as a VM does, and end with their session."""

import os
import signal
from pathlib import Path

import pytest

from ..fakes.simulated_guests.spec import ADMIN
from ..fakes.waiting import until
from .conftest import World

MANY = 200
GIB_FOR_MANY = 6


@pytest.mark.slow
def test_the_playbook_installs_and_the_agents_are_back_after_a_power_cut(world: World, tmp_path: Path) -> None:
    fleet = world.fleet
    fleet.add("web1", "web2")
    fleet.add("db1", sudo="asks")
    fleet.start()
    inventory = fleet.write_inventory(
        tmp_path / "inventory.json", fleet.write_known_hosts(tmp_path / "known_hosts"), user=ADMIN
    )
    done = world.playbook("install", inventory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert world.proven() == {"web1", "web2", "db1"}
    assert world.service.hypervisor.media() == []

    db1 = fleet.guest("db1")
    db1.kill()
    until(lambda: world.proven() == {"web1", "web2"}, "the link of db1 is gone")
    db1.start()
    until(lambda: "db1" in world.proven(), "the agent of db1 starts from its disk")
    again = world.playbook("install", inventory)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("changed=0") == 3, again.stdout


@pytest.mark.slow
@pytest.mark.nightly
def test_two_hundred_guests_end_with_as_many_serials_and_links(world: World) -> None:
    """At the size that users have; the benchmark does it with five hundred, beside its peers."""
    if (available := memory_available_gib()) < GIB_FOR_MANY:
        pytest.skip(f"{MANY} agents take {GIB_FOR_MANY} GiB of memory; {available:.1f} are available")
    names = {f"vm{number:03}" for number in range(MANY)}
    world.fleet.add(*names)
    world.fleet.start()
    report = world.install(world.targets(), wait_seconds=300)
    assert report.error is None, report.error.message
    assert report.summary["counts"] == {"installed": MANY}
    assert world.proven() == names
    assert world.service.hypervisor.media() == []


def memory_available_gib() -> float:
    [line] = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable")]
    return int(line.split()[1]) / 1024**2


def test_guests_end_with_the_process_that_has_them(world: World) -> None:
    world.fleet.add("web1")
    world.fleet.start()
    guest = world.fleet.guest("web1")
    assert guest.pid is not None
    children = Path(f"/proc/{guest.pid}/task/{guest.pid}/children").read_text().split()
    assert children, "its sshd"
    hub = int(Path(f"/proc/{guest.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(hub, signal.SIGKILL)
    until(lambda: not any(running(pid) for pid in [str(guest.pid), *children]), "all of it has ended")


def running(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
