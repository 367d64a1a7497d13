# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripts that run in a Windows guest, as far as can be said without one: they parse, and use PowerShell 3.0."""

import re

import pytest
from tests.fakes.powershell import foreign_to_powershell_3, parse

from openngt.errors import REMEDIES
from openngt.install.transports.powershell import bootstrap_command
from openngt.install.windows.guest_script import GUEST_PROGRAM
from openngt.install.windows.installer_script import CODES, install_ngt_ps1, setup_cmd
from openngt.install.windows.program import command, package

INSTALLER = install_ngt_ps1().decode("ascii")
SCRIPTS = {"installer": INSTALLER, "guest program": GUEST_PROGRAM}


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_needs_nothing_that_powershell_3_has_not(name: str) -> None:
    assert foreign_to_powershell_3(SCRIPTS[name]) == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_function_is_used_and_no_command_is_named_by_an_alias(name: str) -> None:
    read = parse(SCRIPTS[name])
    called = {call.command.lower() for call in read.calls}
    # What both scripts have in common may be used by one alone.
    shared = set(parse(GUEST_PROGRAM).functions) & set(parse(INSTALLER).functions)
    assert set(read.functions) - called <= shared
    both = {call.command.lower() for script in SCRIPTS.values() for call in parse(script).calls}
    assert shared <= both
    assert not {word for word in called if "-" not in word} - set(read.functions) - {"where-object"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_code_that_it_fails_with_is_known(name: str) -> None:
    codes = set(re.findall(r"Stop-With '([A-Z_]+)'", SCRIPTS[name]))
    assert len(codes) > 5
    assert codes <= set(REMEDIES)
    if name == "installer":
        assert codes <= set(CODES)
        for code in codes:
            assert f"{code} = '{REMEDIES[code].replace(chr(39), chr(39) * 2)}'" in INSTALLER


def test_neither_touches_a_driver_and_both_scripts_of_the_disc_are_for_windows() -> None:
    """Without the driver of its disk a guest does not start."""
    told = [line for line in INSTALLER.splitlines() if "VirtIO" in line]
    assert told and all(line.lstrip().startswith("Say ") for line in told)
    assert not re.search(r"msiexec|pnputil|Win32_Product|devcon", INSTALLER + GUEST_PROGRAM)
    for content in (install_ngt_ps1(), setup_cmd()):
        assert content.count(b"\n") == content.count(b"\r\n") and content.isascii()


def test_what_is_double_clicked_starts_the_installer_whatever_the_policy_is() -> None:
    script = setup_cmd().decode()
    assert "%~dp0installer\\windows\\install_ngt.ps1" in script
    assert script.count("-NoProfile -ExecutionPolicy Bypass -File") == 2
    assert script.rstrip().endswith("exit /b %errorlevel%")


def test_exit_statuses_mean_what_they_mean_for_msi() -> None:
    assert "$Done, $RestartNeeded, $RestartBegun, $NotElevated, $Failed = 0, 3010, 1641, 5, 1603" in INSTALLER


def test_the_program_is_what_powershell_is_told_and_the_process_list_shows_no_more_than_that_it_waits() -> None:
    assert command() == bootstrap_command()
    last, *lines = package().decode().splitlines()
    assert lines[-1] == last
    assert lines[:-1] == GUEST_PROGRAM.splitlines()
