# SPDX-License-Identifier: GPL-3.0-or-later
"""A customization judged in a child process, and what a datastore_path may name."""

import asyncio
import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from openngt.customization.model import MediaVm
from openngt.errors import OpenNGTError
from openngt_service.customization.checked import Checked, Checker
from openngt_service.customization.datastore import read_datastore

VM = MediaVm("6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "web1", "i-1")
SECRET = "correct-horse-battery"


def check(spec: dict[str, Any], datastore: Path | None = None) -> Checked:
    return asyncio.run(Checker(datastore).check(spec, VM))


@pytest.fixture
def datastore(tmp_path: Path) -> Path:
    folder = tmp_path / "datastore"
    (folder / "scripts").mkdir(parents=True)
    (folder / "scripts/web.sh").write_text("#!/bin/sh\necho web\n")
    (tmp_path / "secret").write_text(SECRET)
    (folder / "out").symlink_to(tmp_path)
    (folder / "out.sh").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    return folder


def test_what_is_well_is_shown_without_its_secrets() -> None:
    checked = check({"options": {"hostname": "web1", "users": [{"name": "ops", "password": SECRET}]}})
    checked.require_valid()
    assert "web1" in checked.preview and SECRET not in checked.preview


def test_a_datastores_file_is_what_is_judged_and_written(datastore: Path) -> None:
    checked = check({"scripts": [{"datastore_path": "scripts/web.sh"}]}, datastore)
    checked.require_valid()
    assert checked.customization.scripts[0].content == b"#!/bin/sh\necho web\n"
    assert "script (19 bytes" in checked.preview


def test_each_finding_is_in_the_details_and_none_has_a_value() -> None:
    checked = check({"scripts": [{"content": f"#cloud-config\nusers: [{SECRET}"}]})
    with pytest.raises(OpenNGTError) as caught:
        checked.require_valid()
    assert caught.value.code == "CUSTOMIZATION_INVALID" and "scripts[0]" in caught.value.message
    assert caught.value.details["findings"] and SECRET not in str(caught.value.to_dict())
    assert checked.preview == ""


def test_a_bomb_ends_with_the_child_and_not_with_the_service() -> None:
    """T28: whatever the reader would let through, its process has no more memory than it may have."""
    anchors = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(12))
    checked = check({"scripts": [{"content": "#cloud-config\n" + anchors}]})
    with pytest.raises(OpenNGTError) as caught:
        checked.require_valid()
    assert caught.value.code == "CUSTOMIZATION_INVALID"


def test_a_child_without_memory_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "openngt_service.customization.checked.JUDGE", ("-c", "import sys; sys.stdin.read(); bytearray(1 << 62)")
    )
    with pytest.raises(OpenNGTError) as caught:
        check({}).require_valid()
    assert caught.value.code == "INTERNAL", "a traceback is a defect"
    monkeypatch.setattr(
        "openngt_service.customization.checked.JUDGE", ("-c", "import sys; sys.stdin.read(); sys.exit(3)")
    )
    with pytest.raises(OpenNGTError) as caught:
        check({}).require_valid()
    assert caught.value.details["findings"][0]["code"] == "TOO_LARGE"


def test_a_child_that_never_answers_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openngt_service.customization.checked.WAIT_SECONDS", 0.2)
    # Its own name among the processes, of which other runs have theirs.
    name = f"a child of {os.getpid()}"
    monkeypatch.setattr("openngt_service.customization.checked.JUDGE", ("-c", "import time; time.sleep(471)", name))
    with pytest.raises(OpenNGTError) as caught:
        check({})
    assert caught.value.code == "COMMAND_TIMED_OUT"
    assert name not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout


def test_large_files_are_no_bomb() -> None:
    content = base64.b64encode(os.urandom(4 << 20)).decode()
    check({"files": [{"path": "/opt/large.bin", "content_base64": content}]}).require_valid()


BAD_PATHS = {
    "absolute": "/etc/passwd",
    "upwards": "../secret",
    "upwards inside": "scripts/../../secret",
    "here": "./scripts/web.sh",
    "empty": "",
    "no name": "scripts//web.sh",
    "a folder's slash": "scripts/",
    "NUL": "scripts/\0web.sh",
    "too long": "x/" * 1000 + "x",
    "a folder": "scripts",
    "a pipe": "pipe",
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS.keys())
def test_a_path_out_of_the_datastore_or_to_no_file_is_refused_with_its_field(datastore: Path, path: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        check({"scripts": [{"datastore_path": path}]}, datastore)
    assert caught.value.code == "INVALID_INPUT" and "scripts[0]" in caught.value.message
    assert SECRET not in str(caught.value.to_dict())


@pytest.mark.parametrize("path", ["out/secret", "out.sh"])
def test_a_symlink_leads_nowhere(datastore: Path, path: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        read_datastore(datastore, path)
    assert SECRET not in str(caught.value.to_dict()) and caught.value.code in ("FILE_UNUSABLE", "NOT_FOUND")


def test_what_is_not_there_is_named(datastore: Path) -> None:
    with pytest.raises(OpenNGTError, match=r"scripts/db\.sh") as caught:
        check({"scripts": [{"datastore_path": "scripts/db.sh"}]}, datastore)
    assert caught.value.code == "NOT_FOUND"
    with pytest.raises(OpenNGTError, match="no datastore"):
        check({"scripts": [{"datastore_path": "scripts/db.sh"}]})
