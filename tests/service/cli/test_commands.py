# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands against a running service: tables, JSON, CSV, exit statuses, and what goes to which stream."""

import csv
import io
import json
from pathlib import Path

import pytest
from tests.fakes.service import ServiceProcess

from openngt.pki.inspect import inspect_certificate
from openngt.version import __version__
from openngt_service.cli.output import neutral

VM = "6f2b1a9c-0d3e-4f5a-8b7c-1234567890ab"
TITLES = [
    "VM Id",
    "VM Name",
    "NGT Enabled",
    "Tools ISO Mounted",
    "Vss Snapshot",
    "Self Service Restore",
    "Communication Link Active",
    "Transport",
    "Agent Version",
    "Certificate Expires",
]


def test_vm_list_has_the_columns_that_people_know(service: ServiceProcess) -> None:
    lines = service.cli("vm", "list").stdout.splitlines()
    assert lines[0].split("  ")[0] == "VM Id"
    assert all(title in lines[0] for title in TITLES)
    [row] = [line for line in lines if VM in line]
    assert "web01" in row


def test_json_is_what_the_api_says(service: ServiceProcess) -> None:
    assert json.loads(service.cli("vm", "list", "--output", "json").stdout) == service.client().vms()
    assert json.loads(service.cli("vm", "show", "web01", "-o", "json").stdout) == service.client().vm(VM)


def test_csv_is_safe_to_open_in_a_spreadsheet(service: ServiceProcess) -> None:
    rows = list(csv.DictReader(io.StringIO(service.cli("vm", "list", "--output", "csv").stdout)))
    assert list(rows[0]) == TITLES
    assert [row["VM Name"] for row in rows] == ["'=HYPERLINK(1)", "web01"]
    assert [row["Vss Snapshot"] for row in rows] == ["false", "true"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_that_could_be_a_formula_is_neutralised(text: str) -> None:
    assert neutral(text) == "'" + text


@pytest.mark.parametrize("value", ["web01", "a=b", "", None, -5, True, {"a": 1}])
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert not neutral(value).startswith("'")


def test_one_vm_is_shown_line_by_line(service: ServiceProcess) -> None:
    lines = dict(
        line.split(" : ", 1) if " : " in line else (line.rstrip(" :"), "")
        for line in service.cli("vm", "show", "web01").stdout.splitlines()
    )
    shown = {name.strip(): value for name, value in lines.items()}
    assert shown["VM Id"] == VM
    assert shown["Communication Type"] == "kFallbackToIP"
    assert shown["Serial Port"] == "needs a full stop and start"


def test_a_failure_is_two_lines_on_stderr_and_exit_status_1(service: ServiceProcess) -> None:
    done = service.command("vm", "show", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: VM nobody has no guest tools enabled [NOT_ENROLLED]",
        "remedy: enrol it first: module openngt.guest_tools.vm, or openngt vm enable",
    ]


@pytest.mark.parametrize("arguments", [["vm"], ["vm", "enable"], ["vm", "list", "--output", "xml"], ["nonsense"]])
def test_a_wrong_command_line_is_exit_status_2(service: ServiceProcess, arguments: list[str]) -> None:
    done = service.cli(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_version(service: ServiceProcess) -> None:
    assert service.command("--version").stdout == f"openngt {__version__}\n"


def test_mounting_waits_and_tells_its_steps_on_stderr(service: ServiceProcess) -> None:
    done = service.cli("vm", "mount", "web01", "--config-only", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["drive"] == "cd0"
    assert "100 %" in done.stderr
    assert json.loads(service.cli("vm", "show", VM, "-o", "json").stdout)["tools_iso_mounted"] is True
    refused = service.cli("vm", "eject", "web01", "--holder", "somebody else")
    assert refused.returncode == 1
    assert "[VM_BUSY]" in refused.stderr
    ejected = service.cli("vm", "eject", "web01", "--output", "json")
    assert json.loads(ejected.stdout)["result"] == {"ejected": True}
    tasks = json.loads(service.cli("task", "list", "--vm", "web01", "-o", "json").stdout)
    assert [task["kind"] for task in tasks][-1] == "mount"
    shown = service.cli("task", "show", tasks[-1]["task_id"])
    assert "succeeded" in shown.stdout


def test_without_waiting_the_task_is_returned_at_once(service: ServiceProcess) -> None:
    done = service.cli("vm", "eject", "web01", "--no-wait", "--output", "json")
    task = json.loads(done.stdout)
    assert service.client().wait_task(task, 30)["result"] == {"ejected": False}


def test_endpoint_token_and_ca_come_from_the_environment_of_the_modules(
    service: ServiceProcess, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    assert service.cli("ca", "export", str(ca_file)).returncode == 0
    environment = {
        "OPENNGT_ENDPOINT": service.endpoint,
        "OPENNGT_TOKEN": service.token,
        "OPENNGT_CA_FILE": str(ca_file),
        "OPENNGT_STATE_DIR": "",
    }
    assert VM in service.cli("vm", "list", **environment).stdout
    wrong = service.cli("vm", "list", **{**environment, "OPENNGT_TOKEN": "no-such-token"})
    assert (wrong.returncode, "[AUTHENTICATION_FAILED]" in wrong.stderr) == (1, True)
    assert "no-such-token" not in wrong.stderr
    missing = service.cli("vm", "list", **{**environment, "OPENNGT_ENDPOINT": ""})
    assert "endpoint is not set" in missing.stderr


def test_a_service_of_another_ca_is_not_trusted(service: ServiceProcess, tmp_path: Path) -> None:
    made = service.cli("ca", "create", "--path", str(tmp_path / "other"))
    assert made.returncode == 0, made.stderr
    done = service.cli("--ca-file", str(tmp_path / "other/ca.pem"), "vm", "list")
    assert done.returncode == 1
    assert "[TLS_NOT_TRUSTED]" in done.stderr
    assert str(tmp_path / "other/ca.pem") in done.stderr


def test_ca_create_is_repeatable_and_show_agrees(service: ServiceProcess, tmp_path: Path) -> None:
    folder = str(tmp_path / "ca")
    made = json.loads(service.cli("ca", "create", "--path", folder, "-o", "json").stdout)
    again = service.cli("ca", "create", "--path", folder, "-o", "json")
    assert json.loads(again.stdout)["ca_sha256"] == made["ca_sha256"]
    assert "exists" in again.stderr
    shown = json.loads(service.cli("ca", "show", "--path", folder, "-o", "json").stdout)
    assert shown["ca_sha256"] == made["ca_sha256"] == inspect_certificate((tmp_path / "ca/ca.pem").read_bytes()).sha256


def test_ca_show_asks_the_service(service: ServiceProcess) -> None:
    ca = service.client().ca()
    assert ca["ca_sha256"] in service.cli("ca", "show").stdout
    assert service.cli("ca", "export").stdout == ca["ca_pem"]


def test_a_token_can_be_made_into_a_file_and_deleted(service: ServiceProcess, tmp_path: Path) -> None:
    file = tmp_path / "ci.token"
    done = service.cli("token", "create", "ci", "--role", "viewer", "--file", str(file))
    secret = file.read_text().strip()
    assert done.returncode == 0, done.stderr
    assert secret not in done.stdout + done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert VM in service.cli("--token-file", str(file), "vm", "list").stdout
    assert "ci" in service.cli("token", "list").stdout
    assert service.cli("token", "delete", "ci").returncode == 0
    assert "[AUTHENTICATION_FAILED]" in service.cli("--token-file", str(file), "vm", "list").stderr


def test_the_health_report_reads_as_the_original(service: ServiceProcess) -> None:
    done = service.cli("health", "run", "ngt_link_check")
    assert "Detailed information for ngt_link_check:" in done.stdout
    assert "VM: web01 - NGT is enabled, but no agent has connected yet" in done.stdout
    assert {check["name"] for check in json.loads(service.cli("health", "-o", "json").stdout)} >= {"ngt_iso_check"}
    assert "[INVALID_INPUT]" in service.cli("health", "run", "nonsense").stderr


def test_an_export_of_the_audit_log_verifies_and_a_changed_one_names_the_row(
    service: ServiceProcess, tmp_path: Path
) -> None:
    export = tmp_path / "audit.jsonl"
    export.write_text(service.cli("audit", "export").stdout)
    rows = export.read_text().splitlines()
    assert service.cli("audit", "verify", str(export)).stdout == f"{len(rows)} rows, chain whole\n"
    assert "chain whole" in service.cli("audit", "verify").stdout
    changed = json.loads(rows[1])
    changed["actor"] = "somebody else"
    cases = {
        "row 2 was altered": [rows[0], json.dumps(changed), *rows[2:]],
        "row 2 is missing": [rows[0], *rows[2:]],
        "row 1 is missing": [rows[1], rows[0], *rows[2:]],
    }
    for expected, lines in cases.items():
        export.write_text("\n".join(lines) + "\n")
        done = service.cli("audit", "verify", str(export))
        assert done.returncode == 1
        assert f"{expected} [AUDIT_BROKEN]" in done.stderr
