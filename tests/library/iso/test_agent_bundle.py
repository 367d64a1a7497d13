# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's zipapp holds every file of the agent, is the same everywhere, and runs."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.interpreters import interpreters

from openngt import agent_bundle
from openngt.agent_bundle import agent_modules, build_zipapp, installer_source
from openngt.iso.layout import AGENT, INSTALLER, INSTALLER_WINDOWS, SETUP_WINDOWS
from openngt.iso.payload import tools_payload

LIBRARY = Path(agent_bundle.__file__).parent
ON_DISK = LIBRARY / "agent"
DIGEST = "import hashlib; from openngt.agent_bundle import *; print(hashlib.sha256(build_zipapp()).hexdigest())"


def entries() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(build_zipapp())) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_zipapp_holds_exactly_the_files_of_the_agent() -> None:
    on_disk = {
        "openngt_agent/" + path.relative_to(ON_DISK).as_posix(): path.read_bytes()
        for path in ON_DISK.rglob("*.py")
        if path.name != "install_ngt.py"
    }
    packed = entries()
    del packed["__main__.py"]
    assert sorted(packed) == sorted(on_disk), "name new modules of the agent in agent_bundle.py"
    assert packed == on_disk


def test_the_installer_is_the_source_verbatim() -> None:
    assert installer_source() == (ON_DISK / "install_ngt.py").read_bytes()


def test_entries_have_one_date_one_mode_and_no_compression() -> None:
    with zipfile.ZipFile(io.BytesIO(build_zipapp())) as archive:
        kinds = {(e.date_time, e.external_attr >> 16, e.compress_type, e.create_system) for e in archive.infolist()}
        assert archive.namelist() == sorted(archive.namelist())
    assert kinds == {((2026, 1, 1, 0, 0, 0), 0o100644, zipfile.ZIP_STORED, 3)}


@pytest.mark.parametrize("python", [sys.executable, *interpreters().values()])
def test_the_digest_is_the_same_and_the_zipapp_runs_on(python: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(LIBRARY.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    built = subprocess.run(
        [python, "-c", DIGEST], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert built.stdout.strip() == hashlib.sha256(build_zipapp()).hexdigest(), built.stderr
    zipapp = tmp_path / "ngt_agent.pyz"
    zipapp.write_bytes(build_zipapp())
    started = subprocess.run([python, str(zipapp), "--help"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert started.returncode == 0, started.stderr
    assert "install" in started.stdout


def test_the_digest_is_the_same_from_a_zip(tmp_path: Path) -> None:
    """As Ansible sends it: the library inside an archive, read by zipimport."""
    archive = tmp_path / "library.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in LIBRARY.rglob("*.py"):
            target.write(path, path.relative_to(LIBRARY.parent).as_posix())
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(archive)}
    command = [sys.executable, "-S", "-c", DIGEST]
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert built.stdout.strip() == hashlib.sha256(build_zipapp()).hexdigest(), built.stderr


def test_a_module_that_did_not_come_along_is_named(tmp_path: Path) -> None:
    shutil.copytree(LIBRARY, tmp_path / "openngt", ignore=shutil.ignore_patterns("__pycache__", "cli.py"))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-S", "-c", DIGEST]
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "LookupError: the source of openngt.agent.cli did not come along" in built.stderr


def test_building_does_not_run_the_agent() -> None:
    program = "import sys; from openngt.agent_bundle import *; build_zipapp(); installer_source(); print(*sys.modules)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(LIBRARY.parent)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    loaded = {name for name in ran.stdout.split() if name.startswith("openngt.agent.")}
    assert loaded == set()
    assert "cli" in agent_modules()


def test_the_payload_is_agent_and_installer_sorted() -> None:
    payload = tools_payload()
    assert [file.entry.path for file in payload] == [AGENT, INSTALLER, INSTALLER_WINDOWS, SETUP_WINDOWS]
    assert payload[0].content == build_zipapp()
    assert sum(file.entry.size for file in payload) < 2 * 1024 * 1024, "without reflink every ISO copies the payload"
