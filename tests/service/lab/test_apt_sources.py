# SPDX-License-Identifier: GPL-3.0-or-later
from pathlib import Path

import pytest

from openngt_service.lab.apt_sources import debian_sources, host_sources

DEB822 = """\
# the release and its updates
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://vendor.example/apt
Suites: cloud-tool-bookworm
Components: main

Types: deb
URIs: http://mirror.example/debian
Suites: bookworm-backports
Components: main
Enabled: no

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main
"""


def test_deb822_stanzas_of_the_release_are_kept_whole() -> None:
    kept = debian_sources(DEB822, "bookworm", deb822=True)
    assert kept.count("Types:") == 2
    assert "Suites: bookworm bookworm-updates" in kept
    assert "Suites: bookworm-security" in kept
    assert "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" in kept
    assert "vendor.example" not in kept
    assert "backports" not in kept


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("deb http://mirror.example/debian bookworm main", True),
        ("deb [signed-by=/usr/share/keyrings/x.gpg] http://mirror.example/debian bookworm-updates main contrib", True),
        ("deb http://mirror.example/security bookworm/updates main", True),
        ("deb http://mirror.example/debian trixie main", False),
        ("deb http://vendor.example/apt cloud-tool-bookworm main", False),
        ("# deb http://mirror.example/debian bookworm main", False),
        ("deb-src http://mirror.example/debian bookworm main", False),
        ("", False),
    ],
)
def test_one_line_entries(line: str, kept: bool) -> None:
    assert debian_sources(line + "\n", "bookworm", deb822=False) == (line + "\n" if kept else "")


def test_reads_the_files_that_apt_reads_and_no_others(tmp_path: Path) -> None:
    line = "deb http://mirror.example/debian bookworm main\n"
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text(line, encoding="utf-8")
    (parts / "more.list").write_text(line, encoding="utf-8")
    (parts / "old.list.disabled").write_text(line, encoding="utf-8")
    (parts / "debian.sources").write_text(DEB822, encoding="utf-8")
    (parts / "other.list").write_text("deb http://vendor.example/apt stable main\n", encoding="utf-8")
    assert sorted(host_sources("bookworm", tmp_path)) == ["debian.sources", "more.list", "sources.list"]


def test_a_host_that_is_no_debian_of_the_release_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://mirror.example/ubuntu noble main\n", encoding="utf-8")
    assert host_sources("bookworm", tmp_path) == {}
