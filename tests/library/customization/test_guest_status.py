# SPDX-License-Identifier: GPL-3.0-or-later
"""What cloud-init says of itself, in the words of its releases. `cloud_init_records` holds what real ones wrote."""

import json
from pathlib import Path
from typing import Any

import pytest

from openngt.agent.cloud_init import judge
from openngt.customization.guest_status import STATES, read

RECORDS = Path(__file__).with_name("cloud_init_records")
FAILED = "('scripts-user', RuntimeError('Runparts: 1 failures (part-001) in 1 attempted commands'))"


def judged(**given: Any) -> dict[str, Any]:
    nothing = {"asked": {}, "stages": {}, "log": "", "output": "", "present": True, "ended": True, "disabled": False}
    return judge(**{**nothing, **given})


def record(release: str, *, asked: bool = True) -> dict[str, Any]:
    folder = RECORDS / release
    return judged(
        asked=json.loads((folder / "status.out").read_text()) if asked else {},
        stages=json.loads((folder / "status.json").read_text())["v1"],
        log=(folder / "cloud-init.log").read_text(),
        output=(folder / "cloud-init-output.log").read_text(),
    )


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "by its files alone"])
def test_every_failed_module_is_named_with_what_it_said(asked: bool) -> None:
    found = record("22.4.2", asked=asked)
    assert (found["state"], found["module"], found["datasource"]) == ("failed", "locale", "nocloud")
    locale, script = found["message"].split("scripts-user: ")
    assert locale.startswith("locale: Unexpected error while running command.\nCommand: ['update-locale'")
    assert "*** update-locale: Error: invalid locale settings" in locale
    assert script.splitlines() == [
        "Runparts: 1 failures (part-001) in 1 attempted commands",
        "first words of the script",
        "the disk /dev/nope is missing",
    ]
    assert len(found["errors"]) == 2 and len(found["warnings"]) == 3
    assert "finished at" in found["last_lines"][-1]


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "by its files alone"])
def test_a_newer_release_is_understood_as_well(asked: bool) -> None:
    found = record("25.1.4", asked=asked)
    assert (found["state"], found["module"], found["datasource"]) == ("failed", "scripts-user", "nocloud")
    assert found["message"].splitlines() == [
        "scripts-user: Runparts: 1 failures (part-001) in 1 attempted commands",
        "first words of the script",
        "the disk /dev/nope is missing",
    ]


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({"present": False}, "absent"),
        ({}, "pending"),
        ({"disabled": True}, "disabled"),
        ({"asked": {"status": "not run"}}, "pending"),
        ({"asked": {"status": "not started", "extended_status": "not started"}}, "pending"),
        ({"asked": {"status": "disabled"}}, "disabled"),
        ({"asked": {"status": "running"}}, "running"),
        ({"asked": {"status": "done"}}, "done"),
        ({"asked": {"status": "done", "extended_status": "degraded done"}}, "done"),
        ({"asked": {"status": "error", "extended_status": "error - running", "errors": [FAILED]}}, "running"),
        ({"asked": {"status": "error", "extended_status": "error - done", "errors": [FAILED]}}, "failed"),
        ({"asked": {"status": "error", "errors": [FAILED]}, "stages": {"stage": "modules-final"}}, "running"),
        ({"stages": {"stage": "init", "init": {"errors": []}}, "ended": False}, "running"),
        ({"stages": {"stage": None, "init": {"errors": []}}}, "done"),
        ({"stages": {"stage": None, "modules-final": {"errors": [FAILED]}}}, "failed"),
        ({"asked": {"status": "a word of the future"}, "stages": {"stage": None}}, "done"),
    ],
)
def test_each_release_has_its_words(given: dict[str, Any], state: str) -> None:
    found = judged(**given)
    assert found["state"] == state and state in STATES
    assert (found["message"] is not None) == (state == "failed")


def test_a_stage_that_fails_as_a_whole_has_a_message_and_the_module_that_the_log_names() -> None:
    log = "2026-01-01 00:00:00,000 - util.py[WARNING]: Running module ntp (<module 'cc_ntp'>) failed\n"
    found = judged(stages={"stage": None, "init": {"errors": ["Temporary failure in name resolution"]}}, log=log)
    assert (found["module"], found["message"]) == ("ntp", "ntp: Temporary failure in name resolution")


def test_a_long_output_keeps_its_end_and_the_message_stays_within_two_kib() -> None:
    output = "".join(f"line {number} {'ü' * 200}\n" for number in range(500))
    found = judged(stages={"stage": None, "modules-final": {"errors": [FAILED]}}, output=output)
    assert len(found["message"].encode()) <= 2048
    assert found["message"].splitlines()[-1].startswith("line 499 ")


def test_only_the_last_boot_counts() -> None:
    log = "".join(
        f"2026-01-0{day} - util.py[DEBUG]: Cloud-init v. 22.4.2 running 'init-local' at day {day}\n"
        f"2026-01-0{day} - util.py[WARNING]: day {day}\n"
        for day in (1, 2)
    )
    assert judged(log=log)["warnings"] == ["util.py: day 2"]


def test_passwords_that_cloud_init_made_up_are_not_shown() -> None:
    output = "Set the following 'random' passwords\nadmin:R4nd0mC4nary\nroot:An0ther\nCloud-init goes on\n"
    found = judged(stages={"stage": None, "modules-final": {"errors": [FAILED]}}, output=output)
    assert "R4nd0m" not in json.dumps(found) and "An0ther" not in json.dumps(found)
    assert "Cloud-init goes on" in found["last_lines"]


def test_a_guest_is_read_by_its_program_and_files(tmp_path: Path) -> None:
    program = tmp_path / "usr/bin/cloud-init"
    program.parent.mkdir(parents=True)
    version = "[ $1 = --version ] && echo /usr/bin/cloud-init 22.4.2 && exit"
    program.write_text(f"#!/bin/sh\n{version}\ncat {RECORDS}/22.4.2/status.out\nexit 1\n")
    program.chmod(0o755)
    (tmp_path / "var/lib/cloud/data").mkdir(parents=True)
    (tmp_path / "var/lib/cloud/data/instance-id").write_text("i-web1\n")
    found = read(str(tmp_path))
    assert (found["state"], found["version"], found["instance_id"]) == ("failed", "22.4.2", "i-web1")
    program.write_text("#!/bin/sh\necho 'invalid choice: --format' >&2\nexit 2\n")
    assert read(str(tmp_path))["state"] == "pending"
    program.unlink()
    assert read(str(tmp_path))["state"] == "absent"
