# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt fleet install`: the list and the inventory on standard ground, with guests that take an installation."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..conftest import program
from ..fakes.simulated_guests.fleet import SimulatedGuest
from ..fakes.simulated_guests.root import once
from ..fakes.simulated_guests.spec import ADMIN, PORT
from ..fakes.waiting import PATIENCE_SECONDS, until
from .conftest import World

HEARS_CTRL_C = ["env", "--default-signal=INT"]
"""What a script runs in its background was started with SIGINT ignored, and would hand that on."""


def entry(guest: SimulatedGuest, **credentials: str) -> dict[str, Any]:
    return {
        "uuid": guest.vm_uuid,
        "vmname": guest.name,
        "host": guest.address,
        "port": PORT,
        "credentials": {"username": ADMIN, "password": guest.password, **credentials},
    }


def at_home(world: World) -> dict[str, str]:
    """The environment of somebody whose home has the guests' host keys."""
    home = world.folder / "home"
    (home / ".ssh").mkdir(parents=True, exist_ok=True)
    world.fleet.write_known_hosts(home / ".ssh/known_hosts")
    return {**world.environment, "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}


def openngt(world: World, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [program("openngt"), *arguments],
        env=at_home(world),
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_a_list_is_installed_and_what_failed_is_grouped_and_done_again(world: World) -> None:
    fleet = world.fleet
    fleet.add("web1", sudo="asks")
    fleet.add("web2", "db1")
    fleet.start()
    guests = [fleet.guest(name) for name in ("web1", "web2", "db1")]
    wrong = [entry(guests[0]), entry(guests[1]), entry(guests[2], password="CANARY-wrong")]

    checked = openngt(world, "fleet", "check", "--credentials", "-", given=json.dumps(wrong))
    assert checked.returncode == 1 and "2 would_install" in checked.stderr, checked.stdout + checked.stderr
    assert world.proven() == set() and world.service.hypervisor.media() == []

    limit = world.folder / "again"
    done = openngt(world, "fleet", "install", "--credentials", "-", "--limit-file", str(limit), given=json.dumps(wrong))
    assert done.returncode == 1, done.stdout + done.stderr
    assert world.proven() == {"web1", "web2"}
    assert "GUEST_LOGIN_FAILED (1): db1; remedy: correct user, password or key" in done.stderr
    assert limit.read_text() == "db1\n" and f"@{limit}" in done.stderr
    assert "CANARY" not in checked.stdout + checked.stderr + done.stdout + done.stderr

    right = world.folder / "fleet.json"
    right.touch(mode=0o600)
    right.write_text(json.dumps([entry(guest) for guest in guests]))
    again = openngt(
        world, "fleet", "install", "--credentials", str(right), "--limit", f"@{limit}", "--limit-file", str(limit),
        "--delete-credentials", "-o", "json",
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr
    (row,) = json.loads(again.stdout)["rows"]
    assert (row["name"], row["state"], row["vm_uuid"]) == ("db1", "installed", guests[2].vm_uuid)
    assert world.proven() == {"web1", "web2", "db1"} and not right.exists() and not limit.exists()


@pytest.mark.slow
def test_an_inventory_is_installed_as_ansible_would_reach_it(world: World, tmp_path: Path) -> None:
    world.fleet.add("web1", "db1")
    world.fleet.start()
    hosts = world.fleet.write_known_hosts(tmp_path / "known_hosts")
    inventory = world.fleet.write_inventory(tmp_path / "inventory.json", hosts, user=ADMIN)
    done = openngt(world, "fleet", "install", "--inventory", str(inventory), "--limit", "all,!db1", "-o", "csv")
    assert done.returncode == 0, done.stdout + done.stderr
    assert world.proven() == {"web1"}
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["Name", "web1"]
    again = openngt(world, "fleet", "install", "--inventory", str(inventory), "--limit", "web1")
    assert again.returncode == 0 and "1 unchanged" in again.stderr, again.stdout + again.stderr


@pytest.mark.slow
def test_a_second_ctrl_c_cuts_the_connections_and_the_same_command_goes_on(world: World) -> None:
    """F31: rows, journal and exit status tell how each guest was left, and no disc stays in a drive."""
    world.fleet.add("stuck", files=once("mount-iso", "touch /root/stuck; sleep 600"))
    world.fleet.add("next")
    world.fleet.start()
    stuck = world.fleet.guest("stuck")
    listed = world.folder / "fleet.json"
    listed.touch(mode=0o600)
    listed.write_text(json.dumps([entry(stuck), entry(world.fleet.guest("next"))]))
    command = ["fleet", "install", "--credentials", str(listed), "--max-in-flight", "1", "-o", "json"]
    said = world.folder / "stderr"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [*HEARS_CTRL_C, program("openngt"), *command],
            env=at_home(world), stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    until((stuck.root / "root/stuck").exists, "the guest at work on its disc")
    for times in (1, 2):
        assert process.poll() is None, "those at work are not cut by the first"
        process.send_signal(signal.SIGINT)
        until(lambda times=times: said.read_text().count("the next Ctrl-C cuts") == times, "its word")  # type: ignore[misc]
    stdout, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130, said.read_text()
    rows = {row["name"]: row for row in json.loads(stdout)["rows"]}
    assert (rows["stuck"]["state"], rows["stuck"]["phase"]) == ("failed", "install"), rows
    assert rows["stuck"]["code"] == "GUEST_CONNECTION_LOST" and rows["next"]["state"] == "not_begun", rows
    assert world.service.hypervisor.media() == [] and world.proven() == set()
    [journal] = (world.folder / "home/state").rglob("journal.jsonl")
    told = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [line["row"]["name"] for line in told if "row" in line] == ["stuck"], told
    assert (journal.parent / "limit").read_text() == "stuck\nnext\n"

    stuck.kill()  # and with it the installer that is still at work in it
    world.fleet.start()
    again = openngt(world, *command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert world.proven() == {"stuck", "next"}
