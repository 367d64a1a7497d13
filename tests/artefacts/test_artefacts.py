# SPDX-License-Identifier: GPL-3.0-or-later
"""What users install: both artefacts, opened, then installed into an empty environment and run without the source."""

import hashlib
import json
import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
RUNTIME_FOLDERS = {"plugins", "roles", "playbooks", "meta", "changelogs"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def tarball(unpacked: Path) -> Path:
    return next(unpacked.glob("collections/openngt-guest_tools-*.tar.gz"))


@pytest.fixture(scope="session")
def wheel(unpacked: Path) -> Path:
    return next(unpacked.glob("wheels/openngt-*.whl"))


def environment(home: Path) -> dict[str, str]:
    return {
        "PATH": f"{home / 'venv/bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }


def run(home: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=home, env=environment(home), capture_output=True, text=True, timeout=120)


def test_one_version_everywhere() -> None:
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    library = re.search(r'__version__ = "(.+)"', (ROOT / "plugins/module_utils/openngt/version.py").read_text())
    assert library is not None
    assert galaxy == project == library[1]


def test_tarball_holds_only_what_runs_and_its_papers(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = [member.name for member in archive.getmembers() if member.isfile()]
        assert all(member.isfile() or member.isdir() for member in archive.getmembers()), "no links in the tarball"
    papers = {
        "MANIFEST.json",
        "FILES.json",
        "README.md",
        "LICENSE",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    }
    strangers = [n for n in names if n.split("/")[0] not in RUNTIME_FOLDERS and n not in papers | {"CHANGELOG.rst"}]
    assert strangers == []
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".pem", ".key"))]


def test_wheel_holds_library_and_service_under_their_import_names(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"openngt", "openngt_service"}


def test_wheel_brings_cloud_inits_schemas_and_says_where_they_are_from(wheel: Path) -> None:
    folder = "openngt_service/customization/schemas/"
    with zipfile.ZipFile(wheel) as archive:
        source = archive.read(folder + "SOURCE.md").decode()
        for name in ("schema-cloud-config-v1.json", "schema-network-config-v2.json"):
            assert f"{hashlib.sha256(archive.read(folder + name)).hexdigest()}  {name}" in source
    assert "GPL-3 or Apache-2.0" in source


def test_every_module_of_the_tarball_documents_itself(installed: Path) -> None:
    modules = [path.stem for path in (ROOT / "plugins/modules").glob("*.py")]
    names = [f"openngt.guest_tools.{name}" for name in sorted(modules)]
    done = run(installed, "ansible-doc", "--json", *names)
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)) == names


def test_cli_runs_without_the_source_tree(installed: Path) -> None:
    done = run(installed, "openngt", "--version")
    assert done.returncode == 0, done.stderr
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    assert version in done.stdout
    where = run(installed, "python", "-c", "import openngt.version, openngt_service; print(openngt.version.__file__)")
    assert where.stdout.startswith(str(installed)), where.stdout + where.stderr


def test_modules_of_the_tarball_make_an_iso_that_openssl_and_xorriso_read(installed: Path) -> None:
    vm = "5dafd6d6-065b-4b1a-b567-491f4d6b35b3"
    python = f"ansible_python_interpreter={installed / 'venv/bin/python'}"
    steps = {
        "ca": f"path={installed}/ca",
        "iso": f"path={installed}/vm.iso ca_path={installed}/ca vm_uuid={vm} vm_name=web1 cluster_ip=192.0.2.10"
        " cluster_uuid=0005914e-9e36-5a1e-a000-000000009578",
    }
    for module, arguments in steps.items():
        done = run(
            installed, "ansible", "localhost", "-m", f"openngt.guest_tools.{module}", "-a", arguments, "-e", python
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (installed / "vm.iso").stat().st_mode & 0o777 == 0o600
    extract = ["xorriso", "-osirrox", "on", "-indev", installed / "vm.iso", "-extract", "/config", installed / "config"]
    subprocess.run(extract, check=True, capture_output=True)
    verify = ["openssl", "verify", "-purpose", "sslclient", "-CAfile", installed / "ca/ca.pem"]
    done = subprocess.run([*verify, installed / "config/client.pem"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
