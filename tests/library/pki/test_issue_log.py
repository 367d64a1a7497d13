# SPDX-License-Identifier: GPL-3.0-or-later
"""The issue log: durable, in order, shared by runs at the same time, and readable after a crash."""

import datetime
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import openngt.pki.issue_log
from openngt.errors import OpenNGTError
from openngt.pki.identity import default_ngt_uuid
from openngt.pki.issue_log import (
    IssueLog,
    IssueRecord,
    RevocationRecord,
    open_issue_log,
    parse_issue_log,
    read_issue_log,
)

VM, OTHER_VM = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c"
NGT = "11111111-2222-4333-8444-555555555555"
NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)


def record(serial: str, generation: int = 1, vm_uuid: str = VM) -> IssueRecord:
    return IssueRecord(
        serial=serial,
        vm_uuid=vm_uuid,
        ngt_uuid=NGT,
        vm_name="web1",
        generation=generation,
        kind="external",
        not_before=NOW,
        not_after=NOW + datetime.timedelta(days=1000),
        sha256="ab" * 32,
        issued_at=NOW,
    )


def test_a_line_has_the_fields_of_the_contract(tmp_path: Path) -> None:
    with open_issue_log(tmp_path) as log:
        log.append(record("1e5a"))
        log.revoke(RevocationRecord("1e5a", VM, NOW))
    issued, revoked = map(json.loads, (tmp_path / "issued.jsonl").read_text().splitlines())
    assert issued == {
        "serial": "1e5a",
        "vm_uuid": VM,
        "ngt_uuid": NGT,
        "vm_name": "web1",
        "generation": 1,
        "kind": "external",
        "not_before": "2026-11-21T12:00:00Z",
        "not_after": "2029-08-17T12:00:00Z",
        "sha256": "ab" * 32,
        "issued_at": "2026-11-21T12:00:00Z",
    }
    assert revoked == {"serial": "1e5a", "vm_uuid": VM, "revoked_at": "2026-11-21T12:00:00Z"}


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    with open_issue_log(tmp_path) as log:
        log.append(record("a"))
        log.append(record("b", vm_uuid=OTHER_VM))
        log.revoke(RevocationRecord("a", VM, NOW))
        within = log.content
    assert read_issue_log(tmp_path) == within == parse_issue_log((tmp_path / "issued.jsonl").read_bytes())
    assert (within.serials, within.revoked, within.torn) == ({"a", "b"}, {"a"}, False)
    assert [one.serial for one in within.issued] == ["a", "b"]
    assert within.unrevoked(VM) == []
    assert within.unrevoked(OTHER_VM) == ["b"]


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with open_issue_log(tmp_path) as log:
            log.append(record("a"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "issued.jsonl").stat().st_mode) == 0o600


def test_reading_creates_nothing(tmp_path: Path) -> None:
    assert read_issue_log(tmp_path) == IssueLog()
    assert list(tmp_path.iterdir()) == []


def test_generations_count_for_each_vm_alone() -> None:
    log = IssueLog((record("a", 1), record("b", 7), record("c", 2), record("d", 3, OTHER_VM)))
    assert (log.next_generation(VM), log.next_generation(OTHER_VM)) == (8, 4)
    assert IssueLog().next_generation(VM) == 1


def test_an_ngt_uuid_stays_what_it_was() -> None:
    assert IssueLog((record("a"),)).ngt_uuid(VM, "ab" * 32) == NGT
    assert IssueLog((record("a"),)).ngt_uuid(OTHER_VM, "ab" * 32) == default_ngt_uuid("ab" * 32, OTHER_VM)


@pytest.mark.parametrize("length", [1, 100, -2])
def test_a_torn_last_line_is_reported_and_cut_off_by_the_next_writer(length: int, tmp_path: Path) -> None:
    with open_issue_log(tmp_path) as log:
        log.append(record("a"))
    path = tmp_path / "issued.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:length])
    assert read_issue_log(tmp_path) == IssueLog((record("a"),), torn=True)
    with open_issue_log(tmp_path) as log:
        assert log.content.torn
        log.append(record("b", 2))
    assert read_issue_log(tmp_path) == IssueLog((record("a"), record("b", 2)))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"7",
        b"{",
        b"\xff",
        b'{"serial": "a", "vm_uuid": "b", "revoked_at": 7}',
        b'{"serial": "a", "vm_uuid": "b", "revoked_at": "2026-11-21T12:00:00"}',
        b"[" * 100_000,
    ],
)
def test_damage_elsewhere_is_told_with_its_line(line: bytes, tmp_path: Path) -> None:
    with open_issue_log(tmp_path) as log:
        log.append(record("a"))
    path = tmp_path / "issued.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n" + path.read_bytes())
    before = path.read_bytes()
    with pytest.raises(OpenNGTError) as caught:
        read_issue_log(tmp_path)
    assert (caught.value.code, caught.value.details) == ("ISSUE_LOG_DAMAGED", {"line": 2})
    with pytest.raises(OpenNGTError), open_issue_log(tmp_path):
        pass
    assert path.read_bytes() == before


def test_a_field_of_a_later_version_is_ignored(tmp_path: Path) -> None:
    with open_issue_log(tmp_path) as log:
        log.append(record("a"))
    path = tmp_path / "issued.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "blue"}) + "\n")
    assert read_issue_log(tmp_path) == IssueLog((record("a"),))


APPEND = """
import dataclasses, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_issue_log import VM, record
from openngt.pki.issue_log import open_issue_log
for number in range(25):
    with open_issue_log(Path(sys.argv[1])) as log:
        log.append(record(f"{sys.argv[2]}-{number}", log.content.next_generation(VM)))
"""


def append_command(folder: Path, name: str) -> list[str]:
    return [sys.executable, "-c", APPEND, str(folder), name, str(Path(__file__).parent)]


def test_runs_at_the_same_time_never_share_a_generation(tmp_path: Path) -> None:
    runs = [subprocess.Popen(append_command(tmp_path, name)) for name in ("x", "y", "z")]
    assert [run.wait() for run in runs] == [0, 0, 0]
    log = read_issue_log(tmp_path)
    assert [one.generation for one in log.issued] == list(range(1, 76))
    assert len(log.serials) == 75


KILLED_AT = {"pki.issue_log.written", "pki.issue_log.synced"}


def test_each_step_has_its_kill_case(failpoints: Callable[[Path], set[str]]) -> None:
    assert failpoints(Path(openngt.pki.issue_log.__file__)) == KILLED_AT


@pytest.mark.parametrize("step", sorted(KILLED_AT))
def test_a_writer_killed_at_any_step_leaves_a_log_that_goes_on(step: str, tmp_path: Path) -> None:
    killed = subprocess.run(append_command(tmp_path, "x"), env={**os.environ, "OPENNGT_FAILPOINT": step}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(read_issue_log(tmp_path).issued) <= 1
    subprocess.run(append_command(tmp_path, "y"), check=True)
    generations = [one.generation for one in read_issue_log(tmp_path).issued]
    assert generations == list(range(1, len(generations) + 1))
