# SPDX-License-Identifier: GPL-3.0-or-later
"""A release is refused unless versions, changelog, compatibility table and git agree; each refusal says what to do."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import ROOT

VERSIONED = {
    "galaxy.yml": "version: 1.2.3\n",
    "pyproject.toml": '[project]\nversion = "1.2.3"\n',
    "plugins/module_utils/openngt/version.py": '__version__ = "1.2.3"\n',
    "plugins/module_utils/openngt/agent/version.py": '__version__ = "1.2.3"\n',
}
FILES = {
    **VERSIONED,
    "docs/page.md": "$ tar -xf openngt-1.2.3-bundle.tar.gz\nopenngt 1.2.3 for 192.1.2.3 and 1.2.3.4, since 1.2.2.\n",
    "changelogs/changelog.yaml": "releases:\n  1.2.3:\n    release_date: '2026-11-20'\n",
    "CHANGELOG.rst": "v1.2.3\n======\n",
    "src/openngt_service/compatibility/versions.json": json.dumps({"services": [{"service": "1.2"}]}),
}


def git(tree: Path, *arguments: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", *who, *arguments], cwd=tree, check=True, capture_output=True)


def commit(tree: Path) -> None:
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--allow-empty", "--message", "as it is")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a release is made of, with all that is compared."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def check(tree: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / "scripts/release.py", "--check", "--root", tree]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write(tree: Path, name: str, text: str) -> None:
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_text(text)


def test_a_tree_that_agrees_can_be_released_also_once_it_is_tagged(tree: Path) -> None:
    git(tree, "tag", "v1.2.2")
    assert check(tree).stdout == "1.2.3 can be released\n"
    git(tree, "tag", "--annotate", "v1.2.3", "--message", "released")
    assert check(tree).stdout == "1.2.3 can be released\n"


@pytest.mark.parametrize("name", VERSIONED)
def test_a_version_that_differs_in_one_file_is_named(tree: Path, name: str) -> None:
    write(tree, name, VERSIONED[name].replace("1.2.3", "1.2.4"))
    commit(tree)
    done = check(tree)
    assert done.returncode == 1 and "versions differ" in done.stderr and f"{name} 1.2.4" in done.stderr


def of_a_developer(tree: Path) -> None:
    for name, text in VERSIONED.items():
        write(tree, name, text.replace("1.2.3", "1.2.3.dev1"))
    commit(tree)


def not_in_the_changelog(tree: Path) -> None:
    write(tree, "changelogs/changelog.yaml", "releases: {}\n")
    commit(tree)


def not_in_the_page(tree: Path) -> None:
    write(tree, "CHANGELOG.rst", "v1.2.30\n=======\n")
    commit(tree)


def with_a_fragment(tree: Path) -> None:
    write(tree, "changelogs/fragments/later.yml", "bugfixes: []\n")
    commit(tree)


def without_a_row(tree: Path) -> None:
    write(tree, "src/openngt_service/compatibility/versions.json", '{"services": []}')
    commit(tree)


def changed(tree: Path) -> None:
    write(tree, "galaxy.yml", FILES["galaxy.yml"] + "# changed\n")


def unknown(tree: Path) -> None:
    write(tree, "new.txt", "")


def on_a_page(tree: Path) -> None:
    write(tree, "docs/page.md", "the wheel openngt-1.2.2-py3-none-any.whl, the package openngt-agent_1.2.3-1_all.deb\n")
    commit(tree)


def tagged_elsewhere(tree: Path) -> None:
    git(tree, "tag", "v1.2.3")
    commit(tree)


def after_a_later_one(tree: Path) -> None:
    git(tree, "tag", "v1.10.0")


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (of_a_developer, "1.2.3.dev1 is no version of a release"),
        (not_in_the_changelog, "antsibull-changelog release --version 1.2.3"),
        (not_in_the_page, "CHANGELOG.rst has no section v1.2.3"),
        (with_a_fragment, "stand in no release (later.yml)"),
        (without_a_row, "has no row for 1.2.3"),
        (on_a_page, "(docs/page.md): scripts/set_version.py 1.2.3"),
        (changed, "(galaxy.yml)"),
        (unknown, "(new.txt)"),
        (tagged_elsewhere, "v1.2.3 is the tag of another commit"),
        (after_a_later_one, "v1.10.0 is released already"),
    ],
)
def test_what_does_not_agree_is_refused(tree: Path, alter: Callable[[Path], None], told: str) -> None:
    alter(tree)
    done = check(tree)
    assert done.returncode == 1 and done.stdout == ""
    assert told in done.stderr and done.stderr.count("\n- ") == 1, done.stderr


def set_version(tree: Path, version: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / "scripts/set_version.py", version, "--root", tree]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_version_is_written_where_it_is_compared_and_on_pages_and_nowhere_else(tree: Path) -> None:
    write(tree, "plugins/modules/vm.py", "version_added: 1.2.3\n")
    assert set_version(tree, "1.3.0").stdout.split() == [*VERSIONED, "docs/page.md"]
    for name, text in VERSIONED.items():
        assert (tree / name).read_text() == text.replace("1.2.3", "1.3.0")
    page = "$ tar -xf openngt-1.3.0-bundle.tar.gz\nopenngt 1.3.0 for 192.1.2.3 and 1.2.3.4, since 1.2.2.\n"
    assert (tree / "docs/page.md").read_text() == page
    assert (tree / "plugins/modules/vm.py").read_text() == "version_added: 1.2.3\n"
    assert set_version(tree, "1.3.0").stdout == ""


def test_a_page_that_was_left_behind_is_brought_along(tree: Path) -> None:
    on_a_page(tree)
    assert set_version(tree, "1.2.3").stdout == "docs/page.md\n"
    commit(tree)
    assert check(tree).stdout == "1.2.3 can be released\n"


def test_what_is_no_version_of_a_release_is_written_nowhere(tree: Path) -> None:
    done = set_version(tree, "1.3")
    assert done.returncode == 1 and "MAJOR.MINOR.PATCH" in done.stderr
    assert (tree / "galaxy.yml").read_text() == FILES["galaxy.yml"]
