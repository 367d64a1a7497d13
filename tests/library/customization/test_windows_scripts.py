# SPDX-License-Identifier: GPL-3.0-or-later
"""What a disc runs in a Windows guest, in a simulated one: no real Windows is met here."""

import datetime
from pathlib import Path

import pytest
from tests.fakes.windows_guest import WindowsGuest
from tests.fakes.windows_tree import WindowsTree
from tests.library.customization.answer_file_cases import PASSWORD, VM

from openngt.customization.model import Customization, GuestFile
from openngt.customization.sysprep import build_sysprep
from openngt.customization.windows_scripts import ANSWER_FILE_COPIES, SCRUB, SPECIALIZE
from openngt.customization.winrm_prep_script import WINRM_PREP_SCRIPT


@pytest.fixture
def tree(tmp_path: Path) -> WindowsTree:
    return WindowsTree(tmp_path)


def test_what_the_disc_brings_is_in_the_guest_before_anybody_can_log_on(tree: WindowsTree) -> None:
    files = (GuestFile("C:\\Tools\\deep\\motd.txt", b"hello\r\n"), GuestFile("E:\\locked.txt", b""))
    options = {"administrator_password": PASSWORD, "winrm_prep": True}
    for file in build_sysprep(Customization("sysprep", options=options, files=files), VM).files:
        tree.write("D:\\" + file.path.replace("/", "\\"), file.content)
    tree.locked.add("e:\\locked.txt")
    assert tree.run(SPECIALIZE, "D:\\openngt")[0] == 0, "Windows is set up all the same"
    assert tree.place("C:\\Tools\\deep\\motd.txt").read_bytes() == b"hello\r\n"
    staged = "c/windows/setup/openngt"
    wanted = [f"{staged}/{name}" for name in ("scrub.ps1", "specialize.log", "winrm_prep.ps1")]
    assert [name for name in tree.files() if name.startswith("c/windows")] == wanted, "no answer file among them"
    log = tree.place("C:\\Windows\\Setup\\openngt\\specialize.log").read_text()
    assert "copied C:\\Tools\\deep\\motd.txt" in log and "ERROR E:\\locked.txt" in log


def test_no_copy_of_the_answer_file_is_left(tree: WindowsTree) -> None:
    """T35: all that Windows is known to keep, and nothing else."""
    for path in ANSWER_FILE_COPIES:
        tree.write(f"C:\\Windows\\{path}", PASSWORD.encode())
    tree.write("C:\\Windows\\Panther\\setupact.log", b"kept")
    status, said = tree.run(SCRUB)
    assert status == 0 and len(said) == len(ANSWER_FILE_COPIES)
    assert tree.files() == ["c/windows/panther/setupact.log"]
    assert tree.run(SCRUB) == (0, []), "again there is nothing to do"


def test_a_copy_that_cannot_be_deleted_is_told_and_the_others_go(tree: WindowsTree) -> None:
    """T35."""
    for path in ANSWER_FILE_COPIES:
        tree.write(f"C:\\Windows\\{path}", PASSWORD.encode())
    tree.locked.add("c:\\windows\\panther\\unattend.xml")
    status, said = tree.run(SCRUB)
    assert status == 1 and [line for line in said if line.startswith("ERROR C:\\Windows\\Panther\\unattend.xml")]
    assert tree.files() == ["c/windows/panther/unattend.xml"]


def test_the_shortened_script_of_winrm_prep_does_what_the_roles_does() -> None:
    windows = WindowsGuest(now=datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC))
    answer = windows.run(WINRM_PREP_SCRIPT, {"Names": ["web1"], "AllowedAddresses": ["192.0.2.10"]})
    assert answer["changed"] and not answer["failed"] and answer["port"] == 5986
    assert not windows.run(WINRM_PREP_SCRIPT, {"Names": ["web1"], "AllowedAddresses": ["192.0.2.10"]})["changed"]
