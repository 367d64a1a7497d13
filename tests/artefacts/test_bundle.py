# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundle for sites without a network: its page is followed where there is none, and what was altered is refused."""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ..docs.examples import examples_of
from ..docs.layouts import environment, inventory
from ..docs.session import UUIDS, Session
from ..docs.shell import Shell
from .conftest import ROOT, without_network

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs/air-gapped.md"
MAKE = "make bundle"
"""What the fixture has done."""


def test_the_page_is_followed_without_a_network(bundle: Path, tmp_path: Path) -> None:
    page, programs = tmp_path / "page", tmp_path / "bin"
    for folder in (page / "build/dist", programs):
        folder.mkdir(parents=True)
    for place in (page, page / "build/dist"):
        for path in (bundle, bundle.with_name(f"{bundle.name}.sha256")):
            shutil.copy(path, place)
    (programs / "python3").symlink_to(sys.executable)
    builder = Path(sys.executable).with_name("ansible-builder")
    (programs / "ansible-builder").write_text(f'#!/bin/sh\nexec {builder} "$@"\n')
    (programs / "ansible-builder").chmod(0o755)
    outside = environment(tmp_path, tmp_path / "no-collections", [])
    outside["PATH"] = f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"
    shell = Shell(page, outside, private=True, limit=300)
    try:
        session = Session(shell, PAGE, {}, {})
        session.lay_out(inventory(UUIDS))
        for example in examples_of(PAGE):
            if example.text != MAKE:
                session.run(example)
    finally:
        shell.close()
    assert_context(page / bundle.name.removesuffix(".tar.gz") / "execution-environment/context", bundle)


def assert_context(context: Path, bundle: Path) -> None:
    """What ansible-builder would build from: every wheel and collection of the bundle, and no index before them."""
    with tarfile.open(bundle) as archive:
        names = {Path(name) for name in archive.getnames()}
    laid = {path.name for path in (context / "_build").rglob("*") if path.is_file()}
    assert {path.name for path in names if path.parent.name in ("wheels", "collections")} <= laid
    steps = (context / "Containerfile").read_text()
    assert steps.index("ENV PIP_NO_INDEX=1") < steps.index("pip install"), steps
    asked = yaml.safe_load((context / "_build/requirements.yml").read_text())["collections"]
    assert {one["name"] for one in asked} <= laid and {one["type"] for one in asked} == {"file"}


def test_the_bill_of_materials_names_every_wheel_and_collection(unpacked: Path) -> None:
    bill = json.loads((unpacked / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    listed = {one["bom-ref"]: one["hashes"][0]["content"] for one in bill["components"]}
    files = [*unpacked.glob("wheels/*"), *unpacked.glob("collections/*")]
    assert listed == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    # Its package says nothing.
    assert [one["name"] for one in bill["components"] if not one.get("licenses")] == ["dumb-init"]
    needs = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    [openngt] = [ref for ref in listed if ref.startswith("openngt-") and ref.endswith(".whl")]
    assert {"cryptography", "paramiko", "pycdlib"} <= {need.split("-")[0] for need in needs[openngt]}


def test_licences_are_named_as_spdx_names_them_where_that_is_certain(unpacked: Path) -> None:
    bill = json.loads((unpacked / "sbom.cdx.json").read_text())
    told = {one["name"]: one.get("licenses") for one in bill["components"]}
    # By an expression, by an identifier in the older field, by a name that is no other's, and by one that is several's.
    assert told["cryptography"] == [{"expression": "Apache-2.0 OR BSD-3-Clause"}]
    assert told["bcrypt"] == [{"license": {"id": "Apache-2.0"}}]
    assert told["pywinrm"] == [{"license": {"id": "MIT"}}]
    assert told["jinja2"] == [{"license": {"name": "BSD License"}}]


def test_the_bill_of_materials_says_what_the_collection_needs(unpacked: Path) -> None:
    bill = json.loads((unpacked / "sbom.cdx.json").read_text())
    names = {one["bom-ref"]: one["name"] for one in bill["components"]}
    needs = {names.get(one["ref"], one["ref"]): one.get("dependsOn", []) for one in bill["dependencies"]}
    assert {names[ref] for ref in needs["openngt.guest_tools"]} == {"ansible.windows", "openngt"}
    assert {names[ref] for ref in needs["openngt-bundle"]} == {"ansible-core", "openngt", "openngt.guest_tools"}


MAKE_AGAIN = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bundle import commit_time, version
from collection_tarball import settle
from sbom import write_sbom
stage = Path(sys.argv[2])
for tarball in (stage / "collections").iterdir():
    settle(tarball, commit_time())
write_sbom(stage, version(), commit_time())
"""


def test_collections_built_elsewhere_and_the_bill_of_them_are_the_same_bytes(unpacked: Path, tmp_path: Path) -> None:
    stage = tmp_path / "bundle"
    shutil.copytree(unpacked, stage)
    for tarball in (stage / "collections").iterdir():
        build_elsewhere(tarball)
        assert tarball.read_bytes() != (unpacked / "collections" / tarball.name).read_bytes()
    subprocess.run([sys.executable, "-c", MAKE_AGAIN, ROOT / "scripts", stage], check=True)
    for path in [*(stage / "collections").iterdir(), stage / "sbom.cdx.json"]:
        assert path.read_bytes() == (unpacked / path.relative_to(stage)).read_bytes(), path.name


def build_elsewhere(tarball: Path) -> None:
    """As another disk orders its files, at another time."""
    with tarfile.open(tarball) as archive:
        content = [(one, (archive.extractfile(one) or io.BytesIO()).read()) for one in archive.getmembers()[::-1]]
    with gzip.open(tarball, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for member, data in content:
            told = data
            if member.name == "FILES.json":
                listed = json.loads(data)
                told = json.dumps({**listed, "files": listed["files"][::-1]}).encode()
            member.mtime, member.size = 1, len(told)
            archive.addfile(member, io.BytesIO(told))


def alter_a_wheel(folder: Path) -> None:
    wheel = next(folder.glob("wheels/openngt-*.whl"))
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    wheel.write_bytes(content)


def add_a_wheel(folder: Path) -> None:
    (folder / "wheels/openngt-99.0.0-py3-none-any.whl").write_bytes(b"")


def add_a_link(folder: Path) -> None:
    (folder / "wheels/openngt-99.0.0-py3-none-any.whl").symlink_to("/etc/hostname")


def take_a_collection_away(folder: Path) -> None:
    next(folder.glob("collections/ansible-windows-*")).unlink()


def alter_the_installer(folder: Path) -> None:
    with (folder / "install.sh").open("a") as script:
        script.write("\n# another line\n")


@pytest.mark.parametrize("alter", [alter_a_wheel, add_a_wheel, add_a_link, take_a_collection_away, alter_the_installer])
@pytest.mark.parametrize("argument", ["--check", "controller"])
def test_what_is_not_as_listed_is_refused_before_anything_is_installed(
    unpacked: Path, tmp_path: Path, alter: Callable[[Path], None], argument: str
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(unpacked, folder)
    alter(folder)
    done = install(folder, argument, tmp_path)
    assert done.returncode == 1, done.stdout
    assert "SHA256SUMS" in done.stderr and "remedy: " in done.stderr
    assert not (tmp_path / "controller").exists()


def test_a_python_that_the_bundle_is_not_for_is_refused(unpacked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(unpacked, folder)
    (folder / "platforms").write_text("3.99 x86_64\n")
    lines = (folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    digest = hashlib.sha256((folder / "platforms").read_bytes()).hexdigest()
    mended = [f"{digest}  platforms\n" if line.endswith("  platforms\n") else line for line in lines]
    (folder / "SHA256SUMS").write_text("".join(mended))
    done = install(folder, "controller", tmp_path)
    assert done.returncode == 1 and "not for Python" in done.stderr and "3.99 x86_64" in done.stderr
    assert not (tmp_path / "controller").exists()


def install(folder: Path, argument: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = without_network("sh", folder / "install.sh", argument)
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PYTHON": sys.executable}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
