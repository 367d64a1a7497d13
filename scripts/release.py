#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a release: refuse what does not agree, build, judge what was built, and say what is left to do by hand.

Everything that users get is judged as they get it: opened, installed into empty environments without a network, and put
to work with the source tree out of sight. Nothing is uploaded and no tag is made. `--check` only compares.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.version import InvalidVersion, Version

HERE = Path(__file__).resolve().parents[1]
LIBRARY = "plugins/module_utils/openngt/version.py"
AGENT = "plugins/module_utils/openngt/agent/version.py"
# As our tarballs, wheel, bundle and packages are called.
OF_A_FILE = re.compile(r"openngt-(?:guest_tools-|agent_)?(\d+\.\d+\.\d+)")


@dataclass(frozen=True)
class Tree:
    """What a tree says of itself."""

    versions: dict[str, str]
    """By the file that says so."""
    named: dict[str, set[str]]
    """Versions in the names of our files, by the page that has them."""
    released: dict[str, Any]
    """Of changelogs/changelog.yaml, by version."""
    fragments: list[str]
    changelog: str
    """Text of CHANGELOG.rst; empty where there is none."""
    lines: list[str]
    """Release lines (`0.1`) of the compatibility table."""
    changed: list[str]
    """Files that differ from the commit, or that git does not know."""
    tags: dict[str, str]
    """Commit by tag."""
    commit: str


def pages(root: Path) -> list[Path]:
    return sorted(path for pattern in ("README.md", "docs/*.md", "roles/*/README.md") for path in root.glob(pattern))


def said_versions(root: Path) -> dict[str, str]:
    def python_version(name: str) -> str:
        found = re.search(r'^__version__ = "(.+)"$', (root / name).read_text(encoding="utf-8"), re.M)
        return found[1] if found else "none"

    return {
        "galaxy.yml": str(yaml.safe_load((root / "galaxy.yml").read_text(encoding="utf-8"))["version"]),
        "pyproject.toml": tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"],
        LIBRARY: python_version(LIBRARY),
        AGENT: python_version(AGENT),
    }


def read(root: Path) -> Tree:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout

    def load(name: str) -> Any:
        return yaml.safe_load((root / name).read_text(encoding="utf-8"))

    changelog = root / "CHANGELOG.rst"
    commits = "%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"
    refs = git("for-each-ref", f"--format=%(refname:short) {commits}", "refs/tags")
    return Tree(
        versions=said_versions(root),
        named={
            str(page.relative_to(root)): set(OF_A_FILE.findall(page.read_text(encoding="utf-8")))
            for page in pages(root)
        },
        released=load("changelogs/changelog.yaml")["releases"],
        fragments=sorted(path.name for path in (root / "changelogs/fragments").glob("*.y*ml")),
        changelog=changelog.read_text(encoding="utf-8") if changelog.exists() else "",
        lines=[row["service"] for row in load("src/openngt_service/compatibility/versions.json")["services"]],
        changed=git("status", "--porcelain").splitlines(),
        tags=dict(line.split() for line in refs.splitlines()),
        commit=git("rev-parse", "HEAD").strip(),
    )


def refusals(tree: Tree) -> Iterator[str]:
    """Why this tree is no release: each with what to do."""
    version = tree.versions["galaxy.yml"]
    if set(tree.versions.values()) != {version}:
        told = ", ".join(f"{name} {said}" for name, said in tree.versions.items())
        yield f"versions differ ({told}): scripts/set_version.py {version} writes the same into all of them"
    if not released(version):
        yield f"{version} is no version of a release: MAJOR.MINOR.PATCH"
        return
    others = [name for name, named in tree.named.items() if named - {version}]
    if others:
        yield f"pages name files of another version ({', '.join(others)}): scripts/set_version.py {version}"
    yield from changelog_refusals(tree, version)
    if ".".join(version.split(".")[:2]) not in tree.lines:
        yield f"compatibility/versions.json has no row for {version}: add it, then run scripts/generated"
    if tree.changed:
        some = ", ".join(line[3:] for line in tree.changed[:5])
        yield f"the tree differs from its commit ({some}): commit or remove it"
    if tree.tags.get(f"v{version}", tree.commit) != tree.commit:
        yield f"v{version} is the tag of another commit: raise the version"
    tagged = [tag[1:] for tag in tree.tags if tag.startswith("v") and released(tag[1:])]
    newest = max(tagged, key=Version, default=version)
    if Version(newest) > Version(version):
        yield f"v{newest} is released already and is later than {version}: raise the version"


def changelog_refusals(tree: Tree, version: str) -> Iterator[str]:
    remedy = f"antsibull-changelog release --version {version}, then commit"
    if version not in tree.released:
        yield f"changelogs/changelog.yaml has no release {version}: {remedy}"
    elif tree.fragments:
        some = ", ".join(tree.fragments[:5])
        yield f"changes stand in no release ({some}): raise the version, or have the changelog's release take them"
    if not re.search(rf"^v{re.escape(version)}$", tree.changelog, re.M):
        yield f"CHANGELOG.rst has no section v{version}: {remedy}"


def released(text: str) -> bool:
    try:
        return Version(text).release == tuple(map(int, text.split("."))) and text.count(".") == 2
    except (InvalidVersion, ValueError):
        return False


# -- Build and judge ------------------------------------------------------------------------------------------------


def step(title: str, *command: str | Path, **environment: str) -> None:
    sys.stdout.write(f"== {title}\n")
    sys.stdout.flush()
    done = subprocess.run(command, cwd=HERE, env={**os.environ, **environment}, check=False)
    if done.returncode:
        sys.exit(f"FAILED: {title}")


def build(out: Path) -> Path:
    """The bundle; tarball and wheel beside it are those in it, so that what is judged is what is uploaded."""
    shutil.rmtree(out, ignore_errors=True)
    step("Build the tarball, the wheel and the bundle", sys.executable, HERE / "scripts/bundle.py", "--out", out)
    [bundle] = out.glob("*-bundle.tar.gz")
    with tarfile.open(bundle) as archive:
        for member in archive.getmembers():
            name = Path(member.name).name
            if re.fullmatch(r"openngt-(guest_tools-.+\.tar\.gz|.+\.whl)|sbom\.cdx\.json", name):
                content = archive.extractfile(member)
                assert content is not None, f"{member.name} is a file"
                (out / name).write_bytes(content.read())
    return bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="build nothing")
    parser.add_argument("--root", type=Path, default=HERE, help="the tree that is compared")
    parser.add_argument("--out", type=Path, default=HERE / "build/release")
    options = parser.parse_args()
    tree = read(options.root)
    wrong = list(refusals(tree))
    if wrong:
        sys.exit("\n".join(["This tree is no release:", *(f"- {line}" for line in wrong)]))
    version = tree.versions["galaxy.yml"]
    if options.check:
        sys.stdout.write(f"{version} can be released\n")
        return
    bundle = build(options.out.absolute())
    step(
        "Open them, install them without a network, look at what is there",
        *(sys.executable, "-m", "pytest", "-q", "tests/artefacts"),
        OPENNGT_TEST_BUNDLE=str(bundle),
    )
    [tarball] = options.out.glob("openngt-guest_tools-*.tar.gz")
    step("Have galaxy-importer judge the tarball", HERE / "scripts/importer", tarball)
    step("The main flow with the source tree out of sight", HERE / "scripts/smoke", bundle)
    step(
        "The release before leaves its database and its agents to this one",
        *(sys.executable, "-m", "pytest", "-q", "tests/simulated/test_release_upgrade.py"),
    )
    files = "\n".join(f"  {path}" for path in sorted(options.out.iterdir()))
    sys.stdout.write(f"openngt {version} is built and judged; tag and uploads: docs/releasing.md\n{files}\n")


if __name__ == "__main__":
    main()
