# SPDX-License-Identifier: GPL-3.0-or-later
"""Building, caching and publishing of the guest image, with stand-ins for the two programs that take minutes.

The real build stands behind every test that is marked `guest`.
"""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt_service.lab import accelerator
from openngt_service.lab.accelerator import choose_accelerator
from openngt_service.lab.image import Image, ensure_image, recipe

MMDEBSTRAP = """\
#!/bin/sh
# As far as the lab looks: the tree is the argument after the suite, two links to the kernel stand at its root.
[ "$1" != --unshare-helper ] || { shift; exec "$@"; }
echo "mmdebstrap $*" >>"$CALLS"
[ ! -e "$CALLS.fail" ] || { echo "E: no mirror"; exit 25; }
while [ "$1" != bookworm ]; do shift; done
mkdir "$2"
echo kernel >"$2/vmlinuz"
echo initrd >"$2/initrd.img"
sleep 0.3
echo "I: success"
"""
MKE2FS = """\
#!/bin/sh
echo "mke2fs $*" >>"$CALLS"
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (("mmdebstrap", MMDEBSTRAP), ("mke2fs", MKE2FS)):
        (programs / name).write_text(script, encoding="ascii")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


def builds(calls: Path) -> int:
    return calls.read_text(encoding="utf-8").count("mmdebstrap --variant") if calls.exists() else 0


def quiet(line: str) -> None:
    del line


def test_the_image_is_built_once_and_then_taken_from_the_cache(tmp_path: Path, calls: Path) -> None:
    told: list[str] = []
    first = ensure_image(told.append, tmp_path / "cache")
    assert "success" in told
    told.clear()
    assert ensure_image(told.append, tmp_path / "cache") == first
    assert (builds(calls), told) == (1, [])
    assert first.kernel.read_text(encoding="ascii") == "kernel\n"
    assert first.initrd.read_text(encoding="ascii") == "initrd\n"
    assert first.disk.stat().st_size == recipe().disk_mb << 20


def test_nothing_but_the_image_stays(tmp_path: Path, calls: Path) -> None:
    image = ensure_image(quiet, tmp_path / "cache")
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert left == {image.folder.name, "image.log", "image.lock"}
    assert {path.name for path in image.folder.iterdir()} == {"disk.raw", "vmlinuz", "initrd.img"}


def test_a_failed_build_names_the_log_and_publishes_nothing(tmp_path: Path, calls: Path) -> None:
    calls.with_name("calls.fail").touch()
    with pytest.raises(OpenNGTError, match=r"mmdebstrap ended with status 25; log: .*image\.log\nE: no mirror"):
        ensure_image(quiet, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("image-*"))
    calls.with_name("calls.fail").unlink()
    assert ensure_image(quiet, tmp_path / "cache").disk.exists()


def test_what_a_killed_build_left_is_removed(tmp_path: Path, calls: Path) -> None:
    torn = tmp_path / "cache/image.unfinished/tree/boot"
    torn.mkdir(parents=True)
    (torn.parent / "vmlinuz").write_text("torn", encoding="ascii")
    assert ensure_image(quiet, tmp_path / "cache").kernel.read_text(encoding="ascii") == "kernel\n"


def test_two_at_once_build_one_image(tmp_path: Path, calls: Path) -> None:
    found: list[Image] = []
    threads = [threading.Thread(target=lambda: found.append(ensure_image(quiet, tmp_path / "cache"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found[0], builds(calls)) == (found[1], 1)


def test_each_part_of_the_recipe_changes_the_digest() -> None:
    base = recipe()
    others = [
        replace(base, suite="trixie"),
        replace(base, packages=(*base.packages, "vim")),
        replace(base, left_out=()),
        replace(base, disk_mb=base.disk_mb + 1),
        replace(base, provision=base.provision + "#"),
        replace(base, sources={"x.list": "deb http://mirror.example/debian bookworm main\n"}),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == len(others) + 1


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """Its kernel says nothing, so that KVM never shows the expected last words."""
    (tmp_path / "vmlinuz").write_bytes(bytes(1024))
    return Image(tmp_path)


def test_a_kernel_that_does_not_run_means_emulation_and_the_verdict_is_kept(
    tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENNGT_LAB_ACCELERATOR", raising=False)
    monkeypatch.setattr(accelerator, "LIMIT_SECONDS", 2)
    told: list[str] = []
    assert choose_accelerator(image, told.append, tmp_path / "cache") == "tcg"
    assert any("KVM does not work here" in line for line in told)
    told.clear()
    assert choose_accelerator(image, told.append, tmp_path / "cache") == "tcg"
    assert told == []


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"boot_id": "of another boot", "accelerator": "kvm"})])
def test_a_verdict_of_another_boot_or_a_torn_one_is_none(
    tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.delenv("OPENNGT_LAB_ACCELERATOR", raising=False)
    monkeypatch.setattr(accelerator, "LIMIT_SECONDS", 2)
    (tmp_path / "accelerator.json").write_text(content, encoding="utf-8")
    assert choose_accelerator(image, quiet, tmp_path) == "tcg"


def test_the_environment_overrides_the_verdict(tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENNGT_LAB_ACCELERATOR", "kvm")
    assert choose_accelerator(image, quiet, tmp_path) == "kvm"
    assert not (tmp_path / "accelerator.json").exists()
