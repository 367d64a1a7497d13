#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the bundle for sites without a network: one archive with collections, wheels, bill of materials and checksums.

The wheels are those of the service and its command, of ansible-core, and of an execution environment, for each Python
named. `ansible-galaxy` and `pip` are those of the environment that runs this.
"""

import argparse
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from collection_tarball import settle
from sbom import write_sbom

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PYTHONS = ("3.11", "3.12", "3.13")
# glibc 2.17, 2.28 and 2.34: what is wanted first, a wheel for the oldest, runs everywhere.
PLATFORMS = ("manylinux2014", "manylinux_2_28", "manylinux_2_34")
# An execution environment is built with these; ansible-builder pins the one that starts its processes.
FOR_IMAGES = ("ansible-runner", "bindep", "dumb-init==1.2.5", "packaging", "PyYAML", "setuptools", "wheel")
README = "README.md"


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def version() -> str:
    return str(yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"])


# -- What goes in ---------------------------------------------------------------------------------------------------


def lay_wheels(wheel: Path, folder: Path, pythons: Sequence[str], machine: str) -> None:
    """The wheel, and those of all that it, Ansible and an image need; none is built, so nothing runs of a source."""
    for python in pythons:
        digits = python.replace(".", "")
        options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
        options += [f"--abi={abi}" for abi in (f"cp{digits}", "abi3", "none")]
        options += [f"--platform={platform}_{machine}" for platform in PLATFORMS]
        needed = [str(wheel), "-r", "meta/ee-requirements.txt", "ansible-core>=2.16", *FOR_IMAGES]
        run(BIN / "pip", "download", "--quiet", "--dest", folder, *options, *needed)


def lay_collections(tarball: Path, folder: Path) -> None:
    """Ours, and as tarballs those that it depends on; each the same for the same files and the same commit."""
    shutil.copy(tarball, folder)
    run(ROOT / "scripts/collections")
    for name in yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["dependencies"]:
        pack_collection(ROOT / "build/collections/ansible_collections" / name.replace(".", "/"), folder)
    for laid in folder.iterdir():
        settle(laid, commit_time())


def pack_collection(installed: Path, folder: Path) -> None:
    """The tarball of a collection that lies installed, which holds neither galaxy.yml nor, perhaps, its tests."""
    about: dict[str, Any] = json.loads((installed / "MANIFEST.json").read_text(encoding="utf-8"))["collection_info"]
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        shutil.copytree(installed, tree, ignore=shutil.ignore_patterns("MANIFEST.json", "FILES.json", "__pycache__"))
        described = {key: value for key, value in about.items() if value not in (None, [], "")}
        (tree / "galaxy.yml").write_text(yaml.safe_dump(described), encoding="utf-8")
        run(BIN / "ansible-galaxy", "collection", "build", "--output-path", folder, cwd=tree)


def lay_papers(stage: Path, pythons: Sequence[str], machine: str) -> None:
    shutil.copy(ROOT / "scripts/bundle-install.sh", stage / "install.sh")
    shutil.copy(ROOT / "docs/air-gapped.md", stage / README)
    shutil.copy(ROOT / "LICENSE", stage)
    shutil.copytree(ROOT / "execution-environment/offline", stage / "execution-environment")
    tarballs = [{"name": path.name, "type": "file"} for path in sorted((stage / "collections").iterdir())]
    (stage / "execution-environment/requirements.yml").write_text(yaml.safe_dump({"collections": tarballs}))
    (stage / "requirements.txt").write_text(f"openngt=={version()}\nansible-core\n", encoding="ascii")
    (stage / "platforms").write_text("".join(f"{python} {machine}\n" for python in pythons), encoding="ascii")


# -- The archive ----------------------------------------------------------------------------------------------------


def files_below(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.rglob("*") if path.is_file())


def sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_sums(stage: Path) -> None:
    lines = [f"{sha256(path)}  {path.relative_to(stage)}\n" for path in files_below(stage)]
    (stage / "SHA256SUMS").write_text("".join(lines), encoding="ascii")


def commit_time() -> int:
    """Of the tree's last commit, so that the same tree and the same wheels make the same bundle; 0 without git."""
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else 0


def pack(stage: Path, archive: Path, seconds: int) -> None:
    def alike(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = seconds
        entry.mode = 0o755 if entry.isdir() else 0o644
        return entry

    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=seconds) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in files_below(stage):
            tar.add(path, f"{stage.name}/{path.relative_to(stage)}", filter=alike)


def make(out: Path, pythons: Sequence[str], machine: str) -> Path:
    """Path of the archive, beside it a file with its checksum for `sha256sum --check`."""
    name = f"openngt-{version()}-bundle"
    stage = out / name
    shutil.rmtree(stage, ignore_errors=True)
    (stage / "wheels").mkdir(parents=True)
    (stage / "collections").mkdir()
    run(ROOT / "scripts/dist", out / "parts")
    [tarball] = (out / "parts").glob("openngt-guest_tools-*.tar.gz")
    [wheel] = (out / "parts").glob("openngt-*.whl")
    say(f"== Wheels for Python {', '.join(pythons)} on {machine}")
    lay_wheels(wheel, stage / "wheels", pythons, machine)
    say("== Collections, bill of materials, checksums")
    lay_collections(tarball, stage / "collections")
    lay_papers(stage, pythons, machine)
    write_sbom(stage, version(), commit_time())
    write_sums(stage)
    archive = out / f"{name}.tar.gz"
    pack(stage, archive, commit_time())
    (out / f"{archive.name}.sha256").write_text(f"{sha256(archive)}  {archive.name}\n", encoding="ascii")
    shutil.rmtree(stage)
    shutil.rmtree(out / "parts")
    return archive


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build/dist", help="folder of the archive")
    parser.add_argument("--python", nargs="+", default=PYTHONS, help="versions of Python that it is for")
    parser.add_argument("--machine", default="x86_64", help="what `uname -m` says there: x86_64 or aarch64")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    archive = make(options.out.absolute(), options.python, options.machine)
    say(f"{archive.name}: {archive.stat().st_size / 1e6:.0f} MB, SHA-256 {sha256(archive)}")


if __name__ == "__main__":
    main()
