# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows guests of a fleet: nothing is done for them without a Python on the ISO; with it all goes as for Linux."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.scripted_guest import ScriptedGuest
from tests.fakes.service import ServiceProcess
from tests.fakes.windows_facts import READY
from tests.fakes.windows_python import embeddable

from openngt.install.fleet.target import Target, WinrmLogin

from .conftest import FleetOfScripts


class WindowsScript(ScriptedGuest):
    """Tells facts in place of findings and leftovers in place of a plan, as the program in a Windows guest does."""

    facts: dict[str, Any] = READY

    def say(self, data: bytes) -> None:
        begin = data.find(b'{"protocol"')
        if begin < 0:
            super().say(data)
            return
        self.said.append(data[begin:].rstrip(b"\n"))
        self._answer("prerequisites", lambda: {"facts": self.facts})
        well = {"agent_version": "0.1.0", "service": {"active": "active"}, "identity": {"kind": "link"}}
        agent = {**well, "link": {"active": True}} if self.plan["operation"] == "none" else None
        self._answer("plan", lambda: {"agent": agent, "leftovers": []})


def add(fleet: FleetOfScripts, name: str, **script: Any) -> Target:
    target = fleet.add(name, **script)
    fleet.guests[name] = WindowsScript(install=fleet.guests[name].install)
    return Target(target.name, target.vm, WinrmLogin(name))


@pytest.fixture(scope="module")
def python_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embeddable(tmp_path_factory.mktemp("python") / "python-3.12.8-embed-amd64.zip")


@pytest.fixture(scope="module")
def equipped(tmp_path_factory: pytest.TempPathFactory, python_zip: Path) -> Iterator[ServiceProcess]:
    service = ServiceProcess(tmp_path_factory.mktemp("service"), {"windows_python": str(python_zip)})
    service.start()
    yield service
    service.stop()


@pytest.fixture
def windows_fleet(equipped: ServiceProcess, tmp_path: Path) -> Iterator[FleetOfScripts]:
    with equipped.client() as client:
        fleet = FleetOfScripts(equipped, client, tmp_path)
        yield fleet
        for agent in fleet.agents:
            agent.stop()


def test_without_a_python_for_it_nothing_is_done_for_a_windows_guest(fleet: FleetOfScripts) -> None:
    windows, linux = add(fleet, "win1"), fleet.add("web1")
    report = fleet.install(windows, linux)
    rows = {row.name: row for row in report.rows}
    assert (rows["win1"].state, rows["win1"].code, rows["win1"].changed) == ("failed", "WINDOWS_PYTHON_MISSING", False)
    assert "windows_python" in str(rows["win1"].remedy)
    assert fleet.verbs("win1") == [] and fleet.guests["win1"].commands == []
    assert rows["web1"].state == "installed", "one guest never stops another"


def test_with_it_a_windows_guest_is_installed_and_told_which_python_it_may_start(
    windows_fleet: FleetOfScripts, python_zip: Path
) -> None:
    sha256 = hashlib.sha256(python_zip.read_bytes()).hexdigest()
    carried = windows_fleet.client.payload()["windows_python"]
    assert (carried["version"], carried["architecture"], carried["sha256"]) == ("3.12", "amd64", sha256)
    assert f"for Windows  Python 3.12 amd64, SHA-256 {sha256}\n" in windows_fleet.service.stdout
    target = add(windows_fleet, "win2")
    guest = windows_fleet.guests["win2"]
    [row] = windows_fleet.install(target).rows
    assert (row.state, row.code) == ("installed", None), row
    [word] = [json.loads(line[3:]) for line in guest.said if line.startswith(b"go ")]
    assert word == {"ca_sha256": windows_fleet.client.ca()["ca_sha256"], "python_sha256": sha256}
    assert guest.commands[0].startswith("powershell.exe ")
    [again] = windows_fleet.install(target, journal=windows_fleet.folder / "second").rows
    assert again.state == "unchanged", again


def test_a_windows_guest_that_is_not_ready_is_not_touched(windows_fleet: FleetOfScripts) -> None:
    target = add(windows_fleet, "win3")
    guest = windows_fleet.guests["win3"]
    assert isinstance(guest, WindowsScript)
    guest.facts = {**READY, "elevated": False, "powershell": "2.0"}
    [row] = windows_fleet.install(target).rows
    assert (row.state, row.code, row.phase) == ("failed", "PREREQUISITES_NOT_MET", "prerequisites")
    assert "privilege" in str(row.message) and "powershell" in str(row.message)
    assert "vm.mount" not in windows_fleet.verbs("win3") and not [line for line in guest.said if line.startswith(b"go")]
