# SPDX-License-Identifier: GPL-3.0-or-later
"""ISOs by command, with a CA folder and no service anywhere."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.fakes.service import ServiceProcess

VM = "6f2b1a9c-0d3e-4f5a-8b7c-1234567890ab"
CLUSTER = "7f2b1a9c-0d3e-4f5a-8b7c-1234567890ab"


def build(offline: ServiceProcess, *more: str) -> "subprocess.CompletedProcess[str]":
    folder = offline.folder
    options = ["--ca-path", str(folder / "ca"), "--vm-uuid", VM, "--cluster-uuid", CLUSTER, "--cluster-ip", "192.0.2.1"]
    return offline.cli("iso", "build", str(folder / "vm.iso"), *options, "--config-only", *more)


@pytest.fixture
def offline(tmp_path: Path) -> ServiceProcess:
    """Never started: only its command line is used."""
    commands = ServiceProcess(tmp_path)
    assert commands.cli("ca", "create", "--path", str(tmp_path / "ca")).returncode == 0
    return commands


def test_an_iso_is_made_once_and_inspects_as_good(offline: ServiceProcess) -> None:
    made = json.loads(build(offline, "-o", "json").stdout)
    again = build(offline, "-o", "json")
    assert "good as it is" in again.stderr
    assert json.loads(again.stdout)["serial"] == made["serial"]
    found = json.loads(offline.cli("iso", "inspect", made["path"], "-o", "json").stdout)
    assert found["verified"] is True
    assert found["certificate"]["serial"] == made["serial"]
    assert "config/ngt_config.json" in offline.cli("iso", "inspect", made["path"]).stdout


def test_an_altered_iso_is_exit_status_1_and_says_what_is_wrong(offline: ServiceProcess) -> None:
    path = Path(json.loads(build(offline, "-o", "json").stdout)["path"])
    path.write_bytes(path.read_bytes().replace(b"192.0.2.1", b"192.0.2.9"))
    done = offline.cli("iso", "inspect", str(path))
    assert done.returncode == 1
    assert "NOT verified" in done.stdout
    assert "problem: " in done.stdout


def test_without_a_ca_the_code_says_so(offline: ServiceProcess) -> None:
    done = build(offline, "--ca-path", str(offline.folder / "nothing"))
    assert (done.returncode, "[CA_NOT_FOUND]" in done.stderr) == (1, True)
