# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's suite (tests/agent/suite, plain unittest) on every interpreter that is here."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from .conftest import interpreters

SUITE = Path(__file__).parent / "suite"
FOUND = interpreters()


VERSIONS = sorted(FOUND, key=lambda version: int(version.partition(".")[2]))


def run_suite(version: str, pattern: str, material: Path) -> int:
    """How many tests ran, all of them well."""
    command = [FOUND[version], "-m", "unittest", "discover", "-s", str(SUITE), "-p", pattern]
    # No locale, as in a unit or a cron job: Python 3.6 then takes file names for ASCII.
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(material / "lib"), str(SUITE)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "error::ResourceWarning",
        "OPENNGT_AGENT_MATERIAL": str(material),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    # What a thread or a destructor raises does not fail a unittest.
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    ran = re.search(r"Ran (\d+) tests", done.stderr)
    assert ran, done.stderr
    return int(ran.group(1))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_suite_passes(version: str, material: Path) -> None:
    assert run_suite(version, "check_*.py", material) > 130


@pytest.mark.parametrize("version", sorted({VERSIONS[0], VERSIONS[-1]}))
def test_kill_9_at_any_step_is_recovered_from(version: str, material: Path) -> None:
    """On the oldest and the newest: what a kill leaves behind is the same for all between."""
    assert run_suite(version, "kill_*.py", material) > 5
