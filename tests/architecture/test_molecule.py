# SPDX-License-Identifier: GPL-3.0-or-later
"""The Molecule scenarios, as Molecule itself reads them: each role has one that runs it twice and verifies."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "extensions/molecule"
SCENARIOS = sorted(path.parent.name for path in FOLDER.glob("*/molecule.yml"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
LINE = re.compile(r"^(?P<scenario>\w+)$|^ +[├└]─+ (?P<action>\w+)", re.MULTILINE)


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Scenario -> the actions of `molecule test` in their order."""
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    state = tmp_path_factory.mktemp("molecule")
    done = subprocess.run(
        ["molecule", "matrix", "test"],
        env={**os.environ, "PATH": programs, "NO_COLOR": "1", "MOLECULE_EPHEMERAL_DIRECTORY": str(state)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: dict[str, list[str]] = {}
    scenario = ""
    for line in LINE.finditer(done.stdout):
        scenario = line["scenario"] or scenario
        found.setdefault(scenario, []).extend([line["action"]] if line["action"] else [])
    assert sorted(found) == SCENARIOS, done.stdout + done.stderr
    return found


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_a_scenario_that_runs_it(role: str) -> None:
    assert f"role: openngt.guest_tools.{role}\n" in (FOLDER / role / "converge.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_each_scenario_runs_twice_verifies_and_uses_all_its_playbooks(
    scenario: str, sequences: dict[str, list[str]]
) -> None:
    sequence = sequences[scenario]
    at = [sequence.index(action) for action in ("converge", "idempotence", "verify")]
    assert at == sorted(at)
    playbooks = {path.stem for path in (FOLDER / scenario).glob("*.yml")} - {"molecule"}
    assert {"converge", "verify"} <= playbooks
    assert playbooks <= set(sequence)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_page_names_each_scenario(scenario: str) -> None:
    assert f"\n| `{scenario}` | " in (ROOT / "docs/molecule.md").read_text(encoding="utf-8")
