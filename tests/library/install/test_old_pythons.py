# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in guests, under every Python from 3.6 on that this machine has.

More of them are found with OPENNGT_TEST_PYTHONS, folders separated by colons.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
from openngt.install import agent_plan, agent_steps, disc, facts, prerequisites, support
from openngt import errors
found = prerequisites.findings(
    facts.collect("/mnt/nutanix/ngt", ("127.0.0.1", 9)), prerequisites.Wanted(550, (3, 6), "127.0.0.1:9", False)
)
assert len(found) == 13
assert dict((f.name, f.state) for f in found)["python"] == "ok"
wanted = agent_plan.Wanted(True, "0.1.0", None)
assert agent_plan.plan(agent_plan.Observed(None, []), wanted).operation == "install"
with agent_steps.private_zipapp(b"import json; print(json.dumps({'ok': True}))") as path:
    assert agent_steps.call_zipapp(path, ["verify"]) == {"ok": True}
try:
    disc.choose([], None)
except errors.OpenNGTError as error:
    print(error.code)
"""


def interpreters() -> list[str]:
    """Each version once; only those that really start, since a version manager's shim may answer to a name."""
    names = [f"python3.{minor}" for minor in range(6, 16)]
    folders = [folder for folder in os.environ.get("OPENNGT_TEST_PYTHONS", "").split(":") if folder]
    path = os.pathsep.join([*folders, os.environ["PATH"]])
    found = [(name, shutil.which(name, path=path)) for name in names]
    return [program for name, program in found if program and runs_as(program, name.removeprefix("python"))]


def runs_as(program: str, version: str) -> bool:
    ask = [program, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip() == version


@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).name)
def test_the_guest_side_runs(python: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "plugins/module_utils"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([python, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "DISC_NOT_FOUND\n"
