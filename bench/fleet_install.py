# SPDX-License-Identifier: GPL-3.0-or-later
"""A hundred guests from nothing to a proven link, by us and by the ways in which Ansible's users do it, on one machine.

The guests are simulated (CONTRIBUTING.md): a real sshd, a real installation and a real agent each, which share the
cores with whoever installs. So each contender pays for the guests' own work too; what its controller alone took is told
apart.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import MAGIC_NUMBER
from pathlib import Path

from tests.fakes.simulated_guests.fleet import MAY_SIMULATE
from tests.fakes.simulated_guests.spec import PORT

from bench._fleet_world import ROOT, Spent, World, collection, run_measured, world_of
from bench._rows import Row, not_measured, row
from openngt.install.fleet.guest_bundle import package
from openngt.install.fleet.guest_program import agent_package

__all__ = ["rows"]

GUESTS = 100
MANY_GUESTS = 500
AT_ONCE = 20
MITOGEN = ROOT / "build/peers/mitogen"
"""Where `make bench` puts it."""
DISC = "/mnt/nutanix/ngt"
PYTHON = "/usr/bin/python3"
"""Of the guests, which see this machine's."""
INSTALL = (
    f"cat >/dev/null; mkdir -p {DISC} && mount -t iso9660 -o ro,nodev,nosuid,noexec /dev/sr0 {DISC} && "
    f"{PYTHON} {DISC}/installer/linux/install_ngt.py --operation install --wait 90 --ca-sha256 "
)
HEADER_BYTES = 600
"""About what the controller says beside the program."""


def rows() -> list[Row]:
    if not MAY_SIMULATE:
        return [not_measured(f"install on {GUESTS} guests", "simulated guests need root", goal="10 x, 4 x, 1.5 x")]
    with tempfile.TemporaryDirectory(prefix="openngt-bench-") as name:
        collections = collection(Path(name))
        ours = contend("ours", with_ours)
        found = compared(ours, "ordinary tasks, 20 forks, pipelining", tasks(collections), 10.0)
        if (MITOGEN / "ansible_mitogen").is_dir():
            found += compared(ours, "the same tasks by mitogen, 20 forks", tasks(collections, mitogen=True), 4.0)
        else:
            found.append(not_measured("install, mitogen", f"not in {MITOGEN}, make bench installs it", goal="4 x"))
        found += compared(ours, "paramiko, the same bytes, one command: the installer", installing_floor, 1 / 1.5)
        found += compared(ours, "paramiko, the same bytes, one command: cat", bare_floor, None)
    return [*found, memory()]


def contend(name: str, contender: Callable[[World], Spent], count: int | None = None, *, proof: bool = True) -> Spent:
    """On a fleet of its own; the proof comes after the clock has stopped."""
    with world_of(count or GUESTS) as world:
        spent = contender(world)
        if proof:
            world.prove()
    sys.stderr.write(f"{name}: {spent}\n")
    return spent


def compared(ours: Spent, peer: str, contender: Callable[[World], Spent], times: float | None) -> list[Row]:
    """`times` faster than the peer is the goal; None: a figure."""
    theirs = contend(peer, contender, proof=contender is not bare_floor)
    name = f"install on {GUESTS} guests"
    if times is None:
        goal, met = "(figure)", True
    else:
        goal = f"at least {times:g} x faster" if times > 1 else f"at most {1 / times:g} x"
        met = ours.seconds * times <= theirs.seconds
    return [
        row(f"{name}, end to end", ours.seconds, "s", goal=goal, met=met, peer=peer, peer_value=theirs.seconds),
        row(
            f"{name}, CPU of controller, service and guests",
            ours.all_cpu,
            "s",
            goal="(figure)",
            met=True,
            peer=peer,
            peer_value=theirs.all_cpu,
        ),
        row(
            f"{name}, CPU of the controller alone",
            ours.cpu,
            "s",
            goal="(figure)",
            met=True,
            peer=peer,
            peer_value=theirs.cpu,
        ),
    ]


def memory() -> Row:
    spent = contend("ours, memory", with_ours, MANY_GUESTS)
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


def tasks(collections: Path, *, mitogen: bool = False) -> Callable[[World], Spent]:
    playbook = str(ROOT / "bench/fleet_install_tasks.yml")
    return lambda world: _play(world, playbook, collections, _by_mitogen() if mitogen else {})


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
    """All discs are inserted and all VMs enrolled before its clock starts."""
    return _floor(world, INSTALL + world.insert_discs())


def compiled_bytes() -> int:
    """Of the agent as it is sent compiled, to guests whose Python is of this one's version."""
    ask = "import importlib.util; print(importlib.util.MAGIC_NUMBER.hex())"
    guests = subprocess.run([PYTHON, "-I", "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    return len(agent_package().compiled) if guests == MAGIC_NUMBER.hex() else 0


def _floor(world: World, command: str) -> Spent:
    plan = world.folder / "plan.json"
    sent = len(package()) + HEADER_BYTES + compiled_bytes()
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
