# SPDX-License-Identifier: GPL-3.0-or-later
"""What users get, opened and installed: all of it comes out of one bundle, and nothing is taken from a network."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import ROOT

PYTHON = "{}.{}".format(*sys.version_info[:2])
# `make release` has its own artefacts judged.
GIVEN = "OPENNGT_TEST_BUNDLE"


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder of this run that its first worker fills, and that the others wait for."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / f"{name}.made").exists():
            (base / name).mkdir()
            make(base / name)
            (base / f"{name}.made").touch()
    return base / name


def checked(*command: str | Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, for the Python that runs this at least; its checksum lies beside it."""
    if os.environ.get(GIVEN):
        return Path(os.environ[GIVEN])

    def make(out: Path) -> None:
        checked(sys.executable, ROOT / "scripts/bundle.py", "--out", out, "--python", PYTHON)

    [archive] = made_once(tmp_path_factory, "bundle", make).glob("*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def unpacked(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        checked("tar", "-xf", bundle, "-C", folder)

    return made_once(tmp_path_factory, "unpacked", make) / bundle.name.removesuffix(".tar.gz")


@pytest.fixture(scope="session")
def installed(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment, `venv`, of the wheel and the collections only, and with no source."""

    def make(home: Path) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHON": sys.executable, "LANG": "C.UTF-8"}
        checked(*without_network("sh", unpacked / "install.sh", home / "venv"), environment=environment)

    return made_once(tmp_path_factory, "installed", make)


def without_network(*command: str | Path) -> list[str | Path]:
    """The command where nothing can be reached, not even this host."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--net", *as_root, *command]
