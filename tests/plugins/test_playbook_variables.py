# SPDX-License-Identifier: GPL-3.0-or-later
"""Each playbook and its data file name the same variables, and what is given is judged before anything is done."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment
from jinja2.nodes import Name

from ..conftest import program

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
TASKS = {name: ROOT / "playbooks/tasks" / name for name in ("begin.yml", "end.yml")}
OURS = re.compile("|".join(f"{prefix}_" for prefix in ("openngt", *ROLES)))
OF_FLEET_INSTALL = {"openngt_vm", "openngt_os_family", "openngt_winrm_thumbprint"}
"""Of the inventory: read by its action plugin, but for the system, which an inventory has for the other playbooks."""

Json = dict[str, Any]


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def data(playbook: str) -> Json:
    found: Json = read(ROOT / "playbooks/vars" / f"{playbook}.yml")
    assert set(found) == {"openngt_playbook"}
    return dict(found["openngt_playbook"])


def arguments(role: str) -> Json:
    found: Json = read(ROOT / "roles" / role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return found


def texts(node: Any, *, bare: bool = False) -> Iterator[str]:
    """Every expression of a playbook; those of `when` and its like stand without braces."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from texts(value, bare=key in ("when", "that", "failed_when", "changed_when"))
    elif isinstance(node, list):
        for each in node:
            yield from texts(each, bare=bare)
    elif isinstance(node, str):
        yield f"{{{{ {node} }}}}" if bare else node


def names_read(playbook: str) -> set[str]:
    """What of our own a playbook's expressions take from outside, those of the role's variables for Windows as well."""
    path = ROOT / "playbooks" / f"{playbook}.yml"
    nodes = [read(path)]
    for play in read(path):
        others = [path.parent / name for name in play["vars_files"] if not name.startswith("vars/")]
        nodes += map(read, others)
    parsed = [Environment(autoescape=False).parse(text) for node in nodes for text in texts(node)]
    found = {name.name for tree in parsed for name in tree.find_all(Name)}
    return {name for name in found if OURS.match(name)} - made_in(playbook)


def made_in(playbook: str) -> set[str]:
    """What a playbook sets itself: results, facts and variables of plays and tasks."""

    def find(node: Any) -> Iterator[str]:
        if isinstance(node, Mapping):
            for key, value in node.items():
                if key == "register":
                    yield value
                elif key in ("vars", "ansible.builtin.set_fact"):
                    yield from value
                yield from find(value)
        elif isinstance(node, list):
            for each in node:
                yield from find(each)

    files = [ROOT / "playbooks" / f"{playbook}.yml", *TASKS.values()]
    return {name for path in files for name in find(read(path))}


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_data_file_names_what_its_playbook_reads_and_nothing_else(playbook: str) -> None:
    named, own = data(playbook), set(data(playbook)["options"])
    of_roles = {name for role in named["roles"] for name in arguments(role)}
    used = names_read(playbook)
    by_the_roles = {"openngt_vm", "openngt_os_family"} if "guest_agent" in named["roles"] else set()
    by_plugins = OF_FLEET_INSTALL if playbook == "fleet_install" else set()
    beside = {name for name in own if name.startswith("linux_prerequisites_") and "guest_agent" in named["roles"]}
    assert used - own - of_roles == set(), "read, and not in the data file"
    assert own - used - by_the_roles - by_plugins - beside == set(), "in the data file, and not read"
    imported = set(re.findall(r"name: openngt\.guest_tools\.(\w+)$", playbook_text(playbook), re.M)) & set(ROLES)
    assert imported == set(named["roles"])


def playbook_text(playbook: str) -> str:
    return (ROOT / "playbooks" / f"{playbook}.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_data_file_has_the_shape_of_a_roles_arguments(playbook: str) -> None:
    named = data(playbook)
    assert set(named) == {"short_description", "description", "artifact", "roles", "options"}
    for name, option in named["options"].items():
        keys = {"description", "type", "default", "choices", "required", "elements", "no_log", "options"}
        assert {"description", "type"} <= set(option) <= keys, name
        default = option.get("default", [])
        chosen = default if isinstance(default, list) else [default]
        assert set(map(str, chosen)) <= set(map(str, option.get("choices", chosen))), name
        for role in (role for role in ROLES if name.startswith(f"{role}_")):
            of_role = arguments(role)[name]
            empty = ({}, "")
            assert {key: option.get(key) for key in ("type", "choices", "elements")} == {
                key: of_role.get(key) for key in ("type", "choices", "elements")
            }
            assert option.get("default") == (None if of_role["default"] in empty else of_role["default"]), name


def test_what_several_playbooks_take_is_described_by_the_same_words() -> None:
    for name in ("openngt_endpoint", "openngt_token", "openngt_ca_file", "openngt_vm", "openngt_via", "openngt_serial"):
        options = [data(playbook)["options"].get(name) for playbook in PLAYBOOKS]
        assert len({json.dumps(option) for option in options if option}) == 1, name


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_begins_with_the_check_of_its_variables_and_ends_with_its_numbers(playbook: str) -> None:
    for play in read(ROOT / "playbooks" / f"{playbook}.yml"):
        assert f"vars/{playbook}.yml" in play["vars_files"] and "openngt_numbers" in play["vars"]
        assert {"roles", "pre_tasks", "post_tasks"} & set(play) == set()
        [block] = play["tasks"]
        assert block["block"][0]["ansible.builtin.import_tasks"] == "tasks/begin.yml"
        assert [task["ansible.builtin.import_tasks"] for task in block["always"]] == ["tasks/end.yml"]


def test_what_a_job_leaves_for_the_next_is_taken_for_no_variable_of_it() -> None:
    """A workflow hands the artifacts of a job to those after it as extra variables, which win over all others."""
    artifacts = [data(playbook)["artifact"] for playbook in PLAYBOOKS]
    assert len(set(artifacts)) == len(artifacts) and all(name.startswith("openngt_") for name in artifacts)
    assert set(artifacts) & {name for playbook in PLAYBOOKS for name in data(playbook)["options"]} == set()
    for playbook in PLAYBOOKS:
        taken = {*artifacts, *(name for each in PLAYBOOKS for name in data(each)["options"])}
        assert made_in(playbook) & taken == set(), playbook


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(collection: Path, tmp_path: Path) -> Run:
    """`run(playbook, *arguments, hosts={name: variables})`, before a service that nobody runs."""

    def start(
        playbook: str, *arguments: str, hosts: Mapping[str, Json] | None = None, token: str = "none"
    ) -> "subprocess.CompletedProcess[str]":
        inventory = tmp_path / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts or {"web1": {}}}}))
        return subprocess.run(
            [program("ansible-playbook"), f"openngt.guest_tools.{playbook}", "-i", str(inventory), *arguments],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(("OPENNGT_", "ANSIBLE_"))},
                "ANSIBLE_COLLECTIONS_PATH": str(collection),
                "ANSIBLE_HOME": str(tmp_path / "ansible"),
                "ANSIBLE_SHOW_CUSTOM_STATS": "true",
                "ANSIBLE_RETRIES": "0",
                "OPENNGT_ENDPOINT": "https://127.0.0.1:9",
                "OPENNGT_TOKEN": token,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return start


def test_a_misspelt_variable_is_refused_with_the_right_name_and_numbers_are_left(run: Run) -> None:
    done = run("refresh", "--check", "-e", "openngt_treshold_days=45", "-e", "guest_agent_wait_second=3")
    assert done.returncode == 2 and "Name the host's VM" not in done.stdout
    assert "openngt_treshold_days is no variable of a playbook or role" in done.stdout
    assert "openngt_threshold_days is meant, perhaps" in done.stdout
    assert "guest_agent_wait_seconds is meant, perhaps" in done.stdout
    assert re.search(r'"failures": \{\s*"INVALID_INPUT": 1\s*\}', done.stdout), done.stdout


def test_each_wrong_value_is_named_by_its_shape_and_by_the_hosts_that_have_it(run: Run) -> None:
    hosts: dict[str, Json] = {f"web{number}": {"openngt_via": "canary-f00d"} for number in range(5)}
    hosts["db1"] = {"openngt_vm": ["canary-f00d"], "openngt_metrics_of_ours": 1, "openngt_fail_on": "WARN"}
    done = run(
        "refresh", "-e", '{"openngt_max_in_flight": "canary-f00d", "openngt_health": {"counts": {}}}', hosts=hosts
    )
    assert done.returncode == 2 and "canary-f00d" not in done.stdout
    assert "openngt_max_in_flight is text; wanted is a whole number;" in done.stdout
    assert "openngt_via is text; wanted is one of auto, link, iso (web0, web1, web2 and 2 more)" in done.stdout
    assert "openngt_vm is a list of 1; wanted is text (db1) [INVALID_INPUT] remedy: correct" in done.stdout
    assert "openngt_metrics_of_ours" not in done.stdout and "openngt_fail_on" not in done.stdout


def test_what_is_missing_is_said_in_words_and_a_slip_in_the_inventory_is_a_warning(run: Run) -> None:
    done = run("backup", "-e", "openngt_hosts=all", hosts={"web1": {"openngt_backup_directry": "/srv"}})
    assert done.returncode == 2
    assert "openngt_backup_directory is missing: folder on the controller where backups go" in done.stdout
    assert "the inventory has openngt_backup_directry, which nothing reads" in done.stdout + done.stderr


def test_a_playbook_without_a_token_for_its_service_says_so_once_and_asks_nobody(run: Run) -> None:
    """As a job template is to which nobody has attached the credential."""
    done = run("preflight", token="", hosts={"web1": {}, "db1": {}})
    assert done.returncode == 2 and "Ask the service" not in done.stdout, done.stdout
    assert "openngt_token is not given and OPENNGT_TOKEN is not set; in AWX the template lacks" in done.stdout
    assert "openngt_endpoint is not given" not in done.stdout
    assert re.search(r'"failures": \{\s*"INVALID_INPUT": 2\s*\}', done.stdout), done.stdout
    done = run("preflight", token="", hosts={"web1": {}, "db1": {"openngt_token": "{{ 'canary' }}"}})
    assert "OPENNGT_TOKEN is not set; in AWX the template lacks the service's credential (web1)" in done.stdout
    done = run("refresh", "-e", "openngt_token=canary", token="")
    assert "ENDPOINT_UNREACHABLE" in done.stdout and "canary" not in done.stdout, done.stdout


def test_hosts_that_cannot_be_reached_leave_numbers_too(run: Run) -> None:
    hosts = {"web1": {"ansible_host": "127.0.0.1", "ansible_port": 9}, "db1": {"ansible_host": "{{ nothing }}"}}
    done = run("preflight", hosts=hosts)
    assert done.returncode == 2 and "[GUEST_UNREACHABLE] remedy:" in done.stdout, done.stdout
    assert re.search(r'"ENDPOINT_UNREACHABLE": 1,\s*"TASK_FAILED": 1', done.stdout), done.stdout
