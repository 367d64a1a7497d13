# SPDX-License-Identifier: GPL-3.0-or-later
"""F5: a refresh cut short in the agent, by kill and by power cut, at ten thousand points; unusable identities left."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.agent.workshop import make_material

from openngt.agent_bundle import build_zipapp

ROOT = Path(__file__).resolve().parents[1]
SUITE = ROOT / "tests/agent/suite"
POINTS = 10_000


def cut(folder: Path) -> dict[str, Any]:
    """The agent's own suite does it: in one process, a child for each kill."""
    make_material(folder, build_zipapp())
    (folder / "golden").symlink_to(ROOT / "tests/fakes/messages/0.1")
    (folder / "lib").mkdir()
    (folder / "lib/openngt_agent").symlink_to(ROOT / "plugins/module_utils/openngt/agent")
    path = os.pathsep.join([str(folder / "lib"), str(SUITE)])
    environment = {**os.environ, "PYTHONPATH": path, "OPENNGT_AGENT_MATERIAL": str(folder)}
    command = [sys.executable, str(SUITE / "cuts.py"), str(POINTS)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows() -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        found = cut(Path(folder))
    points = found["kills"] + found["power_cuts"]
    return [
        {
            "name": f"unusable agents after {points:,} cuts of a refresh, {found['kills']:,} of them kills",
            "value": float(found["unusable"]),
            "unit": "agents",
            "peer": f"remove, then rename, no fsync (as kubelet's store), {found['peer_cuts']:,} power cuts",
            "peer_value": float(found["peer_unusable"]),
            "ratio": None,
            "goal": f"0 in {POINTS:,}",
            "met": found["unusable"] == 0 and points >= POINTS,
        }
    ]
