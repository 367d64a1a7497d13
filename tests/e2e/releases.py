# SPDX-License-Identifier: GPL-3.0-or-later
"""Wheels of the service: this tree's, those of a later release made from it, and all that they need."""

import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from openngt_service.lab.image import default_cache

from ..conftest import ROOT

__all__ = ["NEXT_REVISION", "NEXT_VERSION", "bundle", "dependencies", "next_release", "wheel"]

# Of Debian 12, the lab's guest.
GUEST_PYTHON = "311"
PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64")
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "plugins/module_utils/openngt", "src/openngt_service")

NEXT_VERSION = "99.0.0"
NEXT_REVISION = "9999"
MIGRATION = '''\
"""A table more."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    op.create_table("later", sa.Column("id", sa.Integer(), primary_key=True))
'''


def dependencies() -> Path:
    """A folder with wheels of all that the service needs in a guest; downloaded once into the user's cache."""
    wanted = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    folder = default_cache() / f"wheels-{hashlib.sha256(repr((wanted, GUEST_PYTHON)).encode()).hexdigest()[:16]}"
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={GUEST_PYTHON}"]
        options += [f"--abi={abi}" for abi in (f"cp{GUEST_PYTHON}", "abi3", "none")]
        options += [f"--platform={platform}" for platform in PLATFORMS]
        python("-m", "pip", "download", "--quiet", "--dest", str(unfinished), *options, *wanted)
        unfinished.rename(folder)
    return folder


def wheel(out: Path, tree: Path = ROOT) -> Path:
    python("-m", "hatchling", "build", "-t", "wheel", "-d", str(out), cwd=tree)
    [made] = out.glob("openngt-*.whl")
    return made


def next_release(out: Path, work: Path, before: str) -> Path:
    """The wheel of a release to come: a higher version, and one revision of the database after `before`."""
    tree = work / "tree"
    for name in SOURCES:
        source, target = ROOT / name, tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    present = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name in ("pyproject.toml", "plugins/module_utils/openngt/version.py"):
        text = (tree / name).read_text()
        assert text.count(f'"{present}"') == 1, name
        (tree / name).write_text(text.replace(f'"{present}"', f'"{NEXT_VERSION}"'))
    versions = tree / "src/openngt_service/store/migrations/versions"
    (versions / f"v{NEXT_REVISION}_later.py").write_text(MIGRATION.format(revision=NEXT_REVISION, before=before))
    return wheel(out, tree)


def bundle(folder: Path, *wheels: Path) -> Path:
    """A bundle as `pip download` makes it: these wheels and what they need."""
    folder.mkdir()
    for path in (*wheels, *dependencies().iterdir()):
        shutil.copy(path, folder)
    return folder


def python(*arguments: str, cwd: Path = ROOT) -> None:
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
