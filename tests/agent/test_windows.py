# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows guest before the real service: its ISO, its gateway over TLS, its refresh, its word to go down.

Windows' own functions are played (suite/fake_windows.py); everything else, the ISO's bytes included, is real.
"""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.service import ServiceProcess

from openngt import link
from openngt.agent_bundle import build_zipapp

pytestmark = pytest.mark.slow

SUITE = Path(__file__).parent / "suite"
PATIENCE = 120


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path)
    service.start()
    yield service
    service.stop()


def extracted(iso: str, folder: Path) -> Path:
    """The files of an ISO, read by a program that is not ours."""
    command = ["xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", str(folder), "-chmod_r", "u+rwX", "--"]
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (folder / "manifest.json").is_file(), said.stderr
    return folder


def windows_guest(tmp_path: Path, vm_uuid: str, disc: Path, ca_sha256: str) -> "subprocess.Popen[str]":
    (tmp_path / "agent.pyz").write_bytes(build_zipapp())
    command = [
        sys.executable,
        str(SUITE / "windows_guest.py"),
        str(tmp_path / "agent.pyz"),
        vm_uuid,
        str(disc),
        ca_sha256,
    ]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SUITE), "LC_ALL": "C.UTF-8", "TMPDIR": str(tmp_path)}
    with (tmp_path / "guest.stderr").open("w") as stderr:
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)


def heard(guest: "subprocess.Popen[str]", tmp_path: Path) -> dict[str, Any]:
    assert guest.stdout is not None
    line = guest.stdout.readline()
    assert line, (tmp_path / "guest.stderr").read_text()
    found: dict[str, Any] = json.loads(line)
    return found


def test_from_the_services_iso_to_the_shutdown_that_it_asks_for(service: ServiceProcess, tmp_path: Path) -> None:
    vm = str(uuid.uuid4())
    service.hypervisor.add(vm, "web1", {"cd0": None}, "on")
    with service.client() as client:
        client.enable(vm)
        mount = client.wait_task(client.mount(vm, "test", 600), timeout=PATIENCE)["result"]
        disc = extracted(str(service.state_dir / f"iso/{vm}.iso"), tmp_path / "disc")
        guest = windows_guest(tmp_path, vm, disc, mount["ca_sha256"])
        killed = threading.Timer(2 * PATIENCE, guest.kill)
        killed.start()
        try:
            answer = heard(guest, tmp_path)
            assert answer.get("ok"), answer
            assert "link" in answer["steps"] and answer["generation"] == mount["generation"]

            [record] = link.wait_for_links(client, [vm], PATIENCE, generation=mount["generation"])
            info = record["vm_info"]
            assert (info["guest_os_type"], info["guest_os_release"]) == ("windows", "2022")
            assert (record["transport"], record["certificate"]["kind"]) == ("tls", "link")

            client.wait_task(client.eject(vm, "test"), timeout=PATIENCE)
            before = record["certificate"]["serial"]
            task = client.refresh(vm=[vm], via="link", threshold_days=None, wait_seconds=PATIENCE)
            assert client.wait_task(task, timeout=PATIENCE)["state"] == "succeeded"
            assert client.vm(vm)["certificate"]["serial"] != before

            task = client.power(vm, "guest_shutdown", wait_seconds=PATIENCE)
            end = heard(guest, tmp_path)
            service.hypervisor.set_power(vm, "off")
            assert client.wait_task(task, timeout=PATIENCE)["result"]["stopped_by"] == "agent"
        finally:
            killed.cancel()
            guest.kill()
            guest.wait()
    assert end["down"] and end["said"] == ["InitiateSystemShutdownExW", None, 0, 1, 0]
    assert end["status"]["identity"]["generation"] > mount["generation"]
    assert [state for state, _accepted, _code in end["states"]] == ["STOP_PENDING", "STOPPED"]
