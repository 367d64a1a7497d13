# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a fleet's installation: what a later run finds in it, and who may have it."""

import json
import stat
import threading
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt.install.fleet.journal import FILE, default_folder, open_journal
from openngt.install.fleet.report import Row
from openngt.install.fleet.target import Secret, SshLogin, Target

URL = "https://192.0.2.10:2073"
TARGETS = [Target(name, name, SshLogin(name, password=Secret("canary-5d1f"))) for name in ("web1", "db1")]
DONE = Row("web1", "web1", "installed", vm_uuid="u", vm_name="web1", phase="prove", seconds={"enrol": 0.1})


def killed(folder: Path, *rows: Row, torn: bytes = b"") -> None:
    """A run that has written these rows and then was killed."""
    with open_journal(folder, URL, TARGETS, resume=True) as journal:
        for row in rows:
            journal.phase(row.name, "enrol", 0.1)
            journal.row(row)
    with (folder / FILE).open("ab") as stream:
        stream.write(torn)


def rows_of(folder: Path, *, resume: bool = True, url: str = URL, targets: list[Target] = TARGETS) -> list[Row]:
    with open_journal(folder, url, targets, resume=resume) as journal:
        return list(journal.finished_rows)


@pytest.mark.parametrize("torn", [b"", b'{"row": {"name": "db1", "vm"', b'{"row": 7}\n', b"\0\0\0\n"])
def test_what_a_killed_run_had_finished_is_found(tmp_path: Path, torn: bytes) -> None:
    killed(tmp_path, DONE, torn=torn)
    assert rows_of(tmp_path) == [DONE]
    assert rows_of(tmp_path) == [DONE], "also by the run after the next"


def test_a_row_of_another_version_is_not_relied_on(tmp_path: Path) -> None:
    killed(tmp_path, torn=b'{"row": {"name": "web1", "colour": "red"}}\n')
    assert rows_of(tmp_path) == []


def test_a_finished_run_is_not_continued(tmp_path: Path) -> None:
    with open_journal(tmp_path, URL, TARGETS, resume=True) as journal:
        journal.row(DONE)
        journal.finished()
    assert rows_of(tmp_path) == []


def test_resume_false_begins_anew(tmp_path: Path) -> None:
    killed(tmp_path, DONE)
    assert rows_of(tmp_path, resume=False) == []
    assert rows_of(tmp_path) == []


def test_the_unfinished_journal_of_other_guests_is_not_taken(tmp_path: Path) -> None:
    killed(tmp_path, DONE)
    for url, targets in ((URL, TARGETS[:1]), ("https://192.0.2.11:2073", TARGETS)):
        with pytest.raises(OpenNGTError) as caught:
            rows_of(tmp_path, url=url, targets=targets)
        assert caught.value.code == "INVALID_INPUT" and "resume: false" in caught.value.remedy
    assert rows_of(tmp_path) == [DONE]


def test_only_one_run_has_it(tmp_path: Path) -> None:
    with open_journal(tmp_path, URL, TARGETS, resume=True), pytest.raises(OpenNGTError) as caught:
        rows_of(tmp_path)
    assert caught.value.code == "SERVICE_CONFLICT"


def test_it_is_its_owners_alone_and_holds_no_login(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    killed(folder, DONE)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / FILE).stat().st_mode) == 0o600
    assert "canary" not in (folder / FILE).read_text()


def test_lines_of_many_threads_are_whole(tmp_path: Path) -> None:
    with open_journal(tmp_path, URL, TARGETS, resume=True) as journal:
        threads = [
            threading.Thread(target=lambda name=f"g{n}": [journal.phase(name, "enrol", 0.0) for _ in range(20)])
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert sum("phase" in line for line in lines) == 160


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OpenNGTError) as caught:
        rows_of(tmp_path / "file/journal")
    assert str(tmp_path) in caught.value.message and "journal" in caught.value.remedy


def test_the_same_guests_and_service_have_the_same_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = default_folder(URL, TARGETS)
    assert folder.is_relative_to(tmp_path) and folder == default_folder(URL, TARGETS[::-1])
    assert folder not in (default_folder(URL, TARGETS[:1]), default_folder("https://192.0.2.11:2073", TARGETS))
