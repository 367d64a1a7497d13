# SPDX-License-Identifier: GPL-3.0-or-later
"""A hundred guests from nothing to a proven link, by us and by the ways in which Ansible's users do it, on one machine.

The guests are simulated (CONTRIBUTING.md): a real sshd, a real installation and a real agent each, which share the
cores with whoever installs. So each contender pays for the guests' own work too; what its controller alone took is told
apart.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fakes.simulated_guests.spec import PORT

from bench._fleet_world import ROOT, Spent, World, collection, run_measured, world_of
from bench._rows import Row, not_measured, row
from openngt.install.fleet.guest_bundle import package

__all__ = ["rows"]

GUESTS = 100
MANY_GUESTS = 500
AT_ONCE = 20
MITOGEN = ROOT / "build/peers/mitogen"
"""Where `make bench` puts it."""
DISC = "/mnt/nutanix/ngt"
INSTALL = (
    f"cat >/dev/null; mkdir -p {DISC} && mount -t iso9660 -o ro,nodev,nosuid,noexec /dev/sr0 {DISC} && "
    f"/usr/bin/python3 {DISC}/installer/linux/install_ngt.py --operation install --wait 90 --ca-sha256 "
)
HEADER_BYTES = 600
"""About what the controller says beside the program."""


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="openngt-bench-") as name:
        collections = collection(Path(name))
        ours = contend(GUESTS, with_ours)
        found = [
            compared(ours, "ordinary tasks, forks 20, pipelining", contend(GUESTS, tasks(collections)), 10.0),
            compared(ours, "our role for each host, forks 20, pipelining", contend(GUESTS, role(collections)), 10.0),
        ]
        if (MITOGEN / "ansible_mitogen").is_dir():
            found.append(compared(ours, "the same tasks, mitogen", contend(GUESTS, tasks(collections, True)), 4.0))
        else:
            found.append(
                not_measured("install, mitogen", "mitogen is not installed, make bench does", goal="4 x faster")
            )
    found += floors(ours)
    found.append(memory())
    return found


def contend(count: int, contender: Callable[[World], Spent]) -> Spent:
    """On a fleet of its own; the proof comes after the clock has stopped."""
    with world_of(count) as world:
        spent = contender(world)
        world.prove()
    sys.stderr.write(f"{contender.__name__}: {spent}\n")
    return spent


def compared(ours: Spent, peer: str, theirs: Spent, times: float) -> Row:
    return row(
        f"install on {GUESTS} guests, end to end",
        ours.seconds,
        "s",
        goal=f"at least {times:g} x faster",
        met=ours.seconds * times <= theirs.seconds,
        peer=peer,
        peer_value=theirs.seconds,
    )


def floors(ours: Spent) -> list[Row]:
    """The floor that also installs has all discs inserted and all VMs enrolled before its clock starts."""
    found = []
    for peer, goal, floor in (
        ("paramiko, the same bytes, one command: the installer", "at most 1.5 x", installing_floor),
        ("paramiko, the same bytes, one command: true", "(figure)", bare_floor),
    ):
        with world_of(GUESTS) as world:
            spent = floor(world)
        sys.stderr.write(f"{floor.__name__}: {spent}\n")
        met = goal == "(figure)" or ours.seconds <= 1.5 * spent.seconds
        for what, mine, its in (
            ("end to end", ours.seconds, spent.seconds),
            ("CPU of the controller", ours.cpu, spent.cpu),
        ):
            wanted = goal if what == "end to end" else "(figure)"
            good = met if what == "end to end" else True
            found.append(
                row(f"install on {GUESTS} guests, {what}", mine, "s", goal=wanted, met=good, peer=peer, peer_value=its)
            )
    return found


def memory() -> Row:
    spent = contend(MANY_GUESTS, with_ours)
    return row(
        f"install on {MANY_GUESTS} guests: memory of the controller at its largest",
        spent.most_mib,
        "MiB",
        goal="at most 300 MiB",
        met=spent.most_mib <= 300,
    )


def with_ours(world: World) -> Spent:
    plan = world.folder / "plan.json"
    plan.write_text(json.dumps({"targets": world.targets, "options": {"max_in_flight": AT_ONCE}}))
    command = [sys.executable, "-m", "tests.fakes.simulated_guests.controller", str(plan)]
    return run_measured(command, world.environment, world.folder / "log")


def tasks(collections: Path, mitogen: bool = False) -> Callable[[World], Spent]:
    playbook = str(ROOT / "bench/fleet_install_tasks.yml")
    return lambda world: _play(world, playbook, collections, _by_mitogen() if mitogen else {})


def role(collections: Path) -> Callable[[World], Spent]:
    return lambda world: _play(world, "openngt.guest_tools.install", collections, {})


def _by_mitogen() -> Mapping[str, str]:
    plugins = MITOGEN / "ansible_mitogen/plugins/strategy"
    return {
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(plugins),
        "PYTHONPATH": str(MITOGEN),
    }


def _play(world: World, playbook: str, collections: Path, more: Mapping[str, str]) -> Spent:
    environment = {
        **world.environment,
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_HOME": str(world.folder / "ansible"),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_FORKS": str(AT_ONCE),
        **more,
    }
    program = str(Path(sys.executable).parent / "ansible-playbook")
    return run_measured([program, playbook, "-i", str(world.inventory)], environment, world.folder / "log")


def bare_floor(world: World) -> Spent:
    return _floor(world, "cat >/dev/null")


def installing_floor(world: World) -> Spent:
    spent = _floor(world, INSTALL + world.insert_discs())
    world.prove()
    return spent


def _floor(world: World, command: str) -> Spent:
    plan = world.folder / "plan.json"
    sent = len(package()) + HEADER_BYTES
    hosts = [guest.address for guest in world.guests]
    plan.write_text(
        json.dumps(
            {
                "hosts": hosts,
                "port": PORT,
                "key": str(world.key),
                "known_hosts": str(world.known_hosts),
                "at_once": AT_ONCE,
                "bytes": sent,
                "command": command,
            }
        )
    )
    command_line = [sys.executable, "-m", "bench._fleet_floor", str(plan)]
    return run_measured(command_line, world.environment, world.folder / "log")
