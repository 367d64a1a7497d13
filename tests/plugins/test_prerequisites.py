# SPDX-License-Identifier: GPL-3.0-or-later
"""Module and action plugin `prerequisites`: this machine stands for a guest, with and without a Python."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openngt.install.support import FAMILIES

RunTasks = Callable[..., list[dict[str, Any]]]
PREREQUISITES = "openngt.guest_tools.prerequisites"


def on(python: Path | str, **arguments: Any) -> dict[str, Any]:
    """The task for a guest whose inventory names this interpreter."""
    return {PREREQUISITES: arguments, "vars": {"ansible_python_interpreter": str(python)}}


def test_all_findings_in_one_result_and_nothing_changed(run_tasks: RunTasks, tmp_path: Path) -> None:
    point = tmp_path / "not/there"
    [result, strict] = run_tasks(
        [
            on(sys.executable, fail=False, mount_point=str(point), endpoint_host="127.0.0.1", endpoint_port=9),
            on(sys.executable, minimum_free_mb=10**9),
        ]
    )
    assert not result["changed"] and not result["failed"]
    states = {finding["name"]: finding["state"] for finding in result["findings"]}
    assert states["python"] == "ok" and states["mount_point"] == "ok" and states["endpoint"] == "warning"
    assert result["met"] == ("failed" not in states.values())
    assert not point.exists()
    assert strict["code"] == "PREREQUISITES_NOT_MET"
    assert "free_space:/tmp" in strict["msg"] and "lower minimum_free_mb" in strict["msg"]
    assert strict["details"]["findings"]


def test_a_guest_without_python_fails_with_a_finding_and_not_with_a_traceback(run_tasks: RunTasks) -> None:
    [real, checked, tolerant] = run_tasks(
        [
            on("/nowhere/python3"),
            {**on("/nowhere/python3"), "check_mode": True},
            on("/nowhere/python3", fail=False),
        ]
    )
    assert real["code"] == "PREREQUISITES_NOT_MET"
    [finding] = real["details"]["findings"]
    assert (finding["name"], finding["state"]) == ("python", "failed")
    assert "linux_prerequisites_install: true" in finding["remedy"]
    for result in (checked, tolerant):
        assert not result["failed"] and not result["changed"]
        assert result["met"] is False and result["python"] is None


@pytest.fixture
def package_manager(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Every package manager of the table as a script; `install` brings the interpreter at the returned path."""
    programs, python = tmp_path / "bin", tmp_path / "guest/python3"
    programs.mkdir()
    python.parent.mkdir()
    script = (
        f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/log\ncase "$*" in *install*) ln -sf {sys.executable} {python};; esac\n'
    )
    for family in FAMILIES:
        (programs / family.manager).write_text(script)
        (programs / family.manager).chmod(0o755)
    return python, {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin"}


def test_python_is_installed_when_asked_for(
    run_tasks: RunTasks, package_manager: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    python, environment = package_manager
    task = on(python, install=True, fail=False)
    [foretold, installed, again] = run_tasks([{**task, "check_mode": True}, task, task], environment=environment)
    assert foretold["changed"] and foretold["installed"] == ["python"] and foretold["python"] is None
    assert installed["changed"] and installed["installed"] == ["python"]
    assert len(installed["findings"]) > 10, "the module ran with the new interpreter"
    assert not again["changed"] and again["installed"] == []
    log = (tmp_path / "log").read_text()
    assert log.count("python3") == 1, "installed once, and not in check mode"


def test_a_package_manager_that_fails_is_quoted(run_tasks: RunTasks, tmp_path: Path) -> None:
    for family in FAMILIES:
        program = tmp_path / family.manager
        program.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    [failed] = run_tasks([on("/nowhere/python3", install=True)], environment=environment)
    assert failed["code"] == "COMMAND_FAILED"
    assert "E: Unable to locate package" in failed["msg"]
    assert failed["details"]["rc"] == 100


def test_a_version_that_is_none_is_refused_by_name(run_tasks: RunTasks) -> None:
    [result] = run_tasks([on(sys.executable, minimum_python="three")])
    assert result["code"] == "INVALID_INPUT" and "minimum_python" in result["msg"]


def test_a_guest_that_does_not_answer_is_unreachable_by_code(run_tasks: RunTasks) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets the port meanwhile
        where = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": closed.getsockname()[1]}
        [result] = run_tasks([{PREREQUISITES: {}, "vars": where, "ignore_unreachable": True}])
    assert result["unreachable"] is True
    assert result["code"] == "GUEST_UNREACHABLE" and result["remedy"]
