# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook `report` as the last step of a workflow runs it: files, numbers, and honest when it cannot."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Fleet

Play = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def play(collection: Path, tmp_path: Path, fleet: Fleet) -> Play:
    """Run the playbook with these variables, in a folder of its own."""

    def run(*arguments: str, **variables: object) -> "subprocess.CompletedProcess[str]":
        environment = {
            **os.environ,
            **fleet.environment,
            "ANSIBLE_COLLECTIONS_PATH": str(collection),
            "ANSIBLE_HOME": str(tmp_path / "ansible"),
            "ANSIBLE_SHOW_CUSTOM_STATS": "true",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "PWD": str(tmp_path / "work"),  # as a shell has it
        }
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "openngt.guest_tools.report"]
        options = ["-e", json.dumps(variables), *arguments]
        here = tmp_path / "work"
        here.mkdir(exist_ok=True)
        return subprocess.run(
            [*command, *options], env=environment, capture_output=True, text=True, check=False, cwd=here
        )

    return run


def stats(done: "subprocess.CompletedProcess[str]") -> str:
    return "".join(done.stdout[done.stdout.index("CUSTOM STATS") :].split())


def test_it_writes_where_one_is_and_leaves_the_numbers(play: Play, fleet: Fleet, tmp_path: Path) -> None:
    fleet.add_vm("web1", enrolled=True)
    predicted, made, again = play("--check"), play(), play()
    assert "changed=1" in predicted.stdout and "changed=1" in made.stdout and "changed=0" in again.stdout, made.stdout
    names = sorted(path.name for path in (tmp_path / "work").iterdir())
    assert names == ["openngt-report.csv", "openngt-report.html", "openngt-report.json"]
    report = json.loads((tmp_path / "work/openngt-report.json").read_text())
    assert report["counts"]["vms"] == 1
    assert f"{tmp_path}/work/openngt-report.html: to be written" in predicted.stdout
    assert f"{tmp_path}/work/openngt-report.html: unchanged" in again.stdout and "end with this job" not in again.stdout
    assert "1 VMs: 0 links active" in made.stdout
    for done in (predicted, again):
        told = stats(done)
        assert '"openngt_report"' in told and '"not_seen":1' in told and '"failures":{' in told


def test_what_is_wrong_is_told_by_code_in_the_numbers_as_well(play: Play, tmp_path: Path) -> None:
    done = play(openngt_report_directory="no/where", openngt_report_formats=["csv"], openngt_report_mode="0644")
    assert done.returncode == 2 and f"{tmp_path}/work/no/where/openngt-report.csv" in done.stdout
    assert '"failures":{"FILE_UNUSABLE":1}' in stats(done)
    done = play(openngt_report_formats=["pdf"])
    assert done.returncode == 2 and "openngt_report_formats" in done.stdout
    assert '"failures":{"INVALID_INPUT":1}' in stats(done)
