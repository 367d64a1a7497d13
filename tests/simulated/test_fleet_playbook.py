# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook fleet_install: the inventory's own logins, a verdict for each host, and Ctrl-C."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from ..conftest import program
from ..fakes.simulated_guests.spec import ADMIN
from ..fakes.waiting import until
from .conftest import World

CANARY = "canary-8c1e"
CHANGED = re.compile(r"^(\S+) +: ok=\d+ +changed=(\d+) .*failed=(\d+)", re.M)


class Plays:
    """`ansible-playbook openngt.guest_tools.fleet_install` before an inventory that the test may alter."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.path = world.folder / "inventory.json"
        known = world.fleet.write_known_hosts(world.folder / "known_hosts")
        world.fleet.write_inventory(self.path, known, user=ADMIN)

    def alter(self, host: str, **variables: object) -> None:
        inventory = json.loads(self.path.read_text())
        inventory["all"]["hosts"][host].update(variables)
        self.path.write_text(json.dumps(inventory))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        environment = {**self.world.environment, "XDG_STATE_HOME": str(self.world.folder / "state")}
        command = [program("ansible-playbook"), "openngt.guest_tools.fleet_install", "-i", str(self.path), *arguments]
        return subprocess.Popen(
            command,
            env={**environment, "ANSIBLE_SHOW_CUSTOM_STATS": "true"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def __call__(self, *arguments: str) -> tuple[int, str, dict[str, tuple[int, int]]]:
        """Status, output, and of each host what has changed and failed."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=300)
        recap = {match[1]: (int(match[2]), int(match[3])) for match in CHANGED.finditer(output)}
        return process.returncode, output, recap


@pytest.mark.slow
def test_each_host_has_its_verdict_and_the_limit_file_names_the_rest(world: World) -> None:
    world.fleet.add("web1", "web2")
    world.fleet.add("db1", sudo="asks")
    world.fleet.start()
    plays = Plays(world)
    right = world.fleet.guest("web2").password
    plays.alter("web2", ansible_password="{{ 'canary-' ~ '8c1e' }}")
    plays.alter("db1", openngt_vm=world.fleet.guest("db1").vm_uuid.upper(), ansible_ssh_retries=3)

    status, output, recap = plays("--check", "--diff")
    assert (status, recap["db1"][1], recap["web2"]) == (2, 0, (0, 1)), output
    assert '+    "ngt_enabled": true' in output and "would_install" in output
    with world.service.client() as client:
        assert client.vms() == []

    status, output, recap = plays("-vvvvv")
    assert status == 2, output
    assert recap == {"web1": (1, 0), "db1": (1, 0), "web2": (0, 1)}, output
    assert "connect: " in output and "[GUEST_LOGIN_FAILED] remedy: correct user, password or key" in output
    assert CANARY not in output and right not in output
    assert re.search(r"^db1: prove$", output, re.M) and re.search(r"^db1: installed  version .*/3, ", output, re.M)
    assert '"failures": {' in output and '"GUEST_LOGIN_FAILED": 1' in output
    assert world.proven() == {"web1", "db1"}
    [limit] = (world.folder / "state").rglob("limit")
    assert limit.read_text() == "web2\n"

    plays.alter("web2", ansible_password=right)
    status, output, recap = plays("--limit", f"@{limit}")
    assert (status, recap) == (0, {"web2": (1, 0)}), output
    status, output, recap = plays()
    assert (status, recap) == (0, {"web1": (0, 0), "web2": (0, 0), "db1": (0, 0)}), output
    assert world.proven() == {"web1", "web2", "db1"} and world.service.hypervisor.media() == []


@pytest.mark.slow
def test_ctrl_c_lets_those_at_work_clean_up_and_the_next_run_goes_on(world: World) -> None:
    names = {f"web{number}" for number in range(6)}
    world.fleet.add(*names)
    world.fleet.start()
    plays = Plays(world)
    with plays.start("-e", "openngt_max_in_flight=1") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().endswith(": install"):
                os.killpg(process.pid, signal.SIGINT)
                break
        process.communicate(timeout=300)
    until(lambda: world.service.hypervisor.media() == [], "the disc is ejected")
    begun = world.proven()
    assert len(begun) < len(names)
    journals = list((world.folder / "state").rglob("journal.jsonl"))
    until(lambda: free(journals[0]), "the run has ended")

    status, output, recap = plays()
    assert status == 0, output
    assert set(recap) == names == world.proven()


def free(journal: Path) -> bool:
    """Whether no process has it open any longer."""
    opened = f"-> {journal}"
    for process in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if f"-> {process.readlink()}" == opened:
                return False
        except OSError:
            continue
    return True
