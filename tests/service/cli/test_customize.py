# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt customize`: without a service by itself, else what it asks of one and what it tells of the answers."""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from tests.fakes.customizations import PLAN, ROW, SAME, TASK, ok
from tests.fakes.prepared_service import TOKEN, PreparedService, make_certificates

from ...conftest import program

SECRET = "canary-password-51f2"
MISSPELT = """\
scripts:
  - content: |
      #cloud-config
      users:
        - name: nutanix
          lock-passwd: false
      passwd: canary-password-51f2
"""
GOOD = """\
options:
  hostname: web1
scripts:
  - src: setup.sh
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PreparedService]:
    make_certificates(tmp_path, x509.IPAddress(ip_address("127.0.0.1")))
    found = PreparedService(tmp_path)
    yield found
    found.stop()


def customize(
    folder: Path, *arguments: str, service: PreparedService | None = None
) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENNGT_")}
    if service is not None:
        own = {"OPENNGT_ENDPOINT": service.endpoint, "OPENNGT_TOKEN": TOKEN, "OPENNGT_CA_FILE": service.ca_file}
        environment.update(own)
    command = [program("openngt"), "customize", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr and SECRET not in done.stdout + done.stderr
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.yml").write_text(GOOD)
    (tmp_path / "setup.sh").write_text("#!/bin/sh\ntrue\n")
    (tmp_path / "misspelt.yml").write_text(MISSPELT)
    return tmp_path


def test_a_disc_is_made_without_a_service_and_is_the_same_when_made_again(folder: Path) -> None:
    assert "nothing is wrong" in customize(folder, "validate", "good.yml").stderr
    for iso in ("a.iso", "b.iso"):
        done = customize(folder, "build", "good.yml", iso, "--vm-name", "web1")
        assert done.returncode == 0, done.stderr
    assert (folder / "a.iso").read_bytes() == (folder / "b.iso").read_bytes()
    assert (folder / "a.iso").stat().st_mode & 0o777 == 0o600
    read = ["isoinfo", "-R", "-i", "a.iso", "-x", "/user-data"]
    user_data = subprocess.run(read, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert "hostname: web1" in user_data and "setup.sh" in user_data
    about = subprocess.run(["isoinfo", "-d", "-i", "a.iso"], cwd=folder, capture_output=True, text=True, check=True)
    assert "Volume id: cidata\n" in about.stdout


def test_what_is_wrong_has_line_key_and_remedy_and_makes_no_disc(folder: Path) -> None:
    done = customize(folder, "validate", "misspelt.yml", "-o", "json")
    assert done.returncode == 1
    found = {finding["key"]: finding for finding in json.loads(done.stdout)}
    assert found["users.0.lock-passwd"]["line"] == 4 and "lock_passwd" in found["users.0.lock-passwd"]["remedy"]
    assert found["passwd"]["severity"] == "error"
    done = customize(folder, "build", "misspelt.yml", "a.iso", "--vm-name", "web1")
    assert done.returncode == 1 and "[CUSTOMIZATION_INVALID]" in done.stderr and not (folder / "a.iso").exists()
    assert "scripts[0] line 5: passwd" in done.stderr, "each on a line"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"options: [{SECRET}", "is no YAML (line"),
        (f"- {SECRET}", "has to be a mapping"),
        (f"scripts: {SECRET}", "scripts has to be a list"),
        ("scripts: [{src: nowhere}]", "scripts[0].src: nowhere cannot be read"),
        ("scripts: [{src: setup.sh, content: a}]", "scripts[0]: give one of"),
        (f"colour: {SECRET}", "colour"),
        ("options: " + "[" * 3000, "is no YAML"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_without_its_values(folder: Path, text: str, said: str) -> None:
    (folder / "bad.yml").write_text(text)
    done = customize(folder, "validate", "bad.yml")
    assert done.returncode == 1 and said in done.stderr and "[INVALID_INPUT]" in done.stderr


def test_a_datastore_is_the_services(folder: Path, service: PreparedService) -> None:
    (folder / "stored.yml").write_text("scripts: [{datastore_path: base.yml}]\n")
    done = customize(folder, "build", "stored.yml", "a.iso", "--vm-name", "web1")
    assert done.returncode == 1 and "scripts[0].datastore_path" in done.stderr and "src" in done.stderr
    service.replies = [ok({"valid": True, "findings": [], "preview": ""})]
    assert customize(folder, "validate", "stored.yml", service=service).returncode == 0
    assert service.seen[0].path == "/v1/customizations/validate"


def test_a_plan_shows_what_the_disc_would_hold(folder: Path, service: PreparedService) -> None:
    service.replies = [ok(PLAN)]
    done = customize(folder, "plan", "web1", "good.yml", service=service)
    assert done.returncode == 0 and done.stdout == PLAN["preview_after"] and "would be customized" in done.stderr
    body = service.seen[0].body
    assert base64.b64decode(body["scripts"][0]["content_base64"]) == b"#!/bin/sh\ntrue\n"


def test_it_is_applied_followed_and_a_failure_is_the_guests_own(folder: Path, service: PreparedService) -> None:
    failed = {**ROW, "state": "failed", "code": "CUSTOMIZATION_FAILED", "message": "scripts-user: no /dev/nope"}
    service.replies = [ok(PLAN), ok(TASK), ok(ROW), ok(failed)]
    done = customize(folder, "apply", "web1", "good.yml", "--wait-seconds", "60", service=service)
    assert done.returncode == 1 and "web1: scripts-user: no /dev/nope [CUSTOMIZATION_FAILED]" in done.stderr
    assert "web1: pending\nweb1: failed\n" in done.stderr
    assert (service.seen[1].method, service.seen[1].body["wait_seconds"]) == ("PUT", 60)
    assert service.seen[1].body["power_on"] is True


def test_what_the_vm_has_is_not_given_twice(folder: Path, service: PreparedService) -> None:
    service.replies = [ok(SAME), ok({**ROW, "state": "done"})]
    done = customize(folder, "apply", "web1", "good.yml", "-o", "json", service=service)
    assert done.returncode == 0 and json.loads(done.stdout)["state"] == "done"
    assert [seen.method for seen in service.seen] == ["POST", "GET"]


def test_rows_are_listed_by_state_and_one_is_withdrawn_once(folder: Path, service: PreparedService) -> None:
    rows = [ROW, {**ROW, "vm_name": "db1", "state": "done"}]
    service.replies = [ok({"items": rows})]
    listed = customize(folder, "list", "--state", "done", "-o", "csv", service=service)
    assert "db1" in listed.stdout and "web1" not in listed.stdout
    assert "is no state" in customize(folder, "list", "--state", "ready", service=service).stderr
    service.replies = [ok({**TASK, "result": {"withdrawn": withdrawn}}) for withdrawn in (True, False)]
    assert "web1: withdrawn\n" in customize(folder, "withdraw", "web1", service=service).stderr
    assert "nothing to withdraw" in customize(folder, "withdraw", "web1", service=service).stderr
