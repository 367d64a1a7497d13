# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that copies files from the disc, run by this host's shell; the disc is a folder that `mount` links in."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from openngt.customization.carried_files import copy_config
from openngt.customization.model import GuestFile

pytestmark = pytest.mark.skipif(not os.access("/run", os.W_OK), reason="the guest's root writes to /run")

PROGRAMS = {
    "cloud-init-per": 'echo "$1 $2" >>"$LOG"; shift 2; exec "$@"',
    "blkid": "echo /dev/sr9",
    "mount": 'for folder; do :; done; [ "$*" = "-t iso9660 -o ro /dev/sr9 $folder" ] && cp -R "$DISC/." "$folder"',
    "umount": 'echo umount >>"$LOG"; rm -r "$1" && mkdir "$1"',
    "restorecon": 'echo "restorecon $1" >>"$LOG"',
}


def copied(tmp_path: Path, files: Mapping[str, GuestFile], before: str = "true") -> tuple[int, str]:
    """(exit status, log) of the command, run after another as cloud-init runs a bootcmd."""
    programs, log = tmp_path / "bin", tmp_path / "log"
    programs.mkdir()
    for name, body in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "DISC": str(tmp_path / "disc"), "LOG": str(log)}
    [command] = copy_config(files, "no-such-label")["bootcmd"]
    done = subprocess.run(["/bin/sh", "-c", f"{before}\n{command}"], env=environment, timeout=30, check=False)
    return done.returncode, log.read_text()


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    folder = tmp_path / "disc/files"
    folder.mkdir(parents=True)
    (folder / "0000").write_bytes(b"\0one\r\n")
    (folder / "0001").write_bytes(b"two")
    return folder


def test_files_arrive_with_their_mode_in_folders_that_are_made(tmp_path: Path, disc: Path) -> None:
    one, two = tmp_path / "a folder/it's $(one)", tmp_path / "two"
    two.write_text("former")
    files = {"files/0000": GuestFile(str(one), b"", "0600"), "files/0001": GuestFile(str(two), b"", "4755")}
    status, log = copied(tmp_path, files)
    assert (status, one.read_bytes(), two.read_bytes()) == (0, b"\0one\r\n", b"two")
    assert (oct(one.stat().st_mode), oct(two.stat().st_mode)) == ("0o100600", "0o104755")
    assert log == f"instance openngt_files\nrestorecon {one}\nrestorecon {two}\numount\n"
    assert [path.name for path in one.parent.iterdir()] == [one.name]
    assert not list(Path("/run").glob("openngt-files.*"))


@pytest.mark.parametrize("hindrance", ["missing", "folder"])
def test_a_file_that_cannot_be_copied_is_a_failure(tmp_path: Path, disc: Path, hindrance: str) -> None:
    target = tmp_path / "target"
    if hindrance == "missing":
        (disc / "0000").unlink()
    else:
        target.mkdir()
    status, log = copied(tmp_path, {"files/0000": GuestFile(str(target), b"")})
    assert status == 1
    assert log.endswith("umount\n")
    assert hindrance == "folder" or not target.exists()


def test_a_failure_before_it_is_not_hidden(tmp_path: Path, disc: Path) -> None:
    target = tmp_path / "target"
    status, _log = copied(tmp_path, {"files/0001": GuestFile(str(target), b"")}, before="(exit 7)")
    assert (status, target.read_bytes()) == (7, b"two")


def test_only_files_of_another_than_root_are_given_away() -> None:
    files = {"a": GuestFile("/a", b""), "b": GuestFile("/b", b"", owner="root"), "c": GuestFile("/c", b"", owner="ann")}
    assert [entry["path"] for entry in copy_config(files, "cidata")["write_files"]] == ["/c"]
    assert "write_files" not in copy_config({"a": files["a"]}, "cidata")
