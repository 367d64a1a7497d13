# SPDX-License-Identifier: GPL-3.0-or-later
"""Every Python from 3.6 on that this machine has, for what runs in guests."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["interpreters"]

OLDEST, NEWEST = 6, 15


@functools.cache
def interpreters() -> dict[str, str]:
    """`{"3.6": program, …}`, each version once and only if it starts: a version manager's shim may answer to a name.

    Looked for on PATH, in the folders of OPENNGT_TEST_PYTHONS (colon separated), and among pyenv's versions.
    """
    folders = [*os.environ.get("OPENNGT_TEST_PYTHONS", "").split(os.pathsep), *_of_pyenv(), os.environ["PATH"]]
    path = os.pathsep.join(filter(None, folders))
    versions = [f"3.{minor}" for minor in range(OLDEST, NEWEST + 1)]
    found = {version: shutil.which(f"python{version}", path=path) for version in versions}
    return {version: program for version, program in found.items() if program and _starts_as(program, version)}


def _of_pyenv() -> list[str]:
    if not shutil.which("pyenv"):
        return []
    prefixes = [_said(["pyenv", "prefix", version]) for version in _said(["pyenv", "versions", "--bare"]).split()]
    return [str(Path(prefix) / "bin") for prefix in prefixes if prefix]


def _starts_as(program: str, version: str) -> bool:
    return _said([program, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]) == version


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
