# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection says about itself agrees with what is in it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py") if path.stem != "__init__")
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def documentation(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    names = [f"openngt.guest_tools.{name}" for name in MODULES]
    home = str(tmp_path_factory.mktemp("ansible"))
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collection), "ANSIBLE_HOME": home}
    command = [str(Path(sys.executable).parent / "ansible-doc"), "--json", *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found) == set(names), done.stderr
    return {name.rpartition(".")[2]: page for name, page in found.items()}


def test_the_action_group_holds_every_module_that_asks_the_service(documentation: dict[str, Any]) -> None:
    asking = {name for name, page in documentation.items() if {"endpoint", "token"} <= set(page["doc"]["options"])}
    groups = read(ROOT / "meta/runtime.yml")["action_groups"]
    wanted = {
        "ca_rollover",
        "customization",
        "customization_info",
        "diagnosis_info",
        "fleet_install",
        "health_info",
        "health_policy",
        "mount",
        "power",
        "refresh",
        "report",
        "upgrade",
        "vm",
        "vm_info",
        "windows_agent",
    }
    assert set(groups["service"]) == asking == wanted
    for name in asking:
        assert "openngt.guest_tools.service" in documentation[name]["doc"]["attributes"]["action_group"]["membership"]


@pytest.mark.parametrize("name", MODULES)
def test_each_module_is_documented_for_users(documentation: dict[str, Any], name: str) -> None:
    page = documentation[name]
    attributes = page["doc"]["attributes"]
    assert {"check_mode", "diff_mode", "platform"} <= set(attributes)
    assert attributes["check_mode"]["support"] == "full"
    tasks = yaml.safe_load(page["examples"])
    used = {key for task in flattened(tasks) for key in task if "." in key}
    assert f"openngt.guest_tools.{name}" in used


def flattened(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tasks, and those inside of blocks."""
    found = []
    for task in tasks:
        found.append(task)
        for part in ("block", "rescue", "always"):
            found += flattened(task.get(part, []))
    return found


@pytest.mark.parametrize("role", ROLES)
def test_each_variable_of_a_role_is_specified_with_its_default(role: str) -> None:
    folder = ROOT / "roles" / role
    [options] = [entry["options"] for entry in read(folder / "meta/argument_specs.yml")["argument_specs"].values()]
    defaults = read(folder / "defaults/main.yml")
    assert defaults == {name: option.get("default") for name, option in options.items()}
    assert all(name.startswith(f"{role}_") for name in defaults)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in defaults), "the README has every variable"


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_playbooks_gather_nothing_and_let_no_host_end_the_others(playbook: Path) -> None:
    for play in read(playbook):
        assert play["gather_facts"] is False
        assert play["any_errors_fatal"] is False
        # Those that work on AWX or the service's own host ask no service, nor does what comes before any installation.
        asks = playbook.stem not in {"awx_setup", "backup", "restore", "winrm_prep"}
        assert set(play.get("module_defaults", {})) == ({"group/openngt.guest_tools.service"} if asks else set())


def test_the_role_stays_within_six_tasks_on_a_second_run() -> None:
    """Shown tasks for a host that needs nothing: one for each role's argument check, and those of main.yml."""
    tasks = read(ROOT / "roles/guest_agent/tasks/main.yml")
    imported = read(ROOT / "roles/linux_prerequisites/tasks/main.yml")
    shown = [task for task in tasks if "ansible.builtin.import_role" not in task]
    assert len(shown) + len(imported) + 2 <= 6
