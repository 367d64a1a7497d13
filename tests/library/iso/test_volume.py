# SPDX-License-Identifier: GPL-3.0-or-later
"""What is authored is the same bytes each time, and every reader sees the same files with the same modes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt.iso._iso9660 import Image
from openngt.iso.volume import author

from .conftest import PAYLOAD, tool


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volume.iso"
    with path.open("w+b") as stream:
        author(stream, PAYLOAD)
    return path


def test_isoinfo_reads_rock_ridge_with_modes_root_included(volume: Path) -> None:
    listing = tool("isoinfo", "-R", "-l", "-i", str(volume)).stdout.decode()
    rows = re.findall(r"^([d-])([rwx-]{9}) .*\] +(.+?) *$", listing, re.MULTILINE)
    assert {modes for kind, modes, _ in rows if kind == "d"} == {"r-x------"}
    assert {modes for kind, modes, _ in rows if kind == "-"} == {"r--------"}
    names = {name for kind, _, name in rows if kind == "-"}
    assert names == {path.rpartition("/")[2] for path in PAYLOAD}
    assert all("Jan  1 2026" in line for line in listing.splitlines() if line[:1] in "d-" and "[" in line)


@pytest.mark.parametrize("view", ["-R", "-J"])
def test_isoinfo_extracts_the_same_bytes_through_both_views(volume: Path, view: str) -> None:
    for path, content in PAYLOAD.items():
        if path.isascii():  # isoinfo writes Joliet names in the locale's character set
            assert tool("isoinfo", view, "-i", str(volume), "-x", "/" + path).stdout == content, path


def test_isoinfo_finds_label_and_both_extensions(volume: Path) -> None:
    found = tool("isoinfo", "-d", "-i", str(volume)).stdout.decode()
    assert "Volume id: NUTANIX_TOOLS" in found
    assert "Joliet with UCS level 3 found" in found
    assert "Rock Ridge signatures version 1 found" in found


def test_xorriso_finds_the_medium_good_and_lists_every_file(volume: Path) -> None:
    checked = tool("xorriso", "-abort_on", "WARNING", "-indev", str(volume), "-check_media", "--")
    assert checked.returncode == 0, checked.stderr
    listed = tool("xorriso", "-indev", str(volume), "-find", "/", "-type", "f", "-exec", "lsdl").stdout.decode()
    assert sorted(re.findall(r"^-r-------- .* '/(.+)'$", listed, re.MULTILINE)) == sorted(PAYLOAD)


def test_7z_tests_and_lists_it(volume: Path) -> None:
    tested = tool("7z", "t", str(volume))
    assert tested.returncode == 0, tested.stdout
    listed = tool("7z", "l", "-slt", "-sccUTF-8", str(volume)).stdout.decode()
    assert set(PAYLOAD) <= set(re.findall(r"^Path = (.+)$", listed, re.MULTILINE))


def test_our_own_reader_agrees_in_both_views(volume: Path) -> None:
    with volume.open("rb") as stream:
        image = Image(stream.fileno())
        assert image.size == image.primary.size
        assert image.joliet is not None
        for view in (image.primary, image.joliet):
            tree = image.tree(view)
            assert {path: b"".join(image.chunks(node.record)) for path, node in tree.files.items()} == PAYLOAD


AUTHOR = """
import sys
from pathlib import Path
from openngt.iso.volume import author
with open(sys.argv[1], "w+b") as stream:
    author(stream, {"b/x.txt": b"1", "a": Path(sys.argv[2])})
"""


def test_neither_clock_nor_time_zone_nor_hash_seed_is_in_the_bytes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    results = set()
    for number, zone in enumerate(["UTC", "Asia/Tokyo", "America/St_Johns"]):
        os.utime(source, (number * 10**8, number * 10**8))
        path = tmp_path / f"{number}.iso"
        environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": str(number)}
        subprocess.run([sys.executable, "-c", AUTHOR, str(path), str(source)], env=environment, check=True)
        results.add(path.read_bytes())
    assert len(results) == 1


@pytest.mark.parametrize(
    ("files", "label", "field"),
    [
        ({"a": b"", "A": b""}, "X", "files"),
        ({"straße": b"", "STRASSE": b""}, "X", "files"),
        ({"é": b"", "e\u0301": b""}, "X", "files"),
        ({"a": b"", "a/b": b""}, "X", "files"),
        ({"../a": b""}, "X", "files"),
        ({"/a": b""}, "X", "files"),
        ({"a" * 65: b""}, "X", "files"),
        ({"1/2/3/4/5/6/7/8/9": b""}, "X", "files"),
        ({"a": b""}, "lower", "label"),
        ({"a": b""}, "SEVENTEEN_LETTERS", "label"),
        ({"a": b""}, "", "label"),
    ],
)
def test_what_not_every_reader_can_tell_apart_is_refused(
    tmp_path: Path, files: dict[str, bytes | Path], label: str, field: str
) -> None:
    with (tmp_path / "x.iso").open("w+b") as stream, pytest.raises(OpenNGTError) as caught:
        author(stream, files, label=label)
    assert (caught.value.code, caught.value.details["field"]) == ("INVALID_INPUT", field)


def test_names_that_iso_9660_would_shorten_to_one_stay_distinct(tmp_path: Path) -> None:
    files: dict[str, bytes | Path] = {f"same-long-name-{n}.txt": str(n).encode() for n in range(120)}
    path = tmp_path / "x.iso"
    with path.open("w+b") as stream:
        author(stream, files)
    listed = tool("isoinfo", "-f", "-i", str(path)).stdout.split()
    assert len(set(listed)) == 120
    assert tool("isoinfo", "-R", "-i", str(path), "-x", "/same-long-name-77.txt").stdout == b"77"


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with (tmp_path / "x.iso").open("w+b") as stream, pytest.raises(OSError, match="symbolic links"):
        author(stream, {"a": tmp_path / "link"})
