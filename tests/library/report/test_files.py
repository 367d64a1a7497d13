# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a report: all or none, left alone where nothing changed, and what is in the way is named."""

import datetime
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.fleet_answers import NOW, answers, vm

from openngt.errors import OpenNGTError
from openngt.report.files import FORMATS, Form, Target, apply, differing, mode_of, plan, targets_of
from openngt.report.model import report_of

LATER = NOW + datetime.timedelta(hours=1)


def three(folder: Path) -> dict[Form, str | None]:
    return {form: str(folder / f"fleet.{form}") for form in FORMATS}


def mode_of_file(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_written_once_then_left_alone_with_their_time(tmp_path: Path) -> None:
    targets = targets_of(three(tmp_path))
    first = plan(targets, report_of(answers(30), NOW))
    assert [one.reason for one in first] == ["missing"] * 3
    assert list(tmp_path.iterdir()) == [], "a plan writes nothing"
    apply(first)
    kept = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    assert sorted(path.name for path in kept) == ["fleet.csv", "fleet.html", "fleet.json"]
    again = plan(targets, report_of(answers(30), LATER))
    assert not any(one.changed for one in again)
    apply(again)
    assert kept == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}


def test_one_vm_that_changed_is_one_line_of_the_difference(tmp_path: Path) -> None:
    targets = targets_of(three(tmp_path))
    fleet = [vm(number) for number in range(5)]
    apply(plan(targets, report_of(answers(vms=fleet), NOW)))
    fleet[2] = vm(2, reboot_required=True)
    planned = {one.target.form: one for one in plan(targets, report_of(answers(vms=fleet), LATER))}
    assert {form: one.reason for form, one in planned.items()} == {
        "json": "content",
        "csv": "content",
        "html": "unchanged",
    }
    before, after = differing(planned["csv"])
    assert before.count("\n") == after.count("\n") == 1
    assert "web00002" in before and "web00002" in after and ",true,false,true,true," not in before


def test_a_fleet_that_changed_as_a_whole_has_a_difference_one_can_read(tmp_path: Path) -> None:
    targets = targets_of({"csv": str(tmp_path / "fleet.csv")})
    apply(plan(targets, report_of(answers(vms=[vm(number) for number in range(500)]), NOW)))
    [one] = plan(targets, report_of(answers(vms=[vm(number, days=1) for number in range(500)]), NOW))
    before, after = differing(one)
    assert before.endswith("… and 400 lines more\n") and after.count("\n") == 101


def test_only_a_mode_that_differs_is_set(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    report = report_of(answers(3), NOW)
    apply(plan([Target("json", path, 0o640)], report))
    assert mode_of_file(path) == 0o640
    before = path.read_bytes()
    [one] = plan([Target("json", path, 0o600)], report_of(answers(3), LATER))
    assert one.reason == "mode"
    apply([one])
    assert (mode_of_file(path), path.read_bytes()) == (0o600, before)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "fleet.json").symlink_to(tmp_path / "real/fleet.json")
    apply(plan(targets_of({"json": str(tmp_path / "fleet.json")}), report_of(answers(3), NOW)))
    assert (tmp_path / "fleet.json").is_symlink() and (tmp_path / "real/fleet.json").is_file()


def refused(paths: dict[Form, str | None]) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        targets_of(paths)
    return caught.value


def test_what_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    error = refused({"json": str(tmp_path / "fleet.json"), "html": str(tmp_path / "folder")})
    assert error.code == "FILE_UNUSABLE" and "folder is a folder" in error.message
    error = refused({"csv": str(tmp_path / "nowhere/fleet.csv")})
    assert error.code == "FILE_UNUSABLE" and "there is no folder" in error.message
    error = refused({"csv": "/dev/null"})
    assert error.code == "FILE_UNUSABLE" and "no regular file" in error.message
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root becomes somebody who may not write")
def test_a_folder_that_is_not_ours_is_refused_by_name() -> None:
    for path in ("/usr/share/fleet.csv", "/root/fleet.csv"):
        os.seteuid(65534)
        try:
            error = refused({"csv": path})
        finally:
            os.seteuid(0)
        assert error.code == "PERMISSION_DENIED" and path in error.message


def test_one_file_cannot_be_two_reports(tmp_path: Path) -> None:
    here = str(tmp_path / "fleet")
    assert refused({"json": here, "html": f"{tmp_path}/./fleet"}).code == "INVALID_INPUT"
    Path(here).touch()
    (tmp_path / "soft").symlink_to(here)
    (tmp_path / "hard").hardlink_to(here)
    for other in ("soft", "hard"):
        error = refused({"csv": here, "html": str(tmp_path / other)})
        assert error.code == "INVALID_INPUT" and "csv and html are one file" in error.message


def test_when_one_file_cannot_be_finished_none_is_there(tmp_path: Path) -> None:
    """The folder of the last one goes between the judgement and the writing."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    targets = targets_of({"json": str(tmp_path / "a/fleet.json"), "html": str(tmp_path / "b/fleet.html")})
    planned = plan(targets, report_of(answers(3), NOW))
    (tmp_path / "b").rmdir()
    with pytest.raises(OpenNGTError) as caught:
        apply(planned)
    assert caught.value.code == "FILE_UNUSABLE"
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize(("given", "mode"), [("0640", 0o640), ("600", 0o600), (0o644, 0o644), ("0o664", 0o664)])
def test_modes_as_people_give_them(given: Any, mode: int) -> None:
    assert mode_of(given) == mode


@pytest.mark.parametrize("given", ["rw", "", "0099", None, True, "0440", "07777", -1, 640, "u=rw"])
def test_modes_that_nobody_means(given: Any) -> None:
    with pytest.raises(OpenNGTError) as caught:
        mode_of(given)
    assert caught.value.code == "INVALID_INPUT" and caught.value.message.startswith("mode: ")
