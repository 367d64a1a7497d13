# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest's program as it is sent: by plain sh, on every Python that guests have, and nothing of it stays behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
from base64 import b64decode
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

import pytest
from tests.interpreters import interpreters

from openngt.install.bare_guest import read_probe
from openngt.install.fleet import guest_program
from openngt.install.fleet.guest_bundle import standard_modules
from openngt.install.fleet.guest_program import (
    Conversation,
    Program,
    agent_package,
    careful_command_for,
    command_for,
    header,
)
from openngt.install.fleet.report import Options
from openngt.install.fleet.target import SshLogin, Target
from openngt.install.transports.base import Ended

Json = dict[str, Any]
VERSION = "0.1.0"


class Guest:
    """This machine as the guest: the command run by sh as a transport does. Nothing that it is told makes it change."""

    def __init__(self, program: Program | str | None, tmp: Path, **environment: str) -> None:
        """A program, or the Python to name for the usual one."""
        self.tmp = tmp
        if not isinstance(program, Program):
            program = command_for(Target("here", "here", SshLogin("here"), program))
        self._program = program
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", self._program.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp), "TMPDIR": str(tmp), **environment},
        )

    def say(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def begin(self, **changed: Any) -> None:
        first = {**header(Options(check=True, wait_seconds=0), VERSION), **changed}
        self.say(self._program.before + json.dumps(first).encode() + b"\n")

    def hear(self) -> Json:
        assert self.process.stdout is not None
        answer: Json = json.loads(self.process.stdout.readline())
        return answer

    def end(self) -> int:
        """Its status, once nothing of it is left; it has said nothing more."""
        stdout, stderr = self.process.communicate(timeout=60)
        assert stdout == b"" and stderr == b"", stderr
        assert list(self.tmp.iterdir()) == []
        return self.process.returncode


@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters())
def test_it_looks_plans_and_stops_on_each_python(python: str, tmp_path: Path) -> None:
    guest = Guest(python, tmp_path)
    guest.begin()
    looked = guest.hear()
    assert looked["phase"] == "prerequisites" and looked["installed"] == []
    assert {finding["name"]: finding["state"] for finding in looked["findings"]}["python"] == "ok"
    plan = guest.hear()
    assert (plan["phase"], plan["operation"]) == ("plan", "install"), plan
    guest.say(b"stop\n")
    assert guest.end() == 0


def test_it_ends_when_its_input_ends(tmp_path: Path) -> None:
    guest = Guest(None, tmp_path)
    guest.begin()
    assert guest.hear() and guest.hear()
    assert guest.end() == 0


def test_it_ends_when_nobody_says_anything_any_longer(tmp_path: Path) -> None:
    guest = Guest(None, tmp_path)
    guest.begin(silence_seconds=0.05)
    assert guest.hear() and guest.hear()
    assert guest.process.wait(60) != 0
    guest.process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    guest = Guest(None, tmp_path)
    guest.begin()
    assert guest.hear() and guest.hear()
    guest.process.send_signal(number)
    assert guest.end() != 0


def test_without_a_python_the_shell_tells_what_it_has(tmp_path: Path) -> None:
    bin_only = tmp_path / "bin"
    bin_only.mkdir()
    for name in ("sh", "cat", "tar"):
        program = shutil.which(name)
        assert program
        (bin_only / name).symlink_to(program)
    guest = Guest("/nowhere/python3", tmp_path, PATH=str(bin_only))
    stdout, _ = guest.process.communicate(timeout=60)
    bare = read_probe(stdout.decode())
    assert (bare.python, bare.tar) == (None, str(bin_only / "tar"))
    assert bare.distribution.label != "unknown"


def test_nothing_of_the_users_environment_gets_into_it(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "json.py").write_text("raise SystemExit('caught')")
    guest = Guest(None, trap, PYTHONPATH=str(trap), PYTHONSTARTUP=str(trap / "json.py"))
    guest.begin()
    assert guest.hear()["phase"] == "prerequisites"
    guest.process.kill()
    guest.process.wait()


BROKEN = """\
#!/bin/sh
case "$*" in
    -V) echo Python 3.11.2 ;;
    *) echo "ModuleNotFoundError: No module named 'json'" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A Python without its standard library, as python3-minimal leaves one."""
    path = tmp_path / "minimal/python3"
    path.parent.mkdir()
    path.write_text(BROKEN)
    path.chmod(0o755)
    return path


def careful(target: Target) -> Program:
    program = careful_command_for(target)
    assert program is not None
    return program


def test_a_python_that_does_not_start_is_passed_over_when_each_is_tried(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_program, "INTERPRETERS", (str(broken), sys.executable))
    home = tmp_path / "home"
    home.mkdir()
    target = Target("here", "here", SshLogin("here"))
    guest = Guest(command_for(target), home)
    assert guest.process.wait(60) == 1, "the first that says its version"
    guest = Guest(careful(target), home)
    guest.begin()
    assert guest.hear()["phase"] == "prerequisites" and guest.hear()["phase"] == "plan"
    assert guest.end() == 0


def test_a_named_python_that_does_not_start_is_told_with_its_last_words(broken: Path, tmp_path: Path) -> None:
    guest = Guest(careful(Target("here", "here", SshLogin("here"), str(broken))), tmp_path)
    stdout, _ = guest.process.communicate(timeout=60)
    bare = read_probe(stdout.decode())
    assert bare.broken == f"{broken}: ModuleNotFoundError: No module named 'json'"
    assert bare.python is None and bare.tar and bare.distribution.label != "unknown"


def test_each_python_has_all_that_the_program_imports() -> None:
    """Or a good one would be passed over."""
    trial = f"import {', '.join(standard_modules())}"
    for python in interpreters().values():
        assert subprocess.run([python, "-I", "-S", "-c", trial], check=False).returncode == 0, python


class Recorded:
    """A GuestProgram that has said all it will, and keeps what it is told."""

    def __init__(self, *answers: Json) -> None:
        self.answers = [json.dumps(answer).encode() for answer in answers]
        self.told: list[bytes] = []

    def say(self, data: bytes) -> None:
        self.told.append(data)

    def hear(self, _seconds: float) -> bytes | None:
        return self.answers.pop(0) if self.answers else None

    def close_input(self) -> None:
        pass

    def end(self, _seconds: float) -> Ended:
        return Ended(0, "")


@pytest.mark.parametrize(("magic", "compiled"), [(MAGIC_NUMBER.hex(), True), ("00" * 4, False), (None, False)])
def test_only_a_guest_with_this_very_python_is_sent_the_agent_compiled(magic: str | None, compiled: bool) -> None:
    guest = Recorded({"phase": "prerequisites", "python_magic": magic}, {"phase": "install", "steps": []})
    talk = Conversation(guest, lambda: 60.0)
    talk.hear_first(1.0)
    talk.go({"ca_sha256": "00"}, 1.0)
    [word] = guest.told
    sent = json.loads(word.removeprefix(b"go "))
    assert sent["ca_sha256"] == "00"
    assert (b64decode(sent["compiled"]) == b64decode(agent_package().compiled)) if compiled else "compiled" not in sent


def test_it_is_small_and_holds_no_module_of_the_controller() -> None:
    program = command_for(Target("here", "here", SshLogin("here")))
    assert len(program.before) < 80 * 1024
    assert len(program.command) < 1024
    assert "'" not in program.command.removeprefix("exec sh -c '").removesuffix("'")
