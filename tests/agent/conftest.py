# SPDX-License-Identifier: GPL-3.0-or-later
"""The interpreters that are here, and the material that the suite judges on each of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openngt.agent_bundle import build_zipapp, installer_source
from openngt.version import __version__

from .succession import make_successions
from .workshop import make_material
from .workshop_upgrade import make_offers

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "plugins/module_utils/openngt/agent"
MINORS = range(6, 15)


def answers(path: str, minor: int) -> bool:
    """By trying: a version manager's shim may answer to a name that it cannot run."""
    code = f"import sys, ssl; sys.exit(sys.version_info[:2] != (3, {minor}))"
    done = subprocess.run([path, "-I", "-c", code], check=False, capture_output=True)
    return done.returncode == 0


def interpreters() -> dict[str, str]:
    """`3.6` -> path. The one that runs the tests is always among them.

    Others are found by their names on PATH and in the folders of OPENNGT_TEST_PYTHONS (colon separated).
    """
    folders = os.pathsep.join(filter(None, [os.environ.get("OPENNGT_TEST_PYTHONS"), os.environ.get("PATH")]))
    found = {}
    for minor in MINORS:
        path = shutil.which(f"python3.{minor}", path=folders)
        if path and answers(path, minor):
            found[f"3.{minor}"] = path
    found[f"3.{sys.version_info.minor}"] = sys.executable
    return found


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates, discs and the built agent, the same for all interpreters."""
    folder = tmp_path_factory.mktemp("material")
    agent = build_zipapp()
    ca, other = make_material(folder, agent)
    make_offers(folder, ca, other, agent + b"#")
    make_successions(folder, agent)
    (folder / "install_ngt.py").write_bytes(installer_source())
    messages = ROOT / "tests/fakes/messages"
    (folder / "golden").symlink_to(messages / __version__.rpartition(".")[0])
    for simulated in ("older", "newer"):
        (folder / simulated).symlink_to(messages / simulated)
    # Inside the zip the package has this name; from here it is imported as it stands in the tree.
    (folder / "lib").mkdir()
    (folder / "lib/openngt_agent").symlink_to(AGENT)
    return folder
