# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command line says to bad input: exit status, one line with the code and one with the remedy on stderr.

The commands are those that the program has: one that is added stands in a table here or fails a test.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from tests.fakes.odd_fleet import NOBODY, UNKNOWN_UUID, odd_fleet, token_of
from tests.fakes.service import ServiceProcess

from openngt.errors import REMEDIES
from openngt_service.cli.main import app

LOCAL = {
    "serve", "restore", "ca create", "iso build", "iso inspect", "backup create", "backup inspect", "compat remove",
    "audit verify", "lab image", "lab up", "lab list", "lab ssh", "lab console", "lab down", "lab serve",
    "lab inventory", "lab clone", "lab snapshot", "lab revert", "ca rollover recover", "compatibility", "agent package",
    "customize validate", "customize build",
}  # fmt: skip
"""They work on files of this host or on the lab's VMs; the service's roles have no say."""
# Of the others: a call that makes sense, and the least role that may make it.
CALLS: dict[str, tuple[list[str], str]] = {
    "vm list": ([], "viewer"),
    "vm show": (["silent"], "viewer"),
    "vm diagnose": (["silent"], "viewer"),
    "vm enable": (["silent"], "operator"),
    "vm disable": (["silent"], "operator"),
    "vm mount": (["silent"], "operator"),
    "vm eject": (["silent"], "operator"),
    "vm power": (["reset", "silent"], "operator"),
    "vm power-show": (["ffff"], "viewer"),
    "vm clones": ([], "viewer"),
    "fleet install": (["--credentials", "{credentials}"], "operator"),
    "fleet check": (["--credentials", "{credentials}"], "viewer"),
    "refresh plan": (["silent"], "viewer"),
    "refresh run": (["silent", "--via", "link"], "operator"),
    "refresh show": (["ffff"], "viewer"),
    "upgrade plan": (["silent"], "viewer"),
    "upgrade run": (["silent"], "operator"),
    "upgrade show": (["ffff"], "viewer"),
    "customize plan": (["silent", "{customization}"], "operator"),
    "customize apply": (["silent", "{customization}"], "operator"),
    "customize show": (["silent"], "viewer"),
    "customize list": ([], "viewer"),
    "customize withdraw": (["silent"], "operator"),
    "task list": ([], "viewer"),
    "task show": (["ffff"], "viewer"),
    "task cancel": (["ffff"], "operator"),
    "ca show": ([], "viewer"),
    "ca export": ([], "viewer"),
    "ca adopt": (["{issue_log}"], "admin"),
    "ca rollover status": ([], "viewer"),
    "ca rollover prepare": ([], "admin"),
    "ca rollover activate": ([], "admin"),
    "ca rollover retire": ([], "admin"),
    "ca rollover abort": ([], "admin"),
    "report": ([], "viewer"),
    "health run": ([], "operator"),
    "health report": ([], "viewer"),
    "health checks": ([], "viewer"),
    "health show": (["ngt_link_check"], "viewer"),
    "health set": (["ngt_link_check", "--off"], "admin"),
    "health history": ([], "viewer"),
    "health alerts": ([], "viewer"),
    "health acknowledge": (["ffff"], "operator"),
    "audit export": ([], "admin"),
    "token create": (["made-by-a-test", "--role", "viewer"], "admin"),
    "token list": ([], "admin"),
    "token delete": (["nobody"], "admin"),
}
TAKES_A_VM = [name for name in CALLS if "silent" in CALLS[name][0]]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = odd_fleet(tmp_path_factory.mktemp("service"))
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def own_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet install keeps its journal in the home of who runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def commands() -> set[str]:
    """`group command` for each that the program has."""
    found = set()

    def walk(command: object, words: list[str]) -> None:
        inside = getattr(command, "commands", None)
        if inside is None:
            found.add(" ".join(words))
        for name, each in (inside or {}).items():
            walk(each, [*words, name])

    walk(typer.main.get_command(app), [])
    return found


def arguments_of(name: str, words: list[str], folder: Path) -> list[str]:
    names = {"{issue_log}": "issued.jsonl", "{credentials}": "fleet.json", "{customization}": "web1.yml"}
    files = {word: folder / file for word, file in names.items()}
    for path in files.values():
        path.touch(mode=0o600)
    # It is not enrolled, and nobody listens there.
    login = {"vmname": "plain", "host": "127.0.0.1", "port": 9, "credentials": {"username": "u", "password": "p"}}
    files["{credentials}"].write_text(json.dumps([login]))
    files["{customization}"].write_text("options: {hostname: web1}\n")
    return [*name.split(), *(str(files.get(word, word)) for word in words)]


def assert_refused(service: ServiceProcess, arguments: list[str], code: str, words: str, **environment: str) -> None:
    done = service.cli(*arguments, **environment)
    # 1 of `health run` is a finding; that it could not look is 3, as monitoring programs expect it.
    assert done.returncode == (3 if arguments[:2] == ["health", "run"] else 1), (arguments, done.stdout, done.stderr)
    assert f"[{code}]\n" in done.stderr, done.stderr
    error, remedy = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "remedy: "))]
    assert error.startswith("error: ") and words in done.stderr + done.stdout, (words, done.stderr)
    assert remedy.removeprefix("remedy: ") and "Traceback" not in done.stderr


def test_each_command_stands_in_a_table() -> None:
    local = LOCAL | {"compat install"}
    assert commands() == local | set(CALLS), commands() ^ (local | set(CALLS))


@pytest.mark.parametrize("name", sorted(TAKES_A_VM))
@pytest.mark.parametrize(
    ("reference", "codes"),
    [
        (NOBODY, {"VM_NOT_FOUND", "NOT_ENROLLED"}),
        (UNKNOWN_UUID, {"VM_NOT_FOUND", "NOT_ENROLLED"}),
        ("twin", {"VM_AMBIGUOUS"}),
    ],
    ids=["unknown name", "unknown UUID", "ambiguous"],
)
def test_a_vm_that_is_none_or_several_is_named(
    service: ServiceProcess, tmp_path: Path, name: str, reference: str, codes: set[str]
) -> None:
    words = [reference if word == "silent" else word for word in CALLS[name][0]]
    done = service.cli(*arguments_of(name, words, tmp_path))
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert any(code in done.stderr + done.stdout for code in codes), done.stderr
    assert reference in done.stderr and "remedy: " in done.stderr


WRONG: list[tuple[list[str], str, str]] = [
    (["refresh", "run", "--threshold-days", "-1"], "INVALID_INPUT", "threshold_days"),
    (["refresh", "plan", "--threshold-days", "-1"], "INVALID_INPUT", "threshold_days"),
    (["refresh", "run"], "INVALID_INPUT", "threshold_days"),
    (["refresh", "run", "silent", "--validity-days", "0"], "INVALID_INPUT", "validity_days"),
    (["refresh", "run", "silent", "--via", "usb"], "INVALID_INPUT", "via"),
    (["refresh", "run", "off"], "VM_POWERED_OFF", "off"),
    (["refresh", "run", "full", "--via", "iso"], "NO_EMPTY_DRIVE", "full"),
    (["refresh", "run", "silent", "--via", "link"], "LINK_NOT_ACTIVE", "silent"),
    (["refresh", "run", "plain"], "NOT_ENROLLED", "plain"),
    (["fleet", "install"], "INVALID_INPUT", "credentials and inventory"),
    (["fleet", "check", "--credentials", "a", "--inventory", "b"], "INVALID_INPUT", "credentials and inventory"),
    (["fleet", "install", "--credentials", "/nowhere/fleet.json"], "FILE_UNUSABLE", "/nowhere"),
    (["fleet", "install", "--credentials", "/dev/null"], "INVALID_INPUT", "is a device, no file"),
    (["fleet", "install", "--inventory", "/nowhere"], "INVALID_INPUT", "ansible-inventory refuses /nowhere"),
    (["fleet", "install", "--inventory", "/i", "--delete-credentials"], "INVALID_INPUT", "delete_credentials"),
    (["vm", "mount", "off"], "VM_POWERED_OFF", "off"),
    (["vm", "mount", "full"], "NO_EMPTY_DRIVE", "/isos/debian.iso"),
    (["vm", "power", "reset", "off"], "VM_POWERED_OFF", "off"),
    (["vm", "power", "guest_reboot", "off"], "VM_POWERED_OFF", "off"),
    (["vm", "power", "shutdown", "paused"], "VM_PAUSED", "paused"),
    (["vm", "power", "guest_shutdown", "silent"], "LINK_NOT_ACTIVE", "silent"),
    (["vm", "power", "reset", "silent", "--fallback", "off"], "INVALID_INPUT", "fallback"),
    (["vm", "list", "--filter", "colour=red"], "INVALID_INPUT", "filter"),
    (["health", "run", "no_such_check"], "INVALID_INPUT", "no_such_check"),
    (["token", "delete", NOBODY], "NOT_FOUND", NOBODY),
    (["task", "show", "ffff"], "NOT_FOUND", "ffff"),
    (["task", "cancel", "ffff"], "NOT_FOUND", "ffff"),
    (["customize", "show", "plain"], "NOT_FOUND", "plain"),
    (["customize", "apply", "plain", "/no/such/file"], "INVALID_INPUT", "/no/such/file"),
    (["customize", "list", "--state", "ready"], "INVALID_INPUT", "ready"),
    (["upgrade", "run", "plain"], "NOT_ENROLLED", "plain"),
    (["upgrade", "run", "silent", "--version", "9.9.9"], "VERSION_UNSUPPORTED", "9.9.9"),
    (["upgrade", "run", "silent", "--rollback-seconds", "0"], "INVALID_INPUT", "rollback_seconds"),
    (["upgrade", "run", "silent", "--max-fail-percentage", "-1"], "INVALID_INPUT", "max_fail_percentage"),
    (["upgrade", "run", "silent", "--via", "usb"], "INVALID_INPUT", "via"),
    (["ca", "rollover", "prepare", "--replaces", "no fingerprint"], "INVALID_INPUT", "replaces"),
    (["task", "show", "not an id"], "INVALID_INPUT", "task_id"),
    (["agent", "package", "--ca-sha256", "no fingerprint"], "INVALID_INPUT", "ca_sha256"),
    (["agent", "package", "--directory", "/no/such/folder"], "FILE_UNUSABLE", "/no/such/folder"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "words"), WRONG, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_what_makes_no_sense_is_two_lines(service: ServiceProcess, arguments: list[str], code: str, words: str) -> None:
    assert code in REMEDIES
    assert_refused(service, arguments, code, words)


@pytest.mark.parametrize(
    "arguments", [["vm", "power", "reset"], ["vm", "power", "explode", "silent"], ["vm", "enable"]]
)
def test_an_empty_list_or_an_unknown_verb_is_a_wrong_command_line(
    service: ServiceProcess, arguments: list[str]
) -> None:
    done = service.cli(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stdout == ""


@pytest.fixture(scope="module")
def tokens(service: ServiceProcess) -> dict[str, str]:
    with service.client() as client:
        return {role: token_of(client, role) for role in ("viewer", "operator")}


@pytest.mark.parametrize("role", ["viewer", "operator"])
@pytest.mark.parametrize("name", sorted(CALLS))
def test_each_command_that_a_role_may_not_give_is_refused_by_name(
    service: ServiceProcess, tokens: dict[str, str], tmp_path: Path, name: str, role: str
) -> None:
    words, needed = CALLS[name]
    rank = ("viewer", "operator", "admin")
    if rank.index(role) >= rank.index(needed):
        return
    environment = {"OPENNGT_ENDPOINT": service.endpoint, "OPENNGT_CA_FILE": service.ca_file, "OPENNGT_STATE_DIR": ""}
    before = json.dumps(service.client().vms())
    assert_refused(
        service, arguments_of(name, words, tmp_path), "FORBIDDEN", needed, **environment, OPENNGT_TOKEN=tokens[role]
    )
    assert json.dumps(service.client().vms()) == before, "and nothing is changed"
