# SPDX-License-Identifier: GPL-3.0-or-later
"""Templates describe themselves, clones differ in their slots alone, and nothing partial bears a final name."""

import errno
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt.iso import clone as clone_module
from openngt.iso import tools_iso
from openngt.iso._unfinished import sweep, unfinished
from openngt.iso.clone import clone
from openngt.iso.layout import AGENT, MANIFEST, SLOTS
from openngt.iso.template import Template, ensure_template, open_template, prune_templates

from .conftest import PAYLOAD, MakeIso, payload_of, tool

ROOM = Path(tools_iso.__file__).parent
CONTENT = {path: f"content of {path}".encode() for path in SLOTS}


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_clones_differ_from_the_template_in_the_slots_alone(template: Template, make_iso: MakeIso) -> None:
    one, other = make_iso("one.iso").path.read_bytes(), make_iso("other.iso", generation=4).path.read_bytes()
    blank = bytearray(template.path.read_bytes())
    assert len(one) == len(other) == len(blank)
    assert one != other
    for image in (one, other):
        masked = bytearray(image)
        for path, offset in template.slots.items():
            size = SLOTS[path]
            assert masked[offset : offset + size] != blank[offset : offset + size], f"{path} was not filled"
            masked[offset : offset + size] = blank[offset : offset + size]
        assert masked == blank


def test_slots_are_whole_sectors_that_do_not_overlap(template: Template) -> None:
    spans = sorted((offset, offset + SLOTS[path]) for path, offset in template.slots.items())
    assert all(start % 2048 == end % 2048 == 0 for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@pytest.mark.parametrize("view", ["-R", "-J"])
def test_other_readers_find_the_patched_content_padded_with_newlines(make_iso: MakeIso, view: str) -> None:
    made = make_iso()
    for path, content in {**made.unsigned.slots, "config/client.pem": made.client_pem}.items():
        read = tool("isoinfo", view, "-i", str(made.path), "-x", "/" + path).stdout
        assert read.rstrip(b"\n") == content.rstrip(b"\n")
        assert len(read) == SLOTS[path]
    assert tool("isoinfo", view, "-i", str(made.path), "-x", "/" + AGENT).stdout == PAYLOAD[AGENT]


def test_every_program_accepts_a_clone(make_iso: MakeIso) -> None:
    path = str(make_iso().path)
    assert tool("xorriso", "-abort_on", "WARNING", "-indev", path, "-check_media", "--").returncode == 0
    assert tool("7z", "t", path).returncode == 0


def test_a_config_only_iso_carries_config_and_manifest_alone(config_template: Template, make_iso: MakeIso) -> None:
    made = make_iso(template=config_template)
    listed = tool("isoinfo", "-R", "-f", "-i", str(made.path)).stdout.decode().split()
    assert sorted(listed) == sorted(["/config", *("/" + path for path in SLOTS)])
    assert made.unsigned.manifest.kind == "config"


def test_the_file_is_private_even_under_a_generous_umask(template: Template, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        clone(template, CONTENT, tmp_path / "vm.iso")
    finally:
        os.umask(before)
    assert (tmp_path / "vm.iso").stat().st_mode & 0o7777 == 0o600


def test_a_full_slot_fits_and_one_byte_more_is_refused_before_anything_is_written(
    template: Template, tmp_path: Path
) -> None:
    full = {path: b"x" * size for path, size in SLOTS.items()}
    clone(template, full, tmp_path / "full.iso", fsync=False)
    for path in SLOTS:
        with pytest.raises(OpenNGTError) as caught:
            clone(template, {**full, path: full[path] + b"y"}, tmp_path / "over.iso")
        assert caught.value.code == "ISO_TOO_LARGE"
        assert caught.value.details == {"path": path, "size": SLOTS[path] + 1, "slot": SLOTS[path]}
    assert names(tmp_path) == {"full.iso"}


def test_an_existing_iso_is_replaced_in_one_step(template: Template, tmp_path: Path) -> None:
    clone(template, CONTENT, tmp_path / "vm.iso", fsync=False)
    with (tmp_path / "vm.iso").open("rb") as reader:
        first = reader.read(1 << 15)
        clone(template, {**CONTENT, MANIFEST: b"new"}, tmp_path / "vm.iso", fsync=False)
        reader.seek(template.slots[MANIFEST])
        assert reader.read(20) == CONTENT[MANIFEST][:20], "who has the old one open keeps it whole"
    assert len(first) == 1 << 15


def test_all_ways_to_copy_give_the_same_bytes(
    template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "not this way")

    whole = template.path.read_bytes()
    methods = []
    for step in ("as the file system does", "no reflink", "neither"):
        if step == "no reflink":
            monkeypatch.setattr(clone_module.fcntl, "ioctl", refuse)
        elif step == "neither":
            monkeypatch.setattr(clone_module.os, "copy_file_range", refuse)
        source, target = os.open(template.path, os.O_RDONLY), os.open(tmp_path / step, os.O_RDWR | os.O_CREAT)
        methods.append(clone_module.copy(source, target, template.size))
        os.close(source)
        os.close(target)
        assert (tmp_path / step).read_bytes() == whole
    assert methods[-1] == "copy"


def test_a_template_that_was_changed_since_it_was_opened_is_not_patched(tmp_path: Path) -> None:
    template = ensure_template(tmp_path, payload_of({AGENT: b"agent"}))
    with template.path.open("r+b") as stream:
        stream.seek(template.slots[MANIFEST] + 5)
        stream.write(b"?")
    with pytest.raises(OpenNGTError) as caught:
        clone(template, CONTENT, tmp_path / "vm.iso")
    assert caught.value.code == "DISC_INVALID"
    assert not (tmp_path / "vm.iso").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content, _: content[:-1],
        lambda content, _: content[: len(content) // 2],
        lambda content, _: content[:16384],
        lambda content, _: b"",
        lambda content, _: content + b"\0" * 2048,
        lambda content, slots: content.replace(b"slot config/client.pem", b"slot config/server.pem"),
        lambda content, slots: content[: slots[MANIFEST]] + b"\n" * 32768 + content[slots[MANIFEST] + 32768 :],
        # a directory record that points the slot elsewhere
        lambda content, slots: content.replace(
            (slots[MANIFEST] // 2048).to_bytes(4, "little"), (slots[MANIFEST] // 2048 + 1).to_bytes(4, "little")
        ),
    ],
)
def test_a_damaged_template_is_noticed_and_authored_again(
    tmp_path: Path, damage: Callable[[bytes, dict[str, int]], bytes]
) -> None:
    payload = payload_of({AGENT: b"agent"})
    template = ensure_template(tmp_path, payload)
    whole = template.path.read_bytes()
    template.path.write_bytes(damage(whole, dict(template.slots)))
    with pytest.raises(OpenNGTError) as caught:
        open_template(template.path)
    assert caught.value.code == "DISC_INVALID"
    assert ensure_template(tmp_path, payload) == template
    assert template.path.read_bytes() == whole


def test_a_template_is_authored_once_and_named_by_payload_label_and_kind(tmp_path: Path) -> None:
    payload = payload_of({AGENT: b"agent"})
    one = ensure_template(tmp_path, payload)
    inode = one.path.stat().st_ino
    assert ensure_template(tmp_path, payload) == one
    assert one.path.stat().st_ino == inode
    others = {
        ensure_template(tmp_path, payload_of({AGENT: b"Agent"})).digest,
        ensure_template(tmp_path, payload, label="OTHER").digest,
        ensure_template(tmp_path, (), kind="config").digest,
    }
    assert len(others | {one.digest}) == 4
    assert one.path.stat().st_mode & 0o7777 == 0o600


def test_two_builders_at_once_author_one_template(tmp_path: Path) -> None:
    payload = payload_of({AGENT: b"x" * 3_000_000})
    results: list[Template] = []
    builders = [threading.Thread(target=lambda: results.append(ensure_template(tmp_path, payload))) for _ in range(4)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(results) == 4
    assert len({template.path.stat().st_ino for template in results}) == 1
    assert names(tmp_path) == {results[0].path.name}


def test_a_payload_that_changed_while_it_was_authored_is_no_template(tmp_path: Path) -> None:
    source = tmp_path / "agent"
    source.write_bytes(b"measured")
    [measured] = payload_of({AGENT: b"measured"})
    source.write_bytes(b"replaced")
    changed = type(measured)(measured.entry, source)
    with pytest.raises(OpenNGTError) as caught:
        ensure_template(tmp_path / "templates", [changed])
    assert caught.value.code == "INVALID_INPUT"
    assert names(tmp_path / "templates") == set()


def test_templates_that_nobody_asked_for_are_pruned(tmp_path: Path) -> None:
    old = ensure_template(tmp_path, payload_of({AGENT: b"old"}))
    new = ensure_template(tmp_path, payload_of({AGENT: b"new"}))
    os.utime(old.path, (0, 0))
    assert prune_templates(tmp_path, unused_for=3600) == [old.path]
    assert names(tmp_path) == {new.path.name}


# --- F2: killed at each step --------------------------------------------------------------------------------

BUILD = """
import sys
from pathlib import Path
from openngt.iso.layout import AGENT, SLOTS
from openngt.iso.manifest import FileEntry
from openngt.iso.payload import PayloadFile
from openngt.iso.template import ensure_template
from openngt.iso.clone import clone
content = b"agent" * 1000
folder = Path(sys.argv[1])
template = ensure_template(folder / "templates", [PayloadFile(FileEntry.of(AGENT, content), content)])
if sys.argv[2] == "clone":
    clone(template, {path: b"of the VM" for path in SLOTS}, folder / "vm.iso")
"""

TEMPLATE_STEPS = {"iso.template.authored", "iso.template.verified"}
CLONE_STEPS = {"iso.clone.copied", "iso.clone.patched"}
PUBLISH_STEPS = {"iso.publish.created", "iso.publish.synced", "iso.publish.renamed"}


def test_every_step_has_its_kill_case(failpoints: Callable[[Path], set[str]]) -> None:
    of_ensure = failpoints(ROOM / "ensure_iso.py")  # killed in test_ensure_iso.py
    assert failpoints(ROOM) - of_ensure == TEMPLATE_STEPS | CLONE_STEPS | PUBLISH_STEPS


def build(folder: Path, what: str, failpoint: str = "") -> int:
    environment = {**os.environ, "OPENNGT_FAILPOINT": failpoint}
    return subprocess.run([sys.executable, "-c", BUILD, str(folder), what], env=environment, check=False).returncode


@pytest.mark.parametrize("step", sorted(TEMPLATE_STEPS | PUBLISH_STEPS))
def test_a_killed_template_build_leaves_nothing_partial_and_the_next_converges(tmp_path: Path, step: str) -> None:
    assert build(tmp_path, "template", step) == -signal.SIGKILL
    for path in (tmp_path / "templates").glob("*.iso"):
        open_template(path)  # what bears a final name is whole
        assert step == "iso.publish.renamed"
    assert build(tmp_path, "template") == 0
    [template] = (tmp_path / "templates").iterdir()
    open_template(template)


@pytest.mark.parametrize("step", sorted(CLONE_STEPS | PUBLISH_STEPS))
@pytest.mark.parametrize("present", [False, True], ids=["first", "replacing"])
def test_a_killed_clone_leaves_nothing_partial_and_the_next_converges(tmp_path: Path, step: str, present: bool) -> None:
    assert build(tmp_path, "clone" if present else "template") == 0
    before = (tmp_path / "vm.iso").read_bytes() if present else None
    assert build(tmp_path, "clone", step) == -signal.SIGKILL
    after = (tmp_path / "vm.iso").read_bytes() if (tmp_path / "vm.iso").exists() else None
    assert build(tmp_path, "clone") == 0
    whole = (tmp_path / "vm.iso").read_bytes()
    assert after == (whole if step == "iso.publish.renamed" else before)
    left = {name for name in names(tmp_path) if name.endswith(".partial")}
    assert len(left) == (0 if step == "iso.publish.renamed" else 1)
    sweep(tmp_path)
    assert names(tmp_path) == {"templates", "vm.iso"}


def test_a_sweep_leaves_living_writers_young_files_and_strangers_alone(tmp_path: Path) -> None:
    (tmp_path / ".notes.partial").touch()
    abandoned = tmp_path / ".vm.iso.0123abcd.partial"
    abandoned.touch()
    with unfinished(tmp_path / "vm.iso", fsync=False) as descriptor:
        os.write(descriptor, b"whole")
        assert sweep(tmp_path, older_than=3600) == []
        assert sweep(tmp_path) == [abandoned]
    assert names(tmp_path) == {".notes.partial", "vm.iso"}
    assert (tmp_path / "vm.iso").read_bytes() == b"whole"


def test_a_failing_writer_removes_its_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "vm.iso").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), unfinished(tmp_path / "vm.iso") as descriptor:
        os.write(descriptor, b"half")
        raise ZeroDivisionError
    assert names(tmp_path) == {"vm.iso"}
    assert (tmp_path / "vm.iso").read_bytes() == b"old"


# --- a full disk --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system to fill")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path: Path, small_disk: Path) -> None:
    payload = payload_of({AGENT: b"x" * 900_000})
    with pytest.raises(OpenNGTError) as caught:
        ensure_template(small_disk / "templates", payload_of({AGENT: b"x" * 2_000_000}))
    assert caught.value.code == "NO_SPACE"
    assert str(small_disk) in caught.value.message
    template = ensure_template(tmp_path / "templates", payload)
    clone(template, CONTENT, small_disk / "one.iso")
    with pytest.raises(OpenNGTError) as caught:
        clone(template, CONTENT, small_disk / "two.iso")
    assert caught.value.code == "NO_SPACE"
    assert str(small_disk / "two.iso") in caught.value.message
    assert names(small_disk) == {"templates", "one.iso"}
    (small_disk / "one.iso").unlink()
    clone(template, CONTENT, small_disk / "two.iso")


@pytest.mark.parametrize("folder", ["missing", "file/below"])
def test_a_folder_that_is_none_is_named(template: Template, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OpenNGTError) as caught:
        clone(template, CONTENT, tmp_path / folder / "vm.iso")
    assert caught.value.code == "FILE_UNUSABLE"
    assert folder in caught.value.message
