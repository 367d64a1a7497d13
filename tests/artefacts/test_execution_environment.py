# SPDX-License-Identifier: GPL-3.0-or-later
"""An execution environment has all that a plugin imports, by what ansible-builder reads from the collection."""

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..conftest import ROOT, program

OURS = {"ansible", "ansible_collections"}
# Asked for by a login with Kerberos alone; built from source, against libraries that not every image has.
OPTIONAL = {"kerberos"}


def requirements(path: Path) -> dict[str, Requirement]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(one.name): one for one in map(Requirement, lines)}


def imported() -> set[str]:
    """Top names of what the collection's Python files import and neither bring nor find in the standard library."""
    names: set[str] = set()
    for path in (ROOT / "plugins").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(str(node.module).partition(".")[0])
    return names - OURS - OPTIONAL - set(sys.stdlib_module_names)


def with_their_needs(names: Iterable[str]) -> set[str]:
    found, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            needs = [Requirement(line) for line in importlib.metadata.requires(name) or []]
            waiting += [canonicalize_name(one.name) for one in needs if one.marker is None or one.marker.evaluate()]
    return found


def test_every_import_of_a_plugin_is_required() -> None:
    required = requirements(ROOT / "meta/ee-requirements.txt")
    brought = with_their_needs(required)
    by_module = importlib.metadata.packages_distributions()
    assert {name for name in imported() if not {canonicalize_name(one) for one in by_module[name]} & brought} == set()


def test_what_is_required_is_what_the_package_requires() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    bounds = {canonicalize_name(one.name): str(one.specifier) for one in map(Requirement, project)}
    required = requirements(ROOT / "meta/ee-requirements.txt")
    assert {name: str(one.specifier) for name, one in required.items()}.items() <= bounds.items()


@pytest.mark.slow
def test_ansible_builder_finds_it_in_the_installed_collection(collection: Path) -> None:
    command = [program("ansible-builder"), "introspect", "--sanitize", str(collection)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(done.stdout)
    python = {canonicalize_name(Requirement(line.partition(" #")[0]).name) for line in found["python"]}
    # It leaves out what every image has with Ansible.
    assert set(requirements(ROOT / "meta/ee-requirements.txt")) <= python | {"pyyaml"}
    system = {line.split()[0] for line in found["system"]}
    assert {"openssh-clients", "sshpass"} <= system


@pytest.mark.slow
def test_the_example_makes_a_build_context(tmp_path: Path) -> None:
    example = ROOT / "execution-environment/execution-environment.yml"
    command = [program("ansible-builder"), "create", "-f", str(example), "-c", str(tmp_path / "context")]
    done = subprocess.run([*command, "--output-filename", "Containerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    galaxy = yaml.safe_load((tmp_path / "context/_build/requirements.yml").read_text())
    assert galaxy == {"collections": [{"name": "openngt.guest_tools"}]}
    assert "ansible-runner>=2.4" in (tmp_path / "context/Containerfile").read_text()
