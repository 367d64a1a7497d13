# SPDX-License-Identifier: GPL-3.0-or-later
"""What several rooms' tests share: the built collection, modules run by ansible-core, the failpoints in the source."""

import ast
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# No test judges a time: a machine that is busy with others does each example more slowly.
settings.register_profile("openngt", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("openngt")

ROOT = Path(__file__).resolve().parents[1]
ARTEFACTS = ROOT / "build/test-collections"
KEPT_SECONDS = 6 * 3600
# All that `ansible-galaxy collection build` takes up; see build_ignore in galaxy.yml.
COLLECTION_SOURCES = ("galaxy.yml", "README.md", "changelogs", "meta", "playbooks", "plugins", "roles")

Task = Mapping[str, Any]
RunTasks = Callable[..., list[dict[str, Any]]]
RunModule = Callable[..., dict[str, Any]]


def source_files() -> Iterator[Path]:
    for name in COLLECTION_SOURCES:
        top = ROOT / name
        yield from [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())


def source_digest() -> str:
    digest = hashlib.sha256()
    for path in source_files():
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_mode:o}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def checked(command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


def program(name: str) -> str:
    """A command of the environment that runs the tests, which need not be on PATH."""
    return str(Path(sys.executable).parent / name)


@pytest.fixture(scope="session")
def collection() -> Path:
    """A folder for ANSIBLE_COLLECTIONS_PATH with this tree as a user would install it, and what it depends on.

    Named by the digest of the sources, so that it is built again when they changed. One of earlier sources stays for a
    while: another session, or another worker of this one, may be at work with it.
    """
    # scripts/smoke has installed one, and hides the sources.
    if "OPENNGT_TEST_COLLECTIONS" in os.environ:
        return Path(os.environ["OPENNGT_TEST_COLLECTIONS"])
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    with (ARTEFACTS / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = ARTEFACTS / source_digest()
        if not ready.exists():
            work = ARTEFACTS / "unfinished"
            old = time.time() - KEPT_SECONDS
            for stale in (p for p in ARTEFACTS.iterdir() if p.is_dir() and (p == work or p.stat().st_mtime < old)):
                shutil.rmtree(stale)
            environment = {**os.environ, "ANSIBLE_HOME": str(work / "home"), "ANSIBLE_COLLECTIONS_PATH": str(work)}
            galaxy = [program("ansible-galaxy"), "collection"]
            checked([str(ROOT / "scripts/collections"), str(work)], environment)
            checked([*galaxy, "build", "--output-path", str(work)], environment)
            [tarball] = work.glob("*.tar.gz")
            checked([*galaxy, "install", "--offline", "-p", str(work), str(tarball)], environment)
            work.rename(ready)
    return ready


@pytest.fixture
def run_tasks(collection: Path, tmp_path: Path) -> RunTasks:
    """`run_tasks(tasks, check=False, diff=False, environment=None) -> results`, on localhost by one ansible-playbook.

    A task is what stands in a playbook; a failed one does not end the run. Results are what `register` sees, with diff.
    """

    def run(
        tasks: Sequence[Task],
        *,
        check: bool = False,
        diff: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        names = [f"result_{number}" for number in range(len(tasks))]
        answer = tmp_path / "results.json"
        answer.unlink(missing_ok=True)
        collect = {
            "ansible.builtin.copy": {"dest": str(answer), "content": "{{ [" + ", ".join(names) + "] | to_json }}"},
            "check_mode": False,
            "diff": False,
        }
        steps = [{"ignore_errors": True, **task, "register": name} for name, task in zip(names, tasks, strict=True)]
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [*steps, collect]}
        playbook = tmp_path / "playbook.json"
        playbook.write_text(json.dumps([play]))
        checked(
            [program("ansible-playbook"), *["--check"] * check, *["--diff"] * diff, str(playbook)],
            {
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(collection),
                "ANSIBLE_HOME": str(tmp_path / "ansible"),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_PIPELINING": "true",
                **(environment or {}),
            },
        )
        results: list[dict[str, Any]] = json.loads(answer.read_text())
        return results

    return run


@pytest.fixture
def run_module(run_tasks: RunTasks) -> RunModule:
    """`run_module(name, args, check=False, diff=False, environment=None) -> result`; a short name is one of ours."""

    def run(name: str, args: Mapping[str, Any], **how: Any) -> dict[str, Any]:
        full = name if "." in name else f"openngt.guest_tools.{name}"
        [result] = run_tasks([{full: dict(args)}], **how)
        return result

    return run


@pytest.fixture(scope="session")
def failpoints() -> Callable[[Path], set[str]]:
    """`failpoints(folder) -> names`: every failpoint that the Python files below a folder (or one file) hold.

    A name is a literal, and stands once: otherwise a kill case could not tell which step it covers.
    """

    def find(place: Path) -> set[str]:
        names: list[str] = []
        for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
                    [argument] = node.args
                    assert isinstance(argument, ast.Constant), f"{path}:{node.lineno}: the name must be a literal"
                    names.append(argument.value)
        assert len(names) == len(set(names)), f"a failpoint's name stands twice in {place}"
        return set(names)

    return find
