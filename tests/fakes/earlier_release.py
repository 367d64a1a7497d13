# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of the release before this tree: the last tag, or where there is none this tree under a lower version."""

import re
import shutil
import subprocess
from pathlib import Path

from openngt.version import __version__

__all__ = ["lay_earlier_release"]

ROOT = Path(__file__).resolve().parents[2]
UNRELEASED = "0.0.9"
SOURCES = {"plugins/module_utils/openngt": "openngt", "src/openngt_service": "openngt_service"}


def lay_earlier_release(folder: Path) -> str:
    """Its version; `folder` on PYTHONPATH is where its service and agent are imported from."""
    tag = last_tag()
    for source, name in SOURCES.items():
        if tag is None:
            shutil.copytree(ROOT / source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / name).mkdir(parents=True)
            packed = git("archive", f"{tag}:{source}")
            subprocess.run(["tar", "-x", "-C", folder / name], input=packed, check=True)
    if tag is not None:
        return tag.removeprefix("v")
    for path in folder.rglob("version.py"):
        text = path.read_text()
        path.write_text(
            re.sub(rf'^__version__ = "{re.escape(__version__)}"$', f'__version__ = "{UNRELEASED}"', text, flags=re.M)
        )
    return UNRELEASED


def last_tag() -> str | None:
    """The newest release that is not this tree's version."""
    try:
        tags = git("tag", "--list", "v*", "--sort=-version:refname").decode().split()
    except (OSError, subprocess.CalledProcessError):  # no git here
        return None
    return next((tag for tag in tags if tag != f"v{__version__}"), None)


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True).stdout
