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

from tests.fakes.service import ServiceProcess

from bench._fleet_world import collection
from bench._rows import Row, row
from bench.listing import VMS, fill

GOAL_RATIO = 1.5
REPEAT = 3


def listed(inventory: Path, output: Path, environment: dict[str, str]) -> float:
    """Seconds of the fastest run, from the command's start to its end."""
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(inventory), "--list"]
    times = []
    for _ in range(REPEAT):
        with output.open("wb") as stream:
            begin = time.perf_counter()
            subprocess.run(command, env=environment, stdout=stream, check=True)
            times.append(time.perf_counter() - begin)
    return min(times)


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
            ours = listed(plugin, output, environment)
            script.write_text(f"#!/bin/sh\ncat {output}\n")
            script.chmod(0o755)
            floor = listed(script, folder / "again.json", environment)
        finally:
            service.stop()
    return [
        row(
            f"ansible-inventory --list, {VMS:,} VMs",
            ours,
            "s",
            goal=f"at most {GOAL_RATIO:g} times Ansible's own",
            met=ours <= GOAL_RATIO * floor,
            peer="Ansible, the same list printed by a script",
            peer_value=floor,
        )
    ]
