# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/releasing.md followed up to where it has the tree judged: it leads to one that can be released."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ..conftest import ROOT
from ..docs.examples import examples_of

PAGE = ROOT / "docs/releasing.md"
VERSION = str(yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"])
# Of the same line, which the compatibility table knows.
NEXT = re.sub(r"\d+$", lambda found: str(int(found[0]) + 1), VERSION)
FRAGMENT = "---\nbugfixes:\n  - test - something was mended.\n"
PERSON = {"NAME": "test", "EMAIL": "test@example.com"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """This tree as it lies here, in a repository of its own, with a change that no release has."""
    folder = tmp_path / "tree"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "changelogs/fragments").mkdir(exist_ok=True)
    (folder / "changelogs/fragments/test.yml").write_text(FRAGMENT)
    (folder / "build").mkdir()
    (folder / "build/venv").symlink_to(Path(sys.executable).parents[1])
    follow(folder, "git init --quiet && git add --all && git commit --quiet --message 'as it is'")
    return folder


def follow(tree: Path, commands: str) -> str:
    who = {f"GIT_{role}_{name}": value for role in ("AUTHOR", "COMMITTER") for name, value in PERSON.items()}
    environment = {"PATH": os.environ["PATH"], "HOME": str(tree.parent), "LANG": "C.UTF-8", **who}
    command = ["bash", "-euo", "pipefail", "-c", commands]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, commands + done.stdout + done.stderr
    return done.stdout


def typed(begin: str, end: str) -> str:
    """The commands between two that the page has, both included, with the next version in place of this one."""
    texts = [example.text for example in examples_of(PAGE)]
    first, last = (next(n for n, text in enumerate(texts) if text.startswith(one)) for one in (begin, end))
    return "\n".join(texts[first : last + 1]).replace(VERSION, NEXT)


@pytest.mark.slow
@pytest.mark.nightly
def test_the_page_leads_from_this_tree_to_one_that_can_be_released(tree: Path) -> None:
    # What comes before has made the environment.
    follow(tree, typed(". build/venv", "git add"))
    check = [sys.executable, ROOT / "scripts/release.py", "--check", "--root", tree]
    assert subprocess.run(check, capture_output=True, text=True, check=False).stdout == f"{NEXT} can be released\n"
    follow(tree, typed("git tag", "git tag"))
    assert subprocess.run(check, capture_output=True, text=True, check=False).stdout == f"{NEXT} can be released\n"
    changelog = (tree / "CHANGELOG.rst").read_text()
    assert f"\nv{NEXT}\n" in changelog and "- test - something was mended.\n" in changelog
    assert ".plugin-cache.yaml" not in follow(tree, "git ls-files")
    # What tells when something came is history.
    before = len(re.findall(f"version_added: {re.escape(VERSION)}", follow(ROOT, "cat plugins/modules/*.py")))
    assert len(re.findall(f"version_added: {re.escape(VERSION)}", follow(tree, "cat plugins/modules/*.py"))) == before
