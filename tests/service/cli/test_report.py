# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt report` against a running service."""

import csv
import io
import json
from pathlib import Path

import pytest
from tests.fakes.service import ServiceProcess


def test_files_are_written_once_and_stdout_is_a_file_as_well(service: ServiceProcess, tmp_path: Path) -> None:
    page, table = tmp_path / "fleet.html", tmp_path / "fleet.csv"
    command = ("report", "--json", "-", "--html", str(page), "--csv", str(table))
    first, again = service.cli(*command), service.cli(*command)
    assert (first.returncode, again.returncode) == (0, 0)
    assert f"{page}: written\n" in first.stderr and f"{page}: unchanged\n" in again.stderr
    report = json.loads(first.stdout)
    assert report["counts"]["vms"] == 2
    assert json.loads(again.stdout) | {"generated_at": ""} == report | {"generated_at": ""}
    assert [row["vm_name"] for row in csv.DictReader(io.StringIO(table.read_text()))] == ["'=HYPERLINK(1)", "web01"]
    assert "=HYPERLINK(1)" in page.read_text() and page.stat().st_mode & 0o777 == 0o640


def test_without_a_file_it_says_what_is_wrong(service: ServiceProcess) -> None:
    done = service.cli("report")
    assert done.returncode == 0
    assert done.stderr.startswith("2 VMs: 0 links active, 2 inactive, ")
    assert done.stdout.split("\n")[0].split() == ["State", "Cause", "Count", "Title", "Remedy"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--json", "-", "--csv", "-"], "INVALID_INPUT"),
        (["--json", "here", "--csv", "./here"], "INVALID_INPUT"),
        (["--json", "here", "--html", "."], "FILE_UNUSABLE"),
        (["--json", "here", "--html", "no/where"], "FILE_UNUSABLE"),
        (["--json", "here", "--mode", "rw"], "INVALID_INPUT"),
        (["--json", "here", "--failure-days", "0"], "INVALID_INPUT"),
    ],
)
def test_bad_input_leaves_nothing(
    service: ServiceProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = service.cli("report", *options)
    assert done.returncode == 1 and f"[{code}]" in done.stderr and "remedy: " in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_does_not_answer_leaves_the_last_report(
    service: ServiceProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fleet.json"
    path.write_text("the last one")
    done = service.cli("--endpoint", "https://127.0.0.1:1", "--timeout", "1", "report", "--json", str(path))
    assert done.returncode == 1 and "[ENDPOINT_UNREACHABLE]" in done.stderr
    assert path.read_text() == "the last one" and len(list(tmp_path.iterdir())) == 1
