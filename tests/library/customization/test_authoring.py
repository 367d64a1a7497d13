# SPDX-License-Identifier: GPL-3.0-or-later
"""Media as a file: what other programs read from it, and who may read it on this host."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from openngt.customization.authoring import write_media
from openngt.customization.model import Media, MediaFile
from openngt.errors import OpenNGTError

NOCLOUD = Media(
    "cidata",
    (
        MediaFile("user-data", b"#cloud-config\n{}\n"),
        MediaFile("meta-data", b"instance-id: i-1\n"),
        MediaFile("network-config", b""),
        MediaFile("vendor-data", os.urandom(70_000)),
    ),
)
CONFIG_DRIVE = Media(
    "config-2",
    (
        MediaFile("openstack/latest/user_data", b"#!/bin/sh\n"),
        MediaFile("openstack/latest/meta_data.json", b"{}\n"),
        MediaFile("openstack/latest/network_data.json", b"[]\n"),
        MediaFile("openstack/content/0000", bytes(range(256)) * 100),
    ),
)
UNATTEND = Media("UNATTEND", (MediaFile("Autounattend.xml", b"<unattend/>"),))


def run(*command: str) -> bytes:
    return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout


@pytest.fixture(params=[NOCLOUD, CONFIG_DRIVE, UNATTEND], ids=lambda media: media.label)
def media(request: pytest.FixtureRequest) -> Media:
    assert isinstance(request.param, Media)
    return request.param


@pytest.mark.parametrize("names", ["-R", "-J"])
def test_isoinfo_reads_label_names_and_content_by_rock_ridge_and_by_joliet(
    tmp_path: Path, media: Media, names: str
) -> None:
    path = tmp_path / "vm.iso"
    write_media(media, str(path))
    assert f"Volume id: {media.label}\n".encode() in run("isoinfo", "-d", "-i", str(path))
    listed = run("isoinfo", names, "-f", "-i", str(path)).decode().split()
    assert {file.path for file in media.files} <= {name.lstrip("/") for name in listed}
    for file in media.files:
        assert run("isoinfo", names, "-i", str(path), "-x", "/" + file.path) == file.content


def test_xorriso_reads_them_too(tmp_path: Path, media: Media) -> None:
    path, folder = tmp_path / "vm.iso", tmp_path / "read"
    write_media(media, str(path))
    run("xorriso", "-osirrox", "on", "-indev", str(path), "-extract", "/", str(folder))
    for file in media.files:
        assert (folder / file.path).read_bytes() == file.content
        assert stat.S_IMODE((folder / file.path).stat().st_mode) == 0o400


def test_blkid_finds_the_label_by_which_cloud_init_looks(tmp_path: Path, media: Media) -> None:
    path = tmp_path / "vm.iso"
    write_media(media, str(path))
    assert run("blkid", "-p", "-o", "value", "-s", "LABEL", str(path)).decode().strip() == media.label


def test_the_file_is_its_owners_alone_and_replaces_another_at_once(tmp_path: Path, media: Media) -> None:
    path = tmp_path / "vm.iso"
    path.write_text("former")
    path.chmod(0o644)
    with path.open("rb") as reader:
        write_media(media, str(path))
        assert reader.read() == b"former"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = path.read_bytes()
    write_media(media, str(path))
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (Media("cidata", (MediaFile("../user-data", b"secret"),)), "INVALID_INPUT"),
        (Media("cidata", (MediaFile("a", b"secret"), MediaFile("a/b", b""))), "INVALID_INPUT"),
        (Media("my disc", (MediaFile("a", b"secret"),)), "INVALID_INPUT"),
    ],
)
def test_what_no_disc_takes_leaves_nothing_behind(tmp_path: Path, broken: Media, code: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        write_media(broken, str(tmp_path / "vm.iso"))
    assert caught.value.code == code
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OpenNGTError) as caught:
        write_media(NOCLOUD, str(tmp_path / "no/vm.iso"))
    assert caught.value.code == "FILE_UNUSABLE"
    assert str(tmp_path / "no") in caught.value.message
