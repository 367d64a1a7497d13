# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt ca rollover` with the real service; what a client of the old CA sees, and a backup in each phase."""

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.service import ServiceProcess

from openngt.client import Client
from openngt.errors import OpenNGTError
from openngt.pki.authority import create_authority

from .conftest import VM, ended, prepared


def told(service: ServiceProcess, *arguments: str) -> dict[str, Any]:
    done = service.cli("ca", "rollover", *arguments, "--output", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def restored_phase(service: ServiceProcess, folder: Path) -> tuple[str, str]:
    """A backup taken now and restored on another host: the phase there, and the CA that signs."""
    folder.mkdir()
    assert service.cli("backup", "create", str(folder / "a.backup")).returncode == 0
    inspected = json.loads(service.cli("backup", "inspect", str(folder / "a.backup"), "--output", "json").stdout)
    other = prepared(folder)
    done = other.cli("restore", str(folder / "a.backup"))
    assert done.returncode == 0, done.stderr
    other.start()
    try:
        status = told(other, "status")
        assert status["signing"]["ca_sha256"] == inspected["ca_sha256"]
        return status["phase"], status["signing"]["ca_sha256"]
    finally:
        ended(other)


def test_each_phase_is_shown_restored_and_open_to_clients_of_the_old_ca(
    own_service: ServiceProcess, tmp_path: Path
) -> None:
    service = own_service
    service.start()
    shutil.copy(service.ca_file, tmp_path / "old.pem")
    old = told(service, "status")["signing"]["ca_sha256"]
    assert told(service, "prepare")["changed"] is False, "it is not due"
    planned = told(service, "prepare", "--force", "--check")
    assert planned["changed"] and planned["phase"] == "none" and not (service.state_dir / "ca/next").exists()
    new = told(service, "prepare", "--force")["next"]["ca_sha256"]
    shown = service.cli("ca", "show", "--pem").stdout
    assert shown == Path(service.ca_file).read_text() and shown.count("BEGIN CERTIFICATE") == 2
    assert restored_phase(service, tmp_path / "prepared") == ("prepared", old)

    assert told(service, "activate")["old"]["ca_sha256"] == old
    with Client(service.endpoint, service.token, str(tmp_path / "old.pem")) as client:
        assert client.ca()["ca_sha256"] == new, "a client that knows the old CA alone is led over"
    assert restored_phase(service, tmp_path / "activated") == ("activated", new)
    refused = service.cli("ca", "rollover", "abort")
    assert refused.returncode == 1 and "[CA_ROLLOVER_BLOCKED]" in refused.stderr

    assert service.stop() == 0
    service.start()
    assert told(service, "status")["phase"] == "activated"
    assert told(service, "retire")["signing"]["ca_sha256"] == new
    with pytest.raises(OpenNGTError) as raised, Client(service.endpoint, service.token, str(tmp_path / "old.pem")) as c:
        c.ca()
    assert raised.value.code == "TLS_NOT_TRUSTED"
    assert restored_phase(service, tmp_path / "retired") == ("none", new)
    assert service.cli("audit", "verify").returncode == 0


def test_one_that_is_prepared_is_given_up(own_service: ServiceProcess) -> None:
    own_service.start()
    before = Path(own_service.ca_file).read_bytes()
    told(own_service, "prepare", "--force")
    assert told(own_service, "abort")["phase"] == "none" and Path(own_service.ca_file).read_bytes() == before
    assert told(own_service, "abort")["changed"] is False
    table = own_service.cli("ca", "rollover", "status")
    assert "Phase         : none" in table.stdout and table.returncode == 0


def test_who_is_not_ready_is_named_with_what_to_do(own_service: ServiceProcess) -> None:
    own_service.start()
    with own_service.client() as client:
        client.enable(VM)
        client.issue_batch([{"vm_uuid": VM}])
    told(own_service, "prepare", "--force")
    # What was issued and never used is no agent's: the step does not wait for it.
    assert told(own_service, "activate")["changed"]
    refused = own_service.cli("ca", "rollover", "retire")
    assert refused.returncode == 1 and "web01" in refused.stderr and "[CA_ROLLOVER_BLOCKED]" in refused.stderr
    table = own_service.cli("ca", "rollover", "status").stdout
    assert "its agent has a certificate of the old CA" in table and "openngt refresh run web01" in table
    assert told(own_service, "retire", "--force")["phase"] == "none"


def test_a_service_whose_ca_is_over_says_what_to_run_and_starts_after_it(own_service: ServiceProcess) -> None:
    day = datetime.timedelta(days=1)
    own_service.state_dir.mkdir(mode=0o700)
    made = datetime.datetime.now(datetime.UTC) - 20 * day
    old = create_authority(own_service.state_dir / "ca", common_name="openngt CA", now=made, validity=10 * day)
    starting = own_service.launch()
    assert starting.wait(60) == 1 and "openngt ca rollover recover" in own_service.stderr
    recovered = own_service.cli("ca", "rollover", "recover")
    assert recovered.returncode == 0 and "CA SHA-256" in recovered.stdout, recovered.stderr
    own_service.start()
    status = told(own_service, "status")
    assert status["phase"] == "activated" and status["old"]["ca_sha256"] == old.ca_sha256
    running = own_service.cli("ca", "rollover", "recover")
    assert running.returncode == 1 and "[SERVICE_CONFLICT]" in running.stderr
    assert own_service.stop() == 0
    good = own_service.cli("ca", "rollover", "recover")
    assert good.returncode == 1 and "the CA is good until" in good.stderr
    assert Path(own_service.ca_file).read_text().count("BEGIN CERTIFICATE") == 2
