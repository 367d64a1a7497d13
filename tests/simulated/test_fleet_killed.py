# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet's run that SIGKILL ends right after any of its effects: the journal is true, and the next run converges."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import ROOT
from ..fakes.waiting import until
from .conftest import World

STEPS = (
    "fleet.enrol.enrolled",
    "fleet.connect.connected",
    "fleet.prerequisites.met",
    "fleet.mount.mounted",
    "fleet.install.installed",
    "fleet.prove.proven",
    "fleet.clean_up.ejected",
)
DONE = ("installed", "unchanged")


def test_every_step_is_tried(failpoints: Callable[[Path], set[str]]) -> None:
    assert failpoints(ROOT / "plugins/module_utils/openngt/install/fleet") == set(STEPS)


@pytest.mark.slow
def test_a_run_that_was_killed_after_any_step_is_continued(world: World) -> None:
    """F31: two guests for each step, one of which had its turn before or was at work at the same time."""
    journal = world.folder / "journal"
    for step in STEPS:
        first, second = f"{step}-1", f"{step}-2"
        world.fleet.add(first, second)
        world.fleet.start()
        targets = [target for target in world.targets() if target["name"] in (first, second)]
        plan = world.folder / "plan.json"
        plan.write_text(json.dumps({"targets": targets, "options": {"journal": str(journal)}}))
        killed = subprocess.run(
            [sys.executable, "-m", "tests.fakes.simulated_guests.controller", str(plan)],
            cwd=ROOT,
            env={**world.environment, "OPENNGT_FAILPOINT": step},
            capture_output=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, (step, killed.stderr)
        lines = [json.loads(line) for line in (journal / "journal.jsonl").read_text().splitlines()]
        told = {line["row"]["name"] for line in lines if line.get("row", {}).get("state") in DONE}
        assert told <= world.proven(), step
        for name in (first, second):
            until(world.fleet.guest(name).is_quiet, f"{name} after the kill")

        report = world.install(targets)
        assert report.error is None, (step, report.rows)
        assert {row.name for row in report.rows if row.resumed} == told, step
        assert {first, second} <= world.proven(), step
        assert world.service.hypervisor.media() == [], step
        assert all(row.state == "unchanged" for row in world.install(targets).rows), step
