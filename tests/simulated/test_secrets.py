# SPDX-License-Identifier: GPL-3.0-or-later
"""T30, T34: no password shows when guests are installed, or fail after they have let us in."""

import subprocess
import uuid
from pathlib import Path

import pytest

from ..canary.scanner import scan_tree
from ..canary.watch import Arguments
from ..conftest import program
from ..fakes.simulated_guests.spec import ADMIN
from .conftest import World

PLACES = ("tmp", "var/log", "var/tmp", "root", "home", "run", "usr/local")


@pytest.mark.slow
def test_no_password_shows_in_a_guest_or_on_the_controller(world: World, tmp_path: Path) -> None:
    fleet = world.fleet
    secrets = {name: f'canary-{name}-{uuid.uuid4().hex[:8]}/q+"é' for name in ("web1", "full", "small")}
    fleet.add("web1", password=secrets["web1"], sudo="asks")
    fleet.add("full", password=secrets["full"], sudo="asks", drives=())
    fleet.add("small", password=secrets["small"], disk_mib=1)
    fleet.start()
    inventory = fleet.write_inventory(
        tmp_path / "inventory.json", fleet.write_known_hosts(tmp_path / "known_hosts"), user=ADMIN
    )
    sinks = tmp_path / "sinks"
    environment = {
        **world.environment,
        "XDG_STATE_HOME": str(sinks / "state"),
        "ANSIBLE_HOME": str(sinks / "ansible"),
        "ANSIBLE_LOG_PATH": str(sinks / "ansible.log"),
    }
    sinks.mkdir()
    with Arguments() as seen:
        done = subprocess.run(
            [
                program("ansible-playbook"),
                "openngt.guest_tools.fleet_install",
                "-i",
                str(inventory),
                "-vvvvv",
                "--diff",
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    said = done.stdout + done.stderr
    assert done.returncode == 2 and world.proven() == {"web1"}, said
    assert "[NO_EMPTY_DRIVE]" in said and "full" in said, said
    (sinks / "output").write_text(said)
    (sinks / "arguments").write_bytes(seen.text)
    (sinks / "service").write_text(world.service.stdout + world.service.stderr)
    assert b"sudo" in seen.text, "the watch has seen what ran in the guests"
    assert scan_tree(sinks, secrets) == []
    for guest in fleet.guests:
        assert [hit for place in PLACES for hit in scan_tree(guest.root / place, secrets)] == [], guest.name
