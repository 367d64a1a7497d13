# SPDX-License-Identifier: GPL-3.0-or-later
"""Module `report`, run by ansible-core against the real service."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .conftest import Fleet

RunTasks = Callable[..., list[dict[str, Any]]]
REPORT = "openngt.guest_tools.report"


def test_check_mode_tells_what_a_run_does_and_a_second_run_does_nothing(
    fleet: Fleet, run_tasks: RunTasks, tmp_path: Path
) -> None:
    """Make, again, change, again, each first in check mode."""
    folder = tmp_path / "reports"
    folder.mkdir()
    vm = fleet.add_vm("=cmd", enrolled=True)
    paths = {form: str(folder / f"fleet.{form}") for form in ("json", "csv", "html")}

    def steps(given: dict[str, Any]) -> list[dict[str, Any]]:
        look = {"ansible.builtin.stat": {"path": given["csv"]}}
        made = [{REPORT: given, "check_mode": check} for check in (True, False, True, False)]
        predicted, look_1, real, look_2, again_predicted, look_3, again, look_4 = run_tasks(
            [task for one in made for task in (one, look)], diff=True, environment=fleet.environment
        )
        assert predicted["changed"] and real["changed"]
        assert not again_predicted["changed"] and not again["changed"]
        assert predicted["files"] == real["files"]
        seen = [look["stat"].get("mtime") for look in (look_1, look_2, look_3, look_4)]
        assert seen[0] != seen[1] == seen[2] == seen[3], "written once, by the real run"
        return [predicted, real]

    predicted, made = steps(paths)
    assert [one["reason"] for one in made["files"]] == ["missing"] * 3
    assert predicted["diff"][1] == made["diff"][1] and "'=cmd" in made["diff"][1]["after"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}
    report = json.loads((folder / "fleet.json").read_text())
    assert report["counts"] == made["counts"] and made["counts"]["vms"] == 1
    assert report["vms"][0]["vm_uuid"] == vm and report["vms"][0]["vm_name"] == "=cmd"
    with (folder / "fleet.csv").open(newline="") as stream:
        assert [row["vm_name"] for row in csv.DictReader(stream)] == ["'=cmd"]

    fleet.client.enable(vm, {"vss_snapshot": False})
    predicted, changed = steps({**paths, "mode": "0600"})
    assert [one["reason"] for one in changed["files"]] == ["content", "content", "mode"]
    assert changed["diff"][1]["before"].count("\n") == changed["diff"][1]["after"].count("\n") == 1
    assert changed["diff"][2]["after_header"].endswith("fleet.html (0600)") and not changed["diff"][2]["after"]
    assert predicted["diff"][1:] == changed["diff"][1:]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_without_a_file_it_tells_the_numbers(fleet: Fleet, run_tasks: RunTasks) -> None:
    fleet.add_vm("web1", enrolled=True)
    token = fleet.client.create_token("reporter", "viewer")["token"]
    try:
        [result] = run_tasks([{REPORT: {"token": token}}], environment=fleet.environment)
    finally:
        fleet.client.delete_token("reporter")
    assert not result["changed"] and result["files"] == []
    assert result["counts"]["links"] == {"serial": 0, "tls": 0, "inactive": 1, "off": 0}
    assert result["counts"]["agents"]["not_seen"] == 1


def test_bad_input_is_refused_by_code_and_leaves_nothing(fleet: Fleet, run_tasks: RunTasks, tmp_path: Path) -> None:
    here = str(tmp_path / "fleet.json")
    bad = [
        ({"json": here, "csv": here}, "INVALID_INPUT", "json"),
        ({"json": here, "html": str(tmp_path)}, "FILE_UNUSABLE", "is a folder"),
        ({"json": here, "csv": str(tmp_path / "no/fleet.csv")}, "FILE_UNUSABLE", "there is no folder"),
        ({"json": here, "mode": "u+rw"}, "INVALID_INPUT", "mode"),
        ({"json": here, "failure_days": 31}, "INVALID_INPUT", "failure_days"),
        ({"json": here, "endpoint": "https://127.0.0.1:1", "timeout": 1}, "ENDPOINT_UNREACHABLE", "127.0.0.1:1"),
        ({"json": here, "token": "ngt_wrong"}, "AUTHENTICATION_FAILED", "token"),
    ]
    results = run_tasks([{REPORT: options} for options, _, _ in bad], environment=fleet.environment)
    for result, (_, code, said) in zip(results, bad, strict=True):
        assert result["failed"] and result["code"] == code and said in result["msg"] and result["remedy"], result
    assert not Path(here).exists()


def test_a_mode_is_the_same_quoted_or_not(fleet: Fleet, run_tasks: RunTasks, tmp_path: Path) -> None:
    quoted, number = tmp_path / "quoted.csv", tmp_path / "number.csv"
    run_tasks(
        [{REPORT: {"csv": str(quoted), "mode": "0644"}}, {REPORT: {"csv": str(number), "mode": 0o644}}],
        environment=fleet.environment,
    )
    assert {path.stat().st_mode & 0o777 for path in (quoted, number)} == {0o644}
