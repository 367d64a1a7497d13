# SPDX-License-Identifier: GPL-3.0-or-later
"""`ansible-inventory --list` of ten thousand enrolled VMs: what the inventory plugin adds to what Ansible itself needs.

The peer is Ansible with the very same hosts, variables and groups from a script that only prints them.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.fakes.service import ServiceProcess

from bench._fleet_world import collection
from bench._rows import Row, row
from bench.listing import VMS, fill

GOAL_RATIO = 1.5
REPEAT = 3


class Spent(NamedTuple):
    seconds: float
    """From the command's start to its end."""
    cpu: float
    """Of the command and what it starts, the service not among it."""


def listed(inventory: Path, output: Path, environment: dict[str, str]) -> Spent:
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(inventory), "--list"]
    before, begin = os.times(), time.perf_counter()
    with output.open("wb") as stream:
        subprocess.run(command, env=environment, stdout=stream, check=True)
    seconds, after = time.perf_counter() - begin, os.times()
    own = after.children_user - before.children_user + after.children_system - before.children_system
    return Spent(seconds, own)


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="openngt-bench-") as name:
        folder = Path(name)
        service = ServiceProcess(folder, {"log_level": "warning"})
        fill(service, VMS)
        service.start()
        try:
            environment = {
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(collection(folder)),
                "ANSIBLE_HOME": str(folder / "ansible"),
                "OPENNGT_ENDPOINT": service.endpoint,
                "OPENNGT_TOKEN": service.token,
                "OPENNGT_CA_FILE": service.ca_file,
            }
            plugin, script, output = folder / "vms.ngt.yml", folder / "script", folder / "list.json"
            plugin.write_text("plugin: openngt.guest_tools.vms\n")
            script.write_text(f"#!/bin/sh\ncat {output}\n")
            script.chmod(0o755)
            # By turns, so that what else the machine does meets both.
            turns = [
                (listed(plugin, output, environment), listed(script, folder / "again.json", environment))
                for _ in range(REPEAT)
            ]
        finally:
            service.stop()
    ours, peers = ([turn[side] for turn in turns] for side in (0, 1))
    wall, peers_wall = (min(spent.seconds for spent in each) for each in (ours, peers))
    name, peer = f"ansible-inventory --list, {VMS:,} VMs", "Ansible, the same list printed by a script"
    return [
        row(
            f"{name}, from the command's start to its end",
            wall,
            "s",
            goal=f"at most {GOAL_RATIO:g} times Ansible's own",
            met=wall <= GOAL_RATIO * peers_wall,
            peer=peer,
            peer_value=peers_wall,
        ),
        row(
            f"{name}, CPU",
            min(spent.cpu for spent in ours),
            "s",
            goal="(figure)",
            met=True,
            peer=peer,
            peer_value=min(spent.cpu for spent in peers),
        ),
    ]
