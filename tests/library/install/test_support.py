# SPDX-License-Identifier: GPL-3.0-or-later
"""The support table, asked with the os-release files of real distributions."""

import subprocess
import sys
from pathlib import Path

import pytest

from openngt.install.support import DISTRIBUTIONS, FAMILIES, install_command, judge, parse

ROOT = Path(__file__).resolve().parents[3]
FILES = Path(__file__).with_name("os-release")

SUPPORTED = {
    "debian-12": ("Debian GNU/Linux 12", "debian", True),
    "ubuntu-24.04": ("Ubuntu 24.04", "debian", False),
    "rhel-9.4": ("Red Hat Enterprise Linux 9.4", "rhel", False),
    "rocky-8.10": ("Rocky Linux 8.10", "rhel", False),
    "almalinux-10.0": ("AlmaLinux 10.0", "rhel", False),
    "centos-stream-9": ("CentOS Stream 9", "rhel", False),
    "ol-8.9": ("Oracle Linux Server 8.9", "rhel", False),
    "fedora-43": ("Fedora Linux 43", "rhel", False),
    "sles-15.6": ("SLES 15.6", "suse", False),
    "opensuse-leap-15.6": ("openSUSE Leap 15.6", "suse", False),
    "opensuse-tumbleweed": ("openSUSE Tumbleweed 20261101", "suse", False),
    "sl-micro-6.1": ("SL-Micro 6.1", "suse-transactional", False),
}
UNSUPPORTED = {
    "debian-sid": ("Unsupported distribution : debian gnu/linux (supported: 11, 12, 13)", "debian"),
    "ubuntu-18.04": ("Unsupported distribution : ubuntu 18.04 (supported: 20.04, 22.04, 24.04, 26.04)", "debian"),
    "linuxmint-22": ("Unsupported distribution : linux mint 22", "debian"),
    "amzn-2023": ("Unsupported distribution : amazon linux 2023", "rhel"),
    "alpine-3.20": ("Unsupported distribution : alpine linux 3.20.3", None),
}


def read(name: str) -> dict[str, str]:
    return parse((FILES / name).read_text(encoding="utf-8"))


def test_every_file_is_asked() -> None:
    assert {path.name for path in FILES.iterdir()} == {*SUPPORTED, *UNSUPPORTED}


@pytest.mark.parametrize("name", SUPPORTED)
def test_distribution_of_the_table(name: str) -> None:
    label, family, tested = SUPPORTED[name]
    assert judge(read(name)) == (True, tested, label, family, "")


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_distribution_outside_the_table_is_named_and_still_has_its_relatives_package_manager(name: str) -> None:
    message, family = UNSUPPORTED[name]
    verdict = judge(read(name))
    assert not verdict.supported
    assert (verdict.message, verdict.family) == (message, family)


def test_a_version_is_matched_by_whole_numbers() -> None:
    assert judge({"ID": "debian", "VERSION_ID": "12"}).supported
    assert not judge({"ID": "debian", "VERSION_ID": "120"}).supported
    assert not judge({"ID": "ubuntu", "VERSION_ID": "24.10"}).supported
    assert judge({"ID": "rhel", "VERSION_ID": "9"}).supported
    assert not judge({"ID": "rhel", "VERSION_ID": "90.1"}).supported


def test_nothing_is_known_of_an_empty_file() -> None:
    assert judge(parse("")).message == "Unsupported distribution : unknown"


def test_damaged_lines_are_skipped() -> None:
    assert parse("ID=debian\nNAME=\"no end\n# X=1\n\nnonsense\nVERSION_ID='12'\n") == {
        "ID": "debian",
        "VERSION_ID": "12",
    }


def test_the_table_is_whole() -> None:
    families = {family.name for family in FAMILIES}
    assert {row.family for row in DISTRIBUTIONS} == families
    identifiers = [identifier for row in DISTRIBUTIONS for identifier in row.ids]
    assert len(identifiers) == len(set(identifiers))
    assert all(set(row.tested) <= set(row.versions) for row in DISTRIBUTIONS if row.versions)


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_install_commands_are_shell_that_names_both_packages(family: str) -> None:
    command = install_command(family, ["python", "tar"])
    assert command.endswith(" python3 tar")
    subprocess.run(["sh", "-n", "-c", command], check=True)


def test_the_page_shows_this_table() -> None:
    script = ROOT / "scripts/support_table.py"
    subprocess.run([sys.executable, str(script), "--check"], check=True)
