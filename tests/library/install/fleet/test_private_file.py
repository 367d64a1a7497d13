# SPDX-License-Identifier: GPL-3.0-or-later
"""T30: a file of credentials that anybody else could read or exchange is refused with the reason, and not read."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt.install.fleet.private_file import read_private_file

LIST = b'[{"uuid": "..."}]'
SOMEBODY = 12345


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "folder/fleet.json"
    file.parent.mkdir(mode=0o700)
    file.write_bytes(LIST)
    file.chmod(0o600)
    return file


def refused(path: Path, most: int = 1000) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        read_private_file(str(path), most)
    assert str(path) in caught.value.message
    return caught.value


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_the_caller_s_own_private_file_is_read(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert read_private_file(str(path), 1000).content == LIST


def test_a_relative_path_and_one_of_the_home_are_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("HOME", str(path.parent))
    assert read_private_file("fleet.json", 1000).content == read_private_file("~/fleet.json", 1000).content == LIST


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o622, 0o601, 0o777])
def test_a_file_that_others_may_use_is_refused_with_its_mode(path: Path, mode: int) -> None:
    path.chmod(mode)
    error = refused(path)
    assert error.code == "CREDENTIALS_EXPOSED" and f"its mode is {mode:04o}" in error.message


def test_a_file_of_somebody_else_is_refused_also_for_root(path: Path) -> None:
    os.chown(path, SOMEBODY, -1)
    error = refused(path)
    assert error.code == "CREDENTIALS_EXPOSED" and f"belongs to uid {SOMEBODY}, not to root" in error.message


def test_a_symbolic_link_is_refused_wherever_it_leads(path: Path) -> None:
    link = path.with_name("link.json")
    link.symlink_to(path)
    error = refused(link)
    assert error.code == "CREDENTIALS_EXPOSED" and "symbolic link" in error.message
    link.unlink()
    link.symlink_to("/nowhere")
    assert refused(link).code == "CREDENTIALS_EXPOSED"


def a_pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def a_folder(path: Path) -> None:
    path.mkdir(mode=0o700)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def a_device(path: Path) -> None:
    os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))


@pytest.mark.parametrize("make", [a_pipe, a_folder, a_socket, a_device])
def test_what_is_no_file_is_refused_without_waiting_for_it(path: Path, make: Callable[[Path], None]) -> None:
    other = path.with_name("other")
    make(other)
    error = refused(other)
    assert error.code == "INVALID_INPUT" and "no file" in error.message and "standard input" in error.remedy


@pytest.mark.parametrize("mode", [0o707, 0o777, 0o702])
def test_a_folder_in_which_others_can_exchange_the_file_is_refused(path: Path, mode: int) -> None:
    path.parent.chmod(mode)
    error = refused(path)
    assert error.code == "CREDENTIALS_EXPOSED" and f"(mode {mode:04o})" in error.message


def test_a_folder_of_somebody_else_or_of_a_group_is_refused(path: Path) -> None:
    path.parent.chmod(0o770)
    os.chown(path.parent, -1, SOMEBODY)
    assert "others can write to its folder" in refused(path).message
    os.chown(path.parent, SOMEBODY, 0)
    path.parent.chmod(0o700)
    assert f"belongs to uid {SOMEBODY}" in refused(path).message


def test_a_folder_for_all_in_which_nobody_can_exchange_another_s_file_will_do(path: Path) -> None:
    path.parent.chmod(0o1777)
    assert read_private_file(str(path), 1000).content == LIST


def test_more_than_a_list_can_have_is_not_read(path: Path) -> None:
    error = refused(path, most=5)
    assert error.code == "INVALID_INPUT" and "more than 5 bytes" in error.message


@pytest.mark.parametrize("name", ["", "absent.json", "fleet.json/inside"])
def test_a_path_that_leads_nowhere_is_named(path: Path, name: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        read_private_file(str(path.parent / name) if name else "", 1000)
    assert caught.value.code in ("FILE_UNUSABLE", "INVALID_INPUT")


def test_it_is_overwritten_and_deleted_when_asked(path: Path) -> None:
    second = path.with_name("second name")
    os.link(path, second)
    read = read_private_file(str(path), 1000)
    assert read.delete() and not path.exists()
    assert second.read_bytes() == bytes(len(LIST)), "its blocks hold nothing any more"
    assert not read.delete(), "there is none any more"


def test_another_file_that_has_taken_its_place_is_not_deleted(path: Path) -> None:
    read = read_private_file(str(path), 1000)
    other = path.with_name("other")
    other.write_bytes(b"mine")
    other.replace(path)
    assert not read.delete() and path.read_bytes() == b"mine"
