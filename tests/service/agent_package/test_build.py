# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of the agent, as dpkg and rpm read them; installing them is for tests/e2e/test_packages.py."""

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openngt.agent_bundle import build_zipapp
from openngt.errors import OpenNGTError
from openngt.version import __version__
from openngt_service.agent_package.build import build_packages
from openngt_service.agent_package.contents import AGENT, CONFFILE, sortable

PIN = "ab" * 32
FILES = {
    AGENT,
    CONFFILE,
    "usr/share/doc/openngt-agent/copyright",
    "usr/share/doc/openngt-agent/changelog.Debian.gz",
}
Package = Callable[..., Path]


def said(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def package(tmp_path: Path) -> Package:
    def build(form: str, **how: Any) -> Path:
        [built] = build_packages(tmp_path, [form], **how)
        assert built["sha256"] == hashlib.sha256(Path(built["path"]).read_bytes()).hexdigest()
        return Path(built["path"])

    return build


def unpacked(package: Path, folder: Path) -> dict[str, bytes]:
    """By path, read by the package managers' own programs."""
    folder.mkdir()
    if package.suffix == ".deb":
        said("dpkg-deb", "--extract", package, folder)
    else:
        said("rpm2archive", "--nocompression", package)
        said("tar", "--extract", "--directory", folder, "--file", f"{package}.tar")
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", ["deb", "rpm"])
def test_a_package_holds_the_agent_and_no_identity(package: Package, tmp_path: Path, form: str) -> None:
    found = unpacked(package(form), tmp_path / "tree")
    assert set(found) == FILES
    assert found[AGENT] == build_zipapp()
    words = [line for line in found[CONFFILE].decode().splitlines() if not line.startswith("#")]
    assert words == ["any"]
    assert not any(b"PRIVATE KEY-----\n" in data for data in found.values())


@pytest.mark.parametrize("form", ["deb", "rpm"])
def test_the_same_bytes_whoever_builds_them_and_where(
    package: Package, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = package(form).read_bytes()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".rpmmacros").write_text("%vendor somebody\n%_binary_payload w2.xzdio\n")
    before = os.umask(0o077)
    try:
        assert package(form).read_bytes() == first
    finally:
        os.umask(before)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    dated = package(form).read_bytes()
    assert dated != first and package(form).read_bytes() == dated


def test_dpkg_reads_what_the_package_wants_and_runs(package: Package, tmp_path: Path) -> None:
    deb = package("deb", revision=3)
    assert deb.name == f"openngt-agent_{__version__}-3_all.deb"
    field = said("dpkg-deb", "--field", deb, "Package", "Version", "Depends", "Architecture").splitlines()
    assert f"Version: {__version__}-3" in field and "Depends: python3 (>= 3.6), systemd" in field
    said("dpkg-deb", "--control", deb, tmp_path / "control")
    assert (tmp_path / "control/conffiles").read_text() == f"/{CONFFILE}\n"
    for name in ("postinst", "prerm", "postrm"):
        said("sh", "-n", tmp_path / "control" / name)
        assert os.access(tmp_path / "control" / name, os.X_OK)
    listed = said("dpkg-deb", "--contents", deb)
    assert "./usr/local" not in listed and all("root/root" in line for line in listed.splitlines())


def test_rpm_reads_what_the_package_wants_and_runs(package: Package, tmp_path: Path) -> None:
    rpm = package("rpm", revision=3)
    assert rpm.name == f"openngt-agent-{__version__}-3.noarch.rpm"
    assert {"python3 >= 3.6", "systemd", "tar"} <= set(said("rpm", "-qp", "--requires", rpm).splitlines())
    assert said("rpm", "-qp", "--configfiles", rpm).split() == [f"/{CONFFILE}"]
    scripts = said("rpm", "-qp", "--scripts", rpm)
    assert "agent install" in scripts and "agent purge" in scripts
    owners = said("rpm", "-qp", "--queryformat", "[%{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]", rpm)
    assert all(line.startswith("root:root /") and "/usr/local" not in line for line in owners.splitlines())


def test_a_pinned_ca_stands_in_the_file_that_the_agent_reads(package: Package, tmp_path: Path) -> None:
    found = unpacked(package("deb", ca_sha256=PIN.upper()), tmp_path / "tree")
    assert found[CONFFILE].decode().splitlines()[-1] == PIN


@pytest.mark.parametrize(
    ("version", "sorts"), [("0.1.0", "0.1.0"), ("1.0rc1", "1.0~rc1"), ("1.0.0-beta.2", "1.0.0~beta.2")]
)
def test_a_pre_release_sorts_before_its_release(version: str, sorts: str) -> None:
    assert sortable(version) == sorts
    if sorts != version:
        assert subprocess.run(["dpkg", "--compare-versions", sorts, "lt", sorts.partition("~")[0]]).returncode == 0


@pytest.mark.parametrize(
    ("how", "environment", "code", "words"),
    [
        ({"ca_sha256": "ab" * 31}, {}, "INVALID_INPUT", "ca_sha256"),
        ({"revision": 0}, {}, "INVALID_INPUT", "revision"),
        ({}, {"SOURCE_DATE_EPOCH": "yesterday"}, "INVALID_INPUT", "SOURCE_DATE_EPOCH"),
        ({}, {"SOURCE_DATE_EPOCH": "9" * 20}, "INVALID_INPUT", "SOURCE_DATE_EPOCH"),
        ({}, {"PATH": "/nowhere"}, "COMMAND_NOT_FOUND", "dpkg"),
    ],
)
def test_what_cannot_be_built_is_said_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any],
    environment: dict[str, str],
    code: str,
    words: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OpenNGTError) as caught:
        build_packages(tmp_path, ["deb", "rpm"], **how)
    assert caught.value.code == code and words in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_without_rpmbuild_its_package_is_named_and_no_deb_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("dpkg-deb", "tar", "gzip"):
        [found] = said("which", name).split()
        (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))
    (tmp_path / "out").mkdir()
    with pytest.raises(OpenNGTError, match=r"rpmbuild.*package rpm on Debian") as caught:
        build_packages(tmp_path / "out", ["deb", "rpm"])
    assert caught.value.code == "COMMAND_NOT_FOUND"
    assert list((tmp_path / "out").iterdir()) == []
