# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example of the pages is held to the programs: a name, option or variable that does not exist fails here.

test_run.py and tests/e2e/test_pages.py run them. Here is what can be said without a guest of those that take one, and
of what a run would not look at, such as a variable that nobody reads.
"""

import functools
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from openngt.agent import arguments, install_ngt, linux_commands
from openngt_service.cli.main import app
from openngt_service.config import ENVIRONMENT_PREFIX, Settings

from ..conftest import program
from .examples import PAGES, ROOT, Block, Command, blocks, commands, tasks_of

BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [command for block in BLOCKS if block.language == "console" for command in commands(block)]
YAML = [block for block in BLOCKS if block.language == "yaml"]
# The other mappings are files that a page's command reads, so that running the page tries them.
INVENTORIES = [block for block in YAML if "plugin" in yaml.safe_load(block.text)]
PLAYS = [block for block in YAML if isinstance(yaml.safe_load(block.text), list)]

JUDGED = {"console", "yaml", "ini", "toml", "python"}
# A drawing, and what the site's own test builds.
EXEMPT = {"text", "{toctree}"}
TASK_KEYWORDS = {
    "name", "become", "check_mode", "delegate_to", "failed_when", "ignore_errors", "loop", "module_defaults", "notify",
    "register", "retries", "run_once", "until", "vars", "when", "no_log", "changed_when",
}  # fmt: skip
ROLE_KEYWORDS = {"role", "vars", "become", "when", "tags"}
SERVICE_GROUP = "group/openngt.guest_tools.service"


def those_of(name: str) -> list[Any]:
    return [pytest.param(command, id=command.where) for command in COMMANDS if command.program == name]


def ansible(collection: Path, home: Path, *words: str | Path) -> str:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "OPENNGT_"))}
    done = subprocess.run(
        [program(str(words[0])), *words[1:]],
        env={**inherited, "ANSIBLE_COLLECTIONS_PATH": str(collection), "ANSIBLE_HOME": str(home / "ansible")},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def documentation(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What `ansible-doc` says of each of our modules and of those that the examples use, by full name."""
    ours = [f"openngt.guest_tools.{path.stem}" for path in sorted((ROOT / "plugins/modules").glob("*.py"))]
    others = {name for block in PLAYS for task in tasks_of(block.text) for name in task if name.startswith("ansible.")}
    text = ansible(collection, tmp_path_factory.mktemp("doc"), "ansible-doc", "--json", *ours, *sorted(others))
    found: Mapping[str, Any] = json.loads(text)
    assert set(found) == {*ours, *others}
    return found


@functools.cache
def role_variables() -> Mapping[str, Any]:
    """Every role's variables with their specifications: roles of this collection read each other's."""
    found: dict[str, Any] = {}
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        found.update(yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"])
    return found


@functools.cache
def playbook_variables() -> set[str]:
    paths = ROOT.glob("playbooks/vars/*.yml")
    return {
        name
        for path in paths
        for name in yaml.safe_load(path.read_text(encoding="utf-8"))["openngt_playbook"]["options"]
    }


def problems(options: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """What the specification has against the arguments; of a templated value only the name is judged."""
    templated = {name for name, value in given.items() if "{{" in str(value)}

    def spec(option: Mapping[str, Any], name: str) -> dict[str, Any]:
        if name in templated:
            return {"type": "raw"}
        kept = {key: option[key] for key in ("type", "elements", "choices", "required", "aliases") if key in option}
        if "E(OPENNGT_" in str(option["description"]):
            kept.pop("required", None)  # the environment, or the defaults of the action group, may give it
        inner = option.get("suboptions") or option.get("options")
        return {**kept, **({"options": {key: spec(value, "") for key, value in inner.items()}} if inner else {})}

    validator = ArgumentSpecValidator({name: spec(option, name) for name, option in options.items()})
    errors: list[str] = validator.validate(dict(given)).error_messages
    return errors


def task_problems(documentation: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    [module] = set(task) - TASK_KEYWORDS
    return problems(documentation[module]["doc"]["options"], task[module] or {})


# -- What every block must be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.where)
def test_a_block_has_a_language_that_is_judged_or_exempt_by_name(block: Block) -> None:
    assert block.language in JUDGED | EXEMPT


def test_a_console_block_has_commands() -> None:
    assert [block.where for block in BLOCKS if block.language == "console" and not [*commands(block)]] == []


# -- Programs -------------------------------------------------------------------------------------------------------


def harmless(command: Any) -> Any:
    """The command line with its real parameters, and nothing behind them."""
    command.callback = lambda **_: None
    for inner in getattr(command, "commands", {}).values():
        harmless(inner)
    return command


@pytest.mark.parametrize("command", those_of("openngt"))
def test_the_command_line_takes_the_example(command: Command) -> None:
    harmless(typer.main.get_command(app)).main(list(command.words[1:]), prog_name="openngt", standalone_mode=False)


def test_the_command_line_refuses_what_it_does_not_have() -> None:
    with pytest.raises(Exception, match=r"no-such-option|No such option"):
        harmless(typer.main.get_command(app)).main(["vm", "list", "--no-such-option"], standalone_mode=False)


@pytest.mark.parametrize("command", those_of("export"))
def test_an_exported_variable_is_one_that_somebody_reads(command: Command) -> None:
    settings = {f"{ENVIRONMENT_PREFIX}{name}".upper() for name in Settings.model_fields}
    modules = set(re.findall(r"OPENNGT_\w+", (ROOT / "plugins/doc_fragments/service.py").read_text(encoding="utf-8")))
    assert set(command.environment) <= {"PATH", *settings, *modules}


@pytest.mark.parametrize("command", those_of("make"))
def test_make_has_the_target_and_the_variable(command: Command) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in command.words[1:]:
        name, equals, _value = word.partition("=")
        assert re.search(rf"\$\((if \$\()?{name}\)" if equals else rf"^{name}:", makefile, re.M), word


@pytest.mark.parametrize("command", those_of("python3"))
def test_the_installer_takes_the_example(command: Command) -> None:
    script, *options = command.words[1:]
    assert script.endswith("/installer/linux/install_ngt.py")
    install_ngt.parser().parse_args(options)


@pytest.mark.parametrize("command", those_of("ngtcli"))
def test_the_agents_own_command_takes_the_example(command: Command) -> None:
    arguments.parser(linux_commands.PACKAGE_OPERATIONS).parse_args(command.words[1:])


@pytest.mark.parametrize("command", those_of("ansible-galaxy"))
def test_the_tarball_that_is_installed_is_the_one_that_is_built(command: Command) -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    assert command.words[1:] == ["collection", "install", f"build/dist/{galaxy['namespace']}-{galaxy['name']}-*.tar.gz"]


def test_ansible_takes_the_playbooks_of_the_commands(collection: Path, tmp_path: Path) -> None:
    for block in PLAYS:
        if block.file_name:
            (tmp_path / block.file_name).write_text(block.text)
    given = {command.words[1] for command in COMMANDS if command.program == "ansible-playbook"}
    assert len(given) > 3
    ansible(collection, tmp_path, "ansible-playbook", "--syntax-check", *sorted(given))


@pytest.mark.parametrize("command", those_of("ansible-playbook"))
def test_a_variable_that_a_command_gives_is_one_that_a_playbook_reads(command: Command) -> None:
    given = [value for option, value in zip(command.words, command.words[1:], strict=False) if option == "-e"]
    assert {value.partition("=")[0] for value in given} <= {*role_variables(), *playbook_variables()}


# -- Playbooks ------------------------------------------------------------------------------------------------------


def as_playbook(block: Block) -> str:
    entries = yaml.safe_load(block.text)
    if all("hosts" in entry for entry in entries):
        return block.text
    return json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": entries}])


def test_playbooks_and_tasks_are_ones_that_ansible_reads(collection: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.yml" for number, _ in enumerate(PLAYS)]
    for file, block in zip(files, PLAYS, strict=True):
        file.write_text(as_playbook(block), encoding="utf-8")
    ansible(collection, tmp_path, "ansible-playbook", "--syntax-check", *files)


@pytest.mark.parametrize("block", PLAYS, ids=lambda block: block.where)
def test_tasks_give_arguments_that_their_modules_take(block: Block, documentation: Mapping[str, Any]) -> None:
    for task in tasks_of(block.text):
        assert task_problems(documentation, task) == [], task["name"]


def given_to_roles(entries: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for play in entries:
        for role in play.get("roles", []):
            own = {name: value for name, value in role.items() if name not in ROLE_KEYWORDS}
            yield {**own, **role.get("vars", {})}


@pytest.mark.parametrize("block", PLAYS, ids=lambda block: block.where)
def test_roles_are_given_variables_that_they_have(block: Block) -> None:
    for given in given_to_roles(yaml.safe_load(block.text)):
        assert problems(role_variables(), given) == []


@pytest.mark.parametrize("block", PLAYS, ids=lambda block: block.where)
def test_defaults_of_the_action_group_are_options_of_its_modules(
    block: Block, documentation: Mapping[str, Any]
) -> None:
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))
    members = [name for name in runtime["action_groups"]["service"] if isinstance(name, str)]
    for play in yaml.safe_load(block.text):
        for name in play.get("module_defaults", {}).get(SERVICE_GROUP, {}):
            assert all(name in documentation[f"openngt.guest_tools.{one}"]["doc"]["options"] for one in members), name


def test_an_inventory_gives_options_that_its_plugin_takes(collection: Path, tmp_path: Path) -> None:
    text = ansible(collection, tmp_path, "ansible-doc", "-t", "inventory", "--json", "openngt.guest_tools.vms")
    options = json.loads(text)["openngt.guest_tools.vms"]["doc"]["options"]
    assert len(INVENTORIES) > 1
    for block in INVENTORIES:
        given = yaml.safe_load(block.text)
        assert problems({**options, "endpoint": {"description": ""}, "token": {"description": ""}}, given) == []


MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_give_arguments_that_it_takes(name: str, documentation: Mapping[str, Any]) -> None:
    tasks = [*tasks_of(documentation[f"openngt.guest_tools.{name}"]["examples"])]
    assert any(f"openngt.guest_tools.{name}" in task for task in tasks)
    ours = [task for task in tasks if any(key in documentation for key in task)]
    assert [found for task in ours for found in task_problems(documentation, task)] == []


def test_a_wrong_argument_is_found(documentation: Mapping[str, Any]) -> None:
    assert task_problems(documentation, {"openngt.guest_tools.vm": {"vm": "web1", "sate": "absent"}}) != []
    assert task_problems(documentation, {"openngt.guest_tools.vm": {"vm": "web1", "state": "gone"}}) != []
    assert problems(role_variables(), {"guest_agent_wait": 1}) != []
