# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands against a running service: tables, JSON, CSV, exit statuses, and what goes to which stream."""

import csv
import http.client
import io
import json
import ssl
import uuid
from pathlib import Path

import pytest
from tests.fakes.service import ServiceProcess

from openngt.cells import neutral
from openngt.pki.inspect import inspect_certificate
from openngt.powering import FALLBACKS, VERBS
from openngt.version import __version__
from openngt_service.cli.power import Fallback, Verb

VM = "6f2b1a9c-0d3e-4f5a-8b7c-1234567890ab"
OTHER = "7f2b1a9c-0d3e-4f5a-8b7c-1234567890ab"
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


def test_a_name_that_nobody_has_is_told_and_not_left_out(service: ServiceProcess) -> None:
    done = service.cli("vm", "list", "web01", "nosuch", VM.upper())
    assert (done.returncode, VM in done.stdout) == (1, True)
    assert "error: no guest tools are enabled for nosuch [NOT_ENROLLED]\n" in done.stderr
    # A condition that it does not meet leaves out one that is there.
    assert service.cli("vm", "list", "web01", "--filter", "link=active").returncode == 0
    history = service.cli("health", "history", "web01", "nosuch")
    assert (history.returncode, "web01" in history.stdout, "for nosuch" in history.stderr) == (1, True, True)
    empty = service.cli("vm", "show", "")
    assert (empty.returncode, empty.stderr.splitlines()[0]) == (1, "error: a name or id is empty [INVALID_INPUT]")


def test_a_task_is_shown_by_its_id_in_either_form(service: ServiceProcess) -> None:
    task = service.client().run_health()
    hyphenated = str(uuid.UUID(task["task_id"]))
    assert json.loads(service.cli("task", "show", hyphenated, "-o", "json").stdout)["task_id"] == task["task_id"]
    wrong = service.cli("task", "show", "the last one")
    assert "task_id: give an id as the service has shown it [INVALID_INPUT]" in wrong.stderr


def test_vm_list_filters_and_sorts_and_names_what_it_cannot(service: ServiceProcess) -> None:
    def names(*arguments: str) -> list[str]:
        return [vm["vm_name"] for vm in json.loads(service.cli("vm", "list", "-o", "json", *arguments).stdout)]

    assert names("--sort", "-vm_name") == ["web01", "=HYPERLINK(1)"]
    assert names("--filter", "vss_snapshot=true", "--filter", "link=inactive") == ["web01"]
    assert names("--filter", "days_left<=45") == []
    bad = service.cli("vm", "list", "--filter", "expiry=soon")
    assert (bad.returncode, bad.stdout) == (1, "")
    assert "error: filter expiry: give PASS, INFO, WARN, FAIL, or none [INVALID_INPUT]" in bad.stderr
    assert "there are vm_name, vm_uuid" in service.cli("vm", "list", "--sort", "colour").stderr


def test_a_diagnosis_is_cause_and_remedy_in_one_line_with_the_evidence_under_it(service: ServiceProcess) -> None:
    first, *rest = service.cli("vm", "diagnose", "web01").stdout.splitlines()
    assert first.startswith("web01: AGENT_NOT_INSTALLED: ") and "; remedy: run the playbook" in first
    assert all(line.startswith("  ") for line in rest)
    assert any("not made: " in line and "agent_running" in line and "the guest was not asked" in line for line in rest)
    assert json.loads(service.cli("vm", "diagnose", VM, "-o", "json").stdout)["service_saw"]["vm_uuid"] == VM
    [row] = csv.DictReader(io.StringIO(service.cli("vm", "diagnose", VM, "-o", "csv").stdout))
    assert (row["Cause"], row["Communication Link Active"]) == ("AGENT_NOT_INSTALLED", "false")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_a_cell_that_could_be_a_formula_is_neutralised(text: str) -> None:
    assert neutral(text) == "'" + text


def test_a_return_before_a_formula_begins_no_row_either() -> None:
    assert neutral("\r=1") == "'\\r=1"


@pytest.mark.parametrize("value", ["web01", "a=b", "", None, -5, True, {"a": 1}])
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert not neutral(value).startswith("'")


def test_the_api_gives_a_list_as_csv_page_by_page(service: ServiceProcess) -> None:
    status, headers, body = raw_get(service, "/v1/vms?format=csv&limit=1&sort=-vm_name")
    assert status == 200 and headers["content-type"].startswith("text/csv")
    [row] = csv.DictReader(io.StringIO(body.decode()))
    assert (row["vm_name"], row["vm_uuid"], row["link"], row["days_left"]) == ("web01", VM, "inactive", "")
    token = headers["x-next-page-token"]
    status, headers, body = raw_get(service, f"/v1/vms?format=csv&limit=1&sort=-vm_name&page_token={token}")
    assert body.decode().splitlines()[1].startswith("'=HYPERLINK(1),") and "x-next-page-token" not in headers


def raw_get(service: ServiceProcess, path: str) -> tuple[int, dict[str, str], bytes]:
    context = ssl.create_default_context(cafile=service.ca_file)
    connection = http.client.HTTPSConnection(service.endpoint.removeprefix("https://"), context=context, timeout=20)
    connection.request("GET", path, headers={"Authorization": f"Bearer {service.token}"})
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    connection.close()
    return found


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


def test_power_switches_many_vms_and_tells_each_outcome(own_service: ServiceProcess) -> None:
    assert (tuple(Verb), tuple(Fallback)) == (VERBS, FALLBACKS)
    own_service.start()
    hypervisor = own_service.hypervisor
    done = own_service.cli("vm", "power", "off", "web01", OTHER, "--output", "csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["web01,changed,on,off,", f"{OTHER},changed,on,off,"]
    assert "web01: 100 %  done" in done.stderr
    again = own_service.cli("vm", "power", "off", "web01")
    assert "unchanged" in again.stdout
    hypervisor.guest(OTHER, ignores_acpi=True)
    assert own_service.cli("vm", "power", "on", "web01", OTHER).returncode == 0
    mixed = own_service.cli("vm", "power", "shutdown", "web01", OTHER, "nobody", "--wait-seconds", "1", "-o", "csv")
    assert mixed.returncode == 1
    rows = ["web01,changed,on,off,acpi", f"{OTHER},ACPI_IGNORED,,,", "nobody,VM_NOT_FOUND,,,"]
    assert mixed.stdout.splitlines()[1:] == rows
    assert "2 of 3 VMs were not switched" in mixed.stderr
    foretold = own_service.cli("vm", "power", "off", OTHER, "--check", "-o", "json")
    [row] = json.loads(foretold.stdout)
    assert (row["state"], row["changed"]) == ("due", True)
    forced = own_service.cli("vm", "power", "shutdown", OTHER, "--fallback", "off", "--wait-seconds", "1", "-o", "json")
    assert json.loads(forced.stdout)[0]["stopped_by"] == "off"
    later = own_service.cli("vm", "power", "on", OTHER, "--no-wait", "-o", "csv")
    [row] = later.stdout.splitlines()[1:]
    assert row.startswith(f"{OTHER},")
    shown = own_service.cli(*later.stderr.split("openngt ")[1].split(), "--wait", "-o", "csv")
    assert shown.stdout.splitlines()[1:] == [f"{OTHER},changed,off,on,"]


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
    assert done.returncode == 0, "INFO is no warning"
    assert "100 %" in done.stderr
    assert "Detailed information for ngt_link_check:" in done.stdout
    assert "VM: web01 - NGT is enabled, but no agent has connected yet" in done.stdout
    assert {check["name"] for check in json.loads(service.cli("health", "-o", "json").stdout)} >= {"ngt_iso_check"}
    assert "[INVALID_INPUT]" in service.cli("health", "run", "nonsense").stderr


def test_the_exit_status_of_health_is_that_of_a_monitoring_plugin(service: ServiceProcess) -> None:
    def statuses() -> set[int]:
        return {service.cli("health").returncode, service.cli("health", "run", "ngt_disk_space_check").returncode}

    def limits(*values: str) -> None:
        chosen = [part for value in values for part in ("--threshold", value)]
        done = service.cli("health", "set", "ngt_disk_space_check", *chosen)
        assert done.returncode == 0, done.stderr

    assert statuses() == {0}
    limits("warn_mb=999999999")
    assert statuses() == {1}
    limits("fail_mb=999999998")
    assert statuses() == {2}
    [alert] = json.loads(service.cli("health", "alerts", "-o", "json").stdout)
    assert (alert["check"], alert["severity"], alert["state"]) == ("ngt_disk_space_check", "FAIL", "raised")
    shown = service.cli("health", "acknowledge", alert["alert_id"], "--note", "a bigger disk comes")
    assert "acknowledged" in shown.stdout and "a bigger disk comes" in shown.stdout
    assert service.cli("health", "set", "ngt_disk_space_check", "--off").returncode == 0
    assert statuses() == {0} and "OFF" in service.cli("health").stdout
    assert service.cli("health", "alerts", "--state", "raised", "-o", "json").stdout == "[]\n"
    limits("warn_mb=default", "fail_mb=default")
    service.cli("health", "set", "ngt_disk_space_check", "--on")
    assert statuses() == {0}
    unreachable = service.cli("--endpoint", "https://127.0.0.1:1", "health")
    assert unreachable.returncode == 3 and "[ENDPOINT_UNREACHABLE]" in unreachable.stderr
    assert service.cli("health", "run", "nonsense").returncode == 3


def test_a_policy_that_cannot_be_names_the_threshold(service: ServiceProcess) -> None:
    bad = service.cli("health", "set", "ngt_client_cert_expiry_check", "--threshold", "warn_days=100")
    assert bad.returncode == 1
    assert "thresholds.warn_days: it must be less than info_days (90) [INVALID_INPUT]" in bad.stderr
    assert service.cli("health", "set", "ngt_link_check", "--threshold", "warn_minutes").returncode == 2
    assert "[NOT_FOUND]" in service.cli("health", "set", "nonsense", "--off").stderr
    assert "alert_from" in service.cli("health", "set", "ngt_link_check", "--alert-from", "LOUD").stderr


def test_the_checks_describe_themselves(service: ServiceProcess) -> None:
    assert "ngt_duplicate_identity_check" in service.cli("health", "checks").stdout
    text = service.cli("health", "show", "ngt_client_cert_expiry_check").stdout
    assert "A600103" in text and "Causes" in text and "Resolutions" in text
    assert "warn_days = 45  (default 45, 1 to 3650)" in text


def test_a_report_is_had_as_text_and_json(service: ServiceProcess) -> None:
    service.cli("health", "run", "ngt_link_check")
    tasks = json.loads(service.cli("task", "list", "-o", "json").stdout)
    run = next(task for task in tasks if task["kind"] == "health")
    text = service.cli("health", "report", "--task", run["task_id"]).stdout
    assert "/health_checks/ngt_checks/ngt_link_check" in text and "ngt_iso_check" not in text
    report = json.loads(service.cli("health", "report", "-o", "json").stdout)
    assert {check["name"] for check in report["checks"]} >= {"ngt_link_check", "ngt_iso_check"}


def test_the_history_has_a_cell_for_each_vm_and_day(service: ServiceProcess) -> None:
    service.cli("health", "run")
    answer = json.loads(service.cli("health", "history", "--days", "2", "-o", "json").stdout)
    rows = {row["vm_name"]: row["days"] for row in answer["items"]}
    assert rows["web01"] == [None, "INFO"] and len(answer["days"]) == 2
    table = service.cli("health", "history", "web01", "--check", "ngt_iso_check").stdout
    assert table.splitlines()[0].split()[-1] == answer["days"][-1]
    assert table.splitlines()[1].split()[-1] == "PASS"
    lines = list(csv.DictReader(io.StringIO(service.cli("health", "history", "--days", "1", "-o", "csv").stdout)))
    assert {line["VM Name"] for line in lines} == {"web01", "'=HYPERLINK(1)"}


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
