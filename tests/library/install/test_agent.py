# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding whether an agent is to be installed, finding its disc, and having a zipapp do it."""

import functools
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt.install import disc as disc_module
from openngt.install.agent_plan import Observed, Wanted, only_the_link_is_missing, plan
from openngt.install.agent_steps import call_zipapp, install_arguments, last_object, private_zipapp
from openngt.install.disc import Disc, candidates, choose, mounted_disc, read_manifest
from openngt.install.turn import turn

UUID = "564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11"
OTHER = "00000000-0000-4000-8000-000000000000"
PRESENT = Wanted(True, "0.1.0", None, True, 0)
ABSENT = Wanted(False, "0.1.0", None, True, 0)
UNLINKED = PRESENT._replace(linked=False)
WELL: dict[str, Any] = {
    "agent_version": "0.1.0",
    "service": {"active": "active"},
    "identity": {"kind": "link", "ca_sha256": "aa", "generation": 13},
    "link": {"active": True},
}
HERE = ["/usr/local/openngt"]


def seen(**changes: Any) -> Observed:
    return Observed({**WELL, **changes}, HERE)


@pytest.mark.parametrize(
    ("observed", "wanted", "operation", "reason"),
    [
        (Observed(None, []), PRESENT, "install", "no agent is installed"),
        (Observed(None, HERE), PRESENT, "install", "an agent is here but does not answer"),
        (seen(), PRESENT, "none", "version 0.1.0 runs and its link is active"),
        (seen(agent_version="0.0.9"), PRESENT, "install", "version 0.0.9 is installed, 0.1.0 is wanted"),
        (seen(service={"active": "failed"}), PRESENT, "install", "its service does not run"),
        (seen(identity={"kind": "bootstrap"}), PRESENT, "install", "it has no long-lived identity"),
        (seen(identity=None), PRESENT, "install", "it has no identity"),
        (seen(link={"active": False}), PRESENT, "install", "its link is not active"),
        (seen(), PRESENT._replace(ca_sha256="aa"), "none", "version 0.1.0 runs and its link is active"),
        (seen(), PRESENT._replace(ca_sha256="bb"), "install", "it trusts another CA"),
        (seen(), PRESENT._replace(generation=13), "none", "version 0.1.0 runs and its link is active"),
        (seen(), PRESENT._replace(generation=14), "install", "its identity is of generation 13, the disc's of 14"),
        (seen(identity=None), PRESENT._replace(generation=14), "install", "it has no identity"),
        (seen(link=None, identity={"kind": "bootstrap"}), UNLINKED, "none", "version 0.1.0 runs"),
        (seen(link=None, identity=None), UNLINKED, "install", "it has no identity"),
        (Observed(None, []), ABSENT, "none", "nothing of the agent is here"),
        (Observed(None, HERE), ABSENT, "uninstall", "found /usr/local/openngt"),
        (seen(), ABSENT, "uninstall", "found /usr/local/openngt"),
    ],
)
def test_plan(observed: Observed, wanted: Wanted, operation: str, reason: str) -> None:
    planned = plan(observed, wanted)
    assert (planned.operation, planned.reason) == (operation, reason)
    assert (planned.before == planned.after) == (operation == "none")


def test_a_diff_has_the_generation_where_it_is_what_is_wrong_alone() -> None:
    older = plan(seen(), PRESENT._replace(generation=14))
    assert (older.before["generation"], older.after["generation"]) == (13, "14 or later")
    other = plan(seen(link={"active": False}), PRESENT)
    assert "generation" not in {**other.before, **other.after}


def test_only_a_missing_link_is_worth_waiting_for() -> None:
    assert only_the_link_is_missing(seen(link={"active": False}), PRESENT)
    assert not only_the_link_is_missing(seen(), PRESENT)
    assert not only_the_link_is_missing(seen(link={"active": False}, agent_version="0.0.9"), PRESENT)


# The disc.


def manifest(**changes: Any) -> str:
    return json.dumps({"format": "openngt-manifest-1", "vm_uuid": UUID, "generation": 3, **changes})


def test_drives_are_looked_into_once_each_the_label_first(tmp_path: Path) -> None:
    devices, blocks = tmp_path / "dev", tmp_path / "block"
    (devices / "disk/by-label").mkdir(parents=True)
    for name in ("sr0", "sr1", "sda"):
        (devices / name).touch()
        (blocks / name).mkdir(parents=True)
    (devices / "disk/by-label/NUTANIX_TOOLS").symlink_to("../../sr1")
    found = candidates("NUTANIX_TOOLS", str(devices), str(blocks))
    assert found == [str(devices / "sr1"), str(devices / "sr0")]
    assert candidates("X", str(tmp_path / "none"), str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    "content", [None, "", "no json", "[]", "{}", manifest(format="openngt-manifest-2"), "[" * 30000, "\xff"]
)
def test_what_is_no_tools_disc(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content, encoding="latin-1")
    assert read_manifest(str(tmp_path)) is None


def test_a_padded_manifest_is_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(manifest().ljust(32768, "\n"))
    found = read_manifest(str(tmp_path))
    assert found is not None and found["vm_uuid"] == UUID


def test_the_newest_disc_of_this_vm_is_chosen() -> None:
    discs = [Disc("/dev/sr0", OTHER, 9), Disc("/dev/sr1", UUID, 2), Disc("/dev/sr2", UUID, 3)]
    assert choose(discs, UUID).device == "/dev/sr2"
    with pytest.raises(OpenNGTError) as of_another:
        choose(discs[:1], UUID)
    assert of_another.value.code == "DISC_OF_ANOTHER_VM" and OTHER in of_another.value.message
    with pytest.raises(OpenNGTError) as none:
        choose([], UUID)
    assert none.value.code == "DISC_NOT_FOUND"


@pytest.fixture
def drives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders that stand for drives; `mount` copies one to the mount point and `umount` empties it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    log = tmp_path / "log"
    empty = '[ -d "$5" ] || { echo "no medium found" >&2; exit 32; }'
    (programs / "mount").write_text(f'#!/bin/sh\necho "mount $*" >> {log}\n{empty}\ncp -r "$5"/. "$6"\n')
    (programs / "umount").write_text(f'#!/bin/sh\necho "umount $*" >> {log}\nrm -rf "$1"/*\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    folder = tmp_path / "drives"
    folder.mkdir()
    monkeypatch.setattr(disc_module, "turn", functools.partial(turn, str(tmp_path / "lock")))
    monkeypatch.setattr(disc_module, "candidates", lambda _label: [str(path) for path in sorted(folder.iterdir())])
    return folder


def no_pause(_seconds: float) -> None:
    """Tests wait for nobody."""


def test_the_disc_is_mounted_read_only_and_unmounted_after_a_failure_too(drives: Path, tmp_path: Path) -> None:
    (drives / "sr0").touch()  # no folder: an empty drive
    (drives / "sr1").mkdir()
    (drives / "sr1/manifest.json").write_text(manifest())
    point = tmp_path / "new/point"
    with pytest.raises(ZeroDivisionError), mounted_disc("L", str(point), UUID, print, no_pause) as folder:
        assert read_manifest(folder) is not None
        raise ZeroDivisionError
    log = (tmp_path / "log").read_text().splitlines()
    assert log[-1] == f"umount {point}"
    assert all("-o ro,nodev,nosuid,noexec" in line for line in log if line.startswith("mount"))
    assert not point.parent.exists(), "folders that were made for it are gone"


def test_a_drive_that_cannot_be_read_is_named_in_a_warning(drives: Path, tmp_path: Path) -> None:
    (drives / "sr0").touch()
    warnings: list[str] = []
    with pytest.raises(OpenNGTError) as caught, mounted_disc("L", str(tmp_path / "p"), UUID, warnings.append, no_pause):
        raise AssertionError("there is no disc")
    assert caught.value.code == "DISC_NOT_FOUND"
    assert warnings == [f"{drives / 'sr0'} was passed over: mount {drives / 'sr0'}: no medium found"]


# The zipapp: any Python file will do.


def zipapp(folder: Path, text: str) -> str:
    path = folder / "zipapp.py"
    path.write_text(text)
    return str(path)


def test_the_answer_is_the_last_line(tmp_path: Path) -> None:
    path = zipapp(tmp_path, "import sys, json\nprint('noise')\nprint(json.dumps({'ok': True, 'argv': sys.argv[1:]}))")
    arguments = install_arguments("/mnt/d", "aa", 30.0, True)
    assert call_zipapp(path, arguments)["argv"] == [
        *["install", "--source", "/mnt/d", "--wait", "30", "--ca-sha256", "aa"],
        *["--allow-unsupported-distribution", "--output", "json"],
    ]


def test_its_failure_is_handed_on(tmp_path: Path) -> None:
    failure = {"ok": False, "code": "DISC_EXPIRED", "message": "m", "remedy": "r", "details": {"a": 1}}
    path = zipapp(tmp_path, f"import sys\nprint('''{json.dumps(failure)}''')\nsys.exit(1)")
    with pytest.raises(OpenNGTError) as caught:
        call_zipapp(path, ["install"])
    assert caught.value.to_dict() == {key: value for key, value in failure.items() if key != "ok"}


@pytest.mark.parametrize(
    "text", ["raise SystemExit('no luck')", "import sys\nsys.stderr.write('no luck')\nprint('[1]')"]
)
def test_no_answer_shows_its_last_words(tmp_path: Path, text: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        call_zipapp(zipapp(tmp_path, text), ["uninstall"])
    assert caught.value.code == "COMMAND_FAILED"
    assert caught.value.details["progress"] == ["no luck"]


def test_last_object() -> None:
    assert last_object('x\n{"a": 1}\n\n') == {"a": 1}
    assert last_object("") is None
    assert last_object('{"a": 1}\nx') is None


def test_the_zipapp_is_for_its_owner_only_and_is_gone_afterwards() -> None:
    with private_zipapp(b"content") as name:
        path = Path(name)
        assert path.read_bytes() == b"content"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()
