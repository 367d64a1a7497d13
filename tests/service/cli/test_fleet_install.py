# SPDX-License-Identifier: GPL-3.0-or-later
"""`openngt fleet install` before it reaches a guest: what it reads, whom it leaves out, and what it shows."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.fakes.service import ServiceProcess

from openngt.errors import OpenNGTError
from openngt.install.fleet.report import Event, Row
from openngt.install.fleet.target import SshLogin
from openngt_service.cli.install_progress import Bar, Lines
from openngt_service.cli.targets import Guests, guests_of, limited

from .conftest import OTHER, VM

CANARY = "CANARY-6c1f"
NOBODY_LISTENS = {"host": "127.0.0.1", "port": 9}
LISTING: dict[str, Any] = {
    "_meta": {
        "hostvars": {
            "web1": {"ansible_host": "198.51.100.11", "openngt_vm": VM},
            "web2": {"ansible_password": {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256"}},
            "db1": {"ansible_become_password": "{{ lookup('file', 'x') }}", "openngt_vm": OTHER},
            "db2": {"note": "{{ not a variable of ours }}", "ansible_password": CANARY},
            "win1": {"ansible_connection": "winrm", "ansible_user": "EXAMPLE\\op"},
        }
    },
    "all": {"children": ["ungrouped", "fleet"]},
    "fleet": {"children": ["web", "db"]},
    "web": {"hosts": ["web1", "web2"]},
    "db": {"hosts": ["db1", "db2"]},
    "ungrouped": {"hosts": ["win1"]},
}


@pytest.fixture(autouse=True)
def own_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))


def listed(name: str, vm: str, **more: Any) -> dict[str, Any]:
    return {
        "uuid": vm, "vmname": name, "credentials": {"username": "op", "password": CANARY}, **NOBODY_LISTENS, **more,
    }  # fmt: skip


def written(folder: Path, entries: Any, mode: int = 0o600) -> str:
    path = folder / "fleet.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(entries))
    path.chmod(mode)
    return str(path)


def test_failures_are_rows_and_are_grouped_by_code(service: ServiceProcess, tmp_path: Path) -> None:
    file = written(tmp_path, [listed("web01", VM), listed("gone", "00000000-0000-4000-8000-000000000000")])
    done = service.cli("fleet", "check", "--credentials", file)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["Name", "web01", "gone"]
    assert "GUEST_REFUSED (1): web01; remedy: start sshd" in done.stderr
    assert "VM_NOT_FOUND (1): gone; remedy: " in done.stderr and "2 failed" in done.stderr
    assert "error: 2 of 2 guests are not installed" in done.stderr and CANARY not in done.stdout + done.stderr


def test_json_has_the_rows_and_the_summary(service: ServiceProcess, tmp_path: Path) -> None:
    limit = tmp_path / "again"
    done = service.cli(
        "fleet", "install", "--credentials", written(tmp_path, [listed("web01", VM)]), "-o", "json",
        "--limit-file", str(limit),
    )  # fmt: skip
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert [(row["name"], row["code"], row["phase"]) for row in answer["rows"]] == [
        ("web01", "GUEST_REFUSED", "connect")
    ]
    assert answer["summary"]["counts"] == {"failed": 1} and answer["limit_file"] == str(limit)
    assert limit.read_text() == "web01\n"


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_a_list_that_others_can_read_is_not_read(service: ServiceProcess, tmp_path: Path, mode: int) -> None:
    """T30."""
    done = service.cli("fleet", "install", "--credentials", written(tmp_path, [], mode))
    assert done.returncode == 1 and f"its mode is {mode:04o}" in done.stderr and "[CREDENTIALS_EXPOSED]" in done.stderr
    assert "remedy: make the file yours and 0600" in done.stderr


def test_a_wrong_list_is_told_by_entry_and_field_and_nothing_is_begun(service: ServiceProcess, tmp_path: Path) -> None:
    """T30."""
    before = json.dumps(service.client().tasks())
    wrong = listed("web01", VM, port="CANARY-6c1f")
    done = service.cli("fleet", "install", "--credentials", written(tmp_path, [listed("db", OTHER), wrong]))
    assert done.returncode == 1 and done.stdout == ""
    assert "entry 2 (web01): port is text; a number from 1 to 65535 is wanted" in done.stderr
    assert CANARY not in done.stderr and json.dumps(service.client().tasks()) == before


def test_a_list_is_deleted_when_asked_also_after_a_failure_but_not_before_a_run(
    service: ServiceProcess, tmp_path: Path
) -> None:
    file = written(tmp_path, {"no": "list"})
    assert service.cli("fleet", "install", "--credentials", file, "--delete-credentials").returncode == 1
    assert Path(file).exists(), "nothing was begun"
    written(tmp_path, [listed("web01", VM)])
    done = service.cli("fleet", "install", "--credentials", file, "--delete-credentials")
    assert done.returncode == 1 and f"{file} is deleted" in done.stderr and not Path(file).exists()


def test_standard_input_is_read_to_its_end(service: ServiceProcess, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("openngt")), "fleet", "check", "--credentials", "-"],
        env={**service.environment, "HOME": str(tmp_path)},
        input=json.dumps([listed("web01", VM)]),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1 and "[1/1] web01: failed in connect [GUEST_REFUSED]" in done.stderr, done.stderr


def inventory(folder: Path, text: str) -> str:
    path = folder / "inventory.yml"
    path.write_text(text)
    return str(path)


def test_an_inventory_is_read_by_ansible(service: ServiceProcess, tmp_path: Path) -> None:
    text = f"""
all:
  vars: {{ansible_host: 127.0.0.1, ansible_port: 9}}
  children:
    web:
      hosts:
        web01: {{openngt_vm: {VM}}}
        web02: {{ansible_password: "{{{{ secret }}}}"}}
    db:
      hosts:
        db01: {{ansible_become_method: su}}
"""
    done = service.cli("fleet", "check", "--inventory", inventory(tmp_path, text), "--limit", "web,d*", "-o", "json")
    assert done.returncode == 1, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert {name: row["code"] for name, row in rows.items()} == {
        "web01": "GUEST_REFUSED", "web02": "GUEST_LOGIN_UNSUPPORTED", "db01": "GUEST_LOGIN_UNSUPPORTED",
    }  # fmt: skip
    assert "ansible_password is a template or vaulted" in rows["web02"]["message"]
    assert "fleet_install" in rows["web02"]["remedy"] and rows["web02"]["details"]["variables"] == ["ansible_password"]
    assert "ansible_become_method is su" in rows["db01"]["message"]


def test_what_ansible_says_to_a_broken_inventory_is_told_without_the_lines_that_it_quotes(
    service: ServiceProcess, tmp_path: Path
) -> None:
    """T34: the line that Ansible shows is the one with the password."""
    text = f"all:\n  hosts:\n    web01:\n      ansible_password: {CANARY}: x\n"
    done = service.cli("fleet", "check", "--inventory", inventory(tmp_path, text))
    assert done.returncode == 1 and "[INVALID_INPUT]" in done.stderr and CANARY not in done.stderr + done.stdout
    assert "inventory.yml:4" in done.stderr and "ansible-inventory -i" in done.stderr


def test_hosts_that_cannot_be_reached_as_the_inventory_says_are_refused_alone() -> None:
    guests = guests_of(LISTING, trust_new=False)
    assert [target.name for target in guests.targets] == ["web1", "db2"]
    assert [(each.name, each.vm, each.error.code) for each in guests.refused] == [
        ("win1", "win1", "DOMAIN_USER_UNSUPPORTED"),
        ("web2", "web2", "GUEST_LOGIN_UNSUPPORTED"),
        ("db1", OTHER, "GUEST_LOGIN_UNSUPPORTED"),
    ]
    login = guests.targets[0].login
    assert isinstance(login, SshLogin) and login.host == "198.51.100.11" and guests.targets[0].vm == VM


def names(guests: Guests) -> set[str]:
    return {target.name for target in guests.targets} | {each.name for each in guests.refused}


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        (None, {"web1", "web2", "db1", "db2", "win1"}),
        ("web1", {"web1"}),
        ("web", {"web1", "web2"}),
        ("fleet,!db1", {"web1", "web2", "db2"}),
        ("!fleet", {"win1"}),
        ("*1", {"web1", "db1", "win1"}),
        ("@{file}", {"web2", "db1"}),
        ("all,!@{file}", None),
    ],
)
def test_limit_takes_names_groups_patterns_and_files(
    pattern: str | None, left: set[str] | None, tmp_path: Path
) -> None:
    file = tmp_path / "limit"
    file.write_text("web2\n\ndb1\n")
    guests = guests_of(LISTING, trust_new=False)
    text = None if pattern is None else pattern.replace("{file}", str(file))
    if left is None:
        with pytest.raises(OpenNGTError, match="no guest and no group is named"):
            limited(guests, text)
        return
    assert names(limited(guests, text)) == left


@pytest.mark.parametrize(
    ("pattern", "code", "words"),
    [
        ("web9", "INVALID_INPUT", "no guest and no group is named web9"),
        ("web1,!web", "INVALID_INPUT", "none of 5 guests matches"),
        ("@/nowhere", "FILE_UNUSABLE", "/nowhere cannot be read"),
    ],
)
def test_a_limit_that_leaves_nobody_is_told(pattern: str, code: str, words: str) -> None:
    with pytest.raises(OpenNGTError, match=words) as caught:
        limited(guests_of(LISTING, trust_new=False), pattern)
    assert caught.value.code == code


def failed(name: str) -> Row:
    return Row(name, name, "failed", phase="connect", code="GUEST_REFUSED", message="nobody listens\x1b[2J")


def test_a_bar_shows_how_many_are_done_and_failed_and_who_is_slowest() -> None:
    screen = io.StringIO()
    bar = Bar(Console(file=screen, force_terminal=True, width=160, markup=False, highlight=False))
    with bar:
        bar.tell(Event("web1", "enrol", None, 0, 3))
        bar.tell(Event("web2", "enrol", None, 0, 3))
        bar.tell(Event("web1", "mount", None, 0, 3))
        assert bar.slowest is not None and (bar.slowest.name, bar.slowest.phase) == ("web1", "mount")
        bar.tell(Event("web1", None, failed("web1"), 1, 3))
        assert bar.slowest is not None and bar.slowest.name == "web2"
        bar.interrupted()
    shown = screen.getvalue()
    assert "1/3" in shown and "1 failed, 2 left" in shown and "slowest: web2 (enrol" in shown
    assert "web1: failed in connect [GUEST_REFUSED] nobody listens\\x1b[2J" in shown
    assert "the next Ctrl-C cuts connections and waits" in shown


def test_without_a_terminal_each_end_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.tell(Event("web1", "enrol", None, 0, 2))
    lines.tell(Event("web1", None, Row("web1", "web1", "installed"), 1, 2))
    lines.tell(Event("web2", None, failed("web2"), 2, 2))
    assert capsys.readouterr().err == (
        "[1/2] web1: installed\n[2/2] web2: failed in connect [GUEST_REFUSED] nobody listens\\x1b[2J\n"
    )
