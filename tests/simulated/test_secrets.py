# SPDX-License-Identifier: GPL-3.0-or-later
"""T30, T34: no password shows when guests are installed, or fail after they have let us in."""

import json
import subprocess
import uuid
from collections.abc import Mapping

import pytest

from ..canary.scanner import scan_tree
from ..canary.watch import Arguments
from ..conftest import program
from ..fakes.simulated_guests.spec import ADMIN
from .conftest import World

PLACES = ("tmp", "var/log", "var/tmp", "root", "home", "run", "usr/local")


def secret(name: str) -> str:
    return f'canary-{name}-{uuid.uuid4().hex[:8]}/q+"é'


def installed(world: World, secrets: Mapping[str, str], **variables: object) -> str:
    """What a run of the playbook said that fails in some; none of the secrets is anywhere, in no guest either."""
    fleet = world.fleet
    fleet.start()
    inventory = fleet.write_inventory(
        world.folder / "inventory.json", fleet.write_known_hosts(world.folder / "known_hosts"), user=ADMIN
    )
    sinks = world.folder / "sinks"
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
                "-e",
                json.dumps(variables),
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    (sinks / "output").write_text(said)
    (sinks / "arguments").write_bytes(seen.text)
    (sinks / "service").write_text(world.service.stdout + world.service.stderr)
    assert b"sudo" in seen.text, "the watch has seen what ran in the guests"
    assert scan_tree(sinks, secrets) == []
    for guest in fleet.guests:
        assert [hit for place in PLACES for hit in scan_tree(guest.root / place, secrets)] == [], guest.name
    return said


@pytest.mark.slow
def test_no_password_shows_in_a_guest_or_on_the_controller(world: World) -> None:
    """One is installed, others have no drive, no room, or a disc that does not come out again (clean_up)."""
    secrets = {name: secret(name) for name in ("web1", "full", "small", "held")}
    world.fleet.add("web1", password=secrets["web1"], sudo="asks")
    world.fleet.add("full", password=secrets["full"], sudo="asks", drives=())
    world.fleet.add("small", password=secrets["small"], disk_mib=1)
    world.fleet.add("held", password=secrets["held"], sudo="asks")
    world.service.hypervisor.lock(world.fleet.guest("held").vm_uuid, "cd0")
    said = installed(world, secrets)
    assert world.proven() == {"web1", "held"}, said
    assert "[NO_EMPTY_DRIVE]" in said and "full" in said, said
    assert "Action failed: clean_up: the guest holds cd0 [DRIVE_LOCKED]" in said, said


@pytest.mark.slow
def test_no_password_shows_where_no_link_comes(world: World) -> None:
    """The phase prove tells what both sides have seen of an agent that looks for its service at a wrong address."""
    world.service.settings["cluster_ip"] = "192.0.2.1"
    world.service.stop()
    world.service.start()
    secrets = {name: secret(name) for name in ("web1", "held")}
    world.fleet.add("web1", password=secrets["web1"], sudo="asks")
    world.fleet.add("held", password=secrets["held"], sudo="asks")
    world.service.hypervisor.lock(world.fleet.guest("held").vm_uuid, "cd0")
    said = installed(world, secrets, guest_agent_wait_seconds=5)
    assert world.proven() == set()
    for name in secrets:
        assert f"Action failed: prove: not proven within 5 s: {name}: no active link [LINK_NOT_ACTIVE]" in said, said
