# SPDX-License-Identifier: GPL-3.0-or-later
"""The package that a tools ISO carries for Windows guests: what is taken for one, and how it travels."""

import dataclasses
import datetime
import struct
import zipfile
from pathlib import Path

import pytest
from tests.fakes.windows_python import embeddable

from openngt.errors import OpenNGTError
from openngt.iso.ensure_iso import IsoOrder, ensure_iso
from openngt.iso.layout import AGENT, INSTALLER, INSTALLER_WINDOWS, SETUP_WINDOWS
from openngt.iso.payload import tools_payload
from openngt.iso.template import ensure_template
from openngt.iso.windows_python import ON_ISO, inspect_windows_python
from openngt.pki.authority import create_authority

from .conftest import CLUSTER_UUID, VM_UUID


def test_the_embeddable_package_is_measured_and_stands_on_the_iso(tmp_path: Path) -> None:
    python = inspect_windows_python(embeddable(tmp_path / "python.zip"))
    assert (python.version, python.architecture, python.entry.path) == ("3.12", "amd64", ON_ISO)
    payload = tools_payload(windows_python=python)
    assert [file.entry.path for file in payload] == [AGENT, ON_ISO, INSTALLER, INSTALLER_WINDOWS, SETUP_WINDOWS]
    with_it = ensure_template(tmp_path / "templates", payload)
    assert with_it.digest != ensure_template(tmp_path / "templates", tools_payload()).digest


def test_a_package_that_was_changed_since_it_was_measured_is_not_taken(tmp_path: Path) -> None:
    python = inspect_windows_python(embeddable(tmp_path / "python.zip"))
    embeddable(tmp_path / "python.zip", version=13)
    with pytest.raises(OpenNGTError):
        ensure_template(tmp_path / "templates", tools_payload(windows_python=python))


def test_extras_that_bring_a_file_of_the_same_name_are_refused(tmp_path: Path) -> None:
    python = inspect_windows_python(embeddable(tmp_path / "python.zip"))
    (tmp_path / "extras/Windows").mkdir(parents=True)
    (tmp_path / "extras/Windows/Python.zip").write_text("another")
    with pytest.raises(OpenNGTError) as caught:
        tools_payload(tmp_path / "extras", python)
    assert caught.value.code == "INVALID_INPUT"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"without": ["_ssl.pyd"]}, "lacks _ssl.pyd"),
        ({"without": ["python312.dll"]}, "lacks python3"),
        ({"version": 7}, "3.8 or newer"),
        ({"program": b"#!/bin/sh\n"}, "no program of Windows"),
        ({"program": b"MZ" + b"\0" * 58 + struct.pack("<I", 64) + b"PE\0\0" + b"\x00\x02"}, "no program of Windows"),
    ],
)
def test_another_zip_is_refused_with_what_it_lacks(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = embeddable(tmp_path / "python.zip", **change)  # type: ignore[arg-type]
    with pytest.raises(OpenNGTError) as caught:
        inspect_windows_python(path)
    assert caught.value.code == "INVALID_INPUT" and caught.value.details == {"field": "windows_python"}
    assert said in caught.value.message


def test_what_is_no_zip_and_what_is_not_there_say_so(tmp_path: Path) -> None:
    (tmp_path / "python.zip").write_bytes(b"no zip")
    for path, code in ((tmp_path / "python.zip", "INVALID_INPUT"), (tmp_path / "none.zip", "FILE_UNUSABLE")):
        with pytest.raises(OpenNGTError) as caught:
            inspect_windows_python(path)
        assert caught.value.code == code


def test_a_damaged_member_is_no_crash(tmp_path: Path) -> None:
    path = embeddable(tmp_path / "python.zip")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("python.exe").header_offset + 30 + len("python.exe")
    content[at + 4] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(OpenNGTError) as caught:
        inspect_windows_python(path)
    assert caught.value.code == "INVALID_INPUT"


def test_an_iso_without_a_service_is_made_again_for_another_python_and_never_twice_for_one(
    tmp_path: Path, now: datetime.datetime
) -> None:
    create_authority(tmp_path / "ca", common_name="Test CA", now=now)
    order = IsoOrder(tmp_path / "vm.iso", tmp_path / "ca", VM_UUID, CLUSTER_UUID, "192.0.2.10")
    for version in (12, 13):
        path = embeddable(tmp_path / f"python-3.{version}.zip", version=version)
        equipped = dataclasses.replace(order, windows_python=path)
        assert [ensure_iso(equipped, check=False, now=now).changed for _ in range(2)] == [True, False]
    assert ensure_iso(order, check=True, now=now).changed, "without one it is another ISO"
    with pytest.raises(OpenNGTError) as caught:
        dataclasses.replace(order, windows_python=path, config_only=True)
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": "windows_python"})
