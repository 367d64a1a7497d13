# SPDX-License-Identifier: GPL-3.0-or-later
"""What an administrator adds: regular files with names for every system, and nothing else."""

import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt.iso.payload import tools_payload


def test_extras_are_named_measured_and_left_where_they_are(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/tool.msi").write_bytes(b"tool")
    (tmp_path / "a.txt").touch()
    (tmp_path / "empty-folder").mkdir()
    extras = [file for file in tools_payload(tmp_path) if file.entry.path.startswith("extras/")]
    assert [(file.entry.path, file.entry.size, file.content) for file in extras] == [
        ("extras/a.txt", 0, tmp_path / "a.txt"),
        ("extras/b/tool.msi", 4, tmp_path / "b/tool.msi"),
    ]
    assert extras[1].entry.sha256 == hashlib.sha256(b"tool").hexdigest()


def link(folder: Path) -> None:
    (folder / "x").symlink_to("/etc/shadow")


def link_to_a_folder(folder: Path) -> None:
    (folder / "x").symlink_to("/etc")


def dangling_link(folder: Path) -> None:
    (folder / "x").symlink_to("nowhere")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "x")


def socket_file(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "x"))


def backslash(folder: Path) -> None:
    (folder / "a\\b").touch()


def newline(folder: Path) -> None:
    (folder / "a\nb").touch()


def not_utf8(folder: Path) -> None:
    os.close(os.open(os.fsencode(folder) + b"/\xff", os.O_CREAT))


def case(folder: Path) -> None:
    (folder / "README").touch()
    (folder / "readme").touch()


def long_name(folder: Path) -> None:
    (folder / ("x" * 65)).touch()


def deep(folder: Path) -> None:
    (folder / "1/2/3/4/5/6/7").mkdir(parents=True)
    (folder / "1/2/3/4/5/6/7/x").touch()


@pytest.mark.parametrize(
    "hostile",
    [
        link, link_to_a_folder, dangling_link, pipe, socket_file, backslash, newline, not_utf8, case, long_name, deep,
    ],
)  # fmt: skip
def test_what_is_not_a_plain_file_with_a_plain_name_is_refused(tmp_path: Path, hostile: Callable[[Path], None]) -> None:
    (tmp_path / "good").touch()
    hostile(tmp_path)
    with pytest.raises(OpenNGTError) as caught:
        tools_payload(tmp_path)
    assert (caught.value.code, caught.value.details["field"]) == ("INVALID_INPUT", "extras")


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / str(number)).touch()
    with pytest.raises(OpenNGTError) as caught:
        tools_payload(tmp_path)
    assert caught.value.code == "ISO_TOO_LARGE"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OpenNGTError) as caught:
        tools_payload(tmp_path / "nowhere")
    assert caught.value.code == "FILE_UNUSABLE"
    assert "nowhere" in caught.value.message
