# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet whose Windows guests are reached over WinRM: the real transport, the simulator of a listener behind it.

The program that is sent is not run, no PowerShell is here: what it would answer, a script plays.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.fakes.winrm_server import Certificate, Drop, Run, WinrmServer, make_certificate, through_bootstrap
from tests.fakes.winrm_server.programs import Play

from openngt.install.fleet.target import Secret, SshLogin, Target, WinrmLogin
from openngt.install.transports import choose
from openngt.install.transports.base import Transport
from openngt.install.windows.guest_script import GUEST_PROGRAM

from . import test_windows as windows
from .conftest import FleetOfScripts

pytestmark = pytest.mark.slow

PASSWORD = "Pa55-canary"

# The fixtures of a service with a Python for Windows on its ISO.
python_zip, equipped, windows_fleet = windows.python_zip, windows.equipped, windows.windows_fleet


def behind(guest: windows.WindowsScript) -> Play:
    def play(run: Run, script: str) -> int:
        assert script.rstrip() == GUEST_PROGRAM.strip("\ufeff").rstrip()
        for line in run.lines():
            guest.say(f"{line}\n".encode())
            while (answer := guest.hear(1)) is not None:
                run.say(answer.decode())
        return 0

    return through_bootstrap(play)


@dataclasses.dataclass
class Listeners:
    """Windows guests with a listener each, beside the scripted ones over SSH."""

    fleet: FleetOfScripts
    folder: Path
    stack: ExitStack
    servers: dict[str, WinrmServer] = dataclasses.field(default_factory=dict)
    logins: dict[str, WinrmLogin] = dataclasses.field(default_factory=dict)

    def add(self, name: str, *, pinned: Certificate | None = None, password: str = PASSWORD) -> Target:
        target = windows.add(self.fleet, name)
        guest = self.fleet.guests[name]
        assert isinstance(guest, windows.WindowsScript)
        certificate = make_certificate(self.folder)
        server = WinrmServer(behind(guest), users={"Administrator": PASSWORD}, certificate=certificate)
        self.servers[name] = self.stack.enter_context(server)
        thumbprint = (pinned or certificate).thumbprint
        self.logins[name] = WinrmLogin("127.0.0.1", server.port, password=Secret(password), thumbprint=thumbprint)
        return dataclasses.replace(target, login=self.logins[name])

    def connect(self, login: SshLogin | WinrmLogin, seconds: float) -> Transport:
        if isinstance(login, WinrmLogin):
            return choose.connect(login, seconds)
        return self.fleet.guests[login.host]


@pytest.fixture
def listeners(windows_fleet: FleetOfScripts, tmp_path: Path) -> Iterator[Listeners]:
    with ExitStack() as stack:
        listeners = Listeners(windows_fleet, tmp_path, stack)
        windows_fleet.connect = listeners.connect  # type: ignore[method-assign, assignment]
        yield listeners


def test_windows_and_linux_guests_are_installed_in_one_run_and_again_nothing_is_done(listeners: Listeners) -> None:
    fleet = listeners.fleet
    targets = [listeners.add("win11"), listeners.add("win12"), fleet.add("web11")]
    rows = fleet.install(*targets).rows
    assert {row.name: (row.state, row.code) for row in rows} == dict.fromkeys(
        ("win11", "win12", "web11"), ("installed", None)
    )
    again = fleet.install(*targets, journal=fleet.folder / "second").rows
    assert {row.state for row in again} == {"unchanged"}
    for server in listeners.servers.values():
        assert server.shells == {}, "no shell is left behind"
        assert server.actions().count("Create") == 2, "one shell for each run"


def test_each_guest_that_cannot_be_reached_is_a_row_of_its_own_and_stops_no_other(listeners: Listeners) -> None:
    fleet = listeners.fleet
    other = make_certificate(listeners.folder)
    targets = [
        listeners.add("win21", password="wrong-canary"),
        listeners.add("win22", pinned=other),
        listeners.add("win23"),
        listeners.add("win24"),
    ]
    listeners.servers["win23"].fail("Receive", Drop())
    report = fleet.install(*targets)
    assert {row.name: (row.state, row.code, row.phase) for row in report.rows} == {
        "win21": ("failed", "GUEST_LOGIN_FAILED", "connect"),
        "win22": ("failed", "GUEST_CERTIFICATE_UNTRUSTED", "connect"),
        "win23": ("failed", "GUEST_CONNECTION_LOST", "prerequisites"),
        "win24": ("installed", None, "prove"),
    }
    assert "canary" not in str(report)
    assert listeners.servers["win22"].seen == []
    [row] = fleet.install(targets[2], journal=fleet.folder / "second").rows
    assert row.state == "installed", "the next run converges"
