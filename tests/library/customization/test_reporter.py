# SPDX-License-Identifier: GPL-3.0-or-later
"""The script on a disc that tells how a customization ended, run by sh and by every Python, beside a port of its own.

`tests/e2e/test_customization.py` has it do so in real guests.
"""

import contextlib
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interpreters import interpreters

from openngt.agent.cloud_init import judge
from openngt.customization.authoring import write_media
from openngt.customization.guest_report import MARK, record_of
from openngt.customization.media import build
from openngt.customization.model import Customization, MediaVm
from openngt.customization.reporter import FOLDER, reporter

NONCE = "0123456789abcdef" * 2
LIMIT_SECONDS = 60
DONE = {
    "state": "done",
    "module": None,
    "message": None,
    "errors": [],
    "warnings": [],
    "instance_id": "i-1",
    "version": "22.4.2",
}
FAILED = {
    **DONE,
    "state": "failed",
    "module": "scripts-user",
    "message": "caf\u00e9: line\nno such disk",
    "errors": ["(…)" * 500],
}
# As the disc's own, but for the folder that is `/` here, what cloud-init answers, and the time between two reports.
MAIN = """\
import json, guest_report
guest_report.AGAIN_SECONDS = 0.1
guest_report.LOST_SECONDS = 0.3
with open({root!r} + "/answer.json") as answer:
    said = json.load(answer)
guest_report.report({nonce!r}, lambda: said, root={root!r})
"""


class Guest:
    """A guest's files that matter, a port, and a disc in its drive."""

    def __init__(self, root: Path, datasource: str = "nocloud") -> None:
        self.root = root
        for folder in ("dev", "run/cloud-init", "program", "bin"):
            (root / folder).mkdir(parents=True)
        self.host, self.port = pty.openpty()
        tty.setraw(self.port)
        (root / "dev/ttyS1").symlink_to(os.ttyname(self.port))
        self.disc = root / "dev/sr0"
        customization = Customization(datasource="config_drive" if datasource == "config_drive" else "nocloud")
        media = build(customization, MediaVm("6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "web1", "i-1"), reporter(NONCE))
        write_media(media, str(self.disc))
        (root / "dev/sr1").write_bytes(bytes(65536))  # somebody else's
        script = reporter(NONCE).replace(FOLDER, str(root / "program"))
        systemd_run = self.command("systemd-run", "exit 0")
        done = subprocess.run(
            ["sh"],
            input=script,
            text=True,
            capture_output=True,
            env=self.environment,
            timeout=LIMIT_SECONDS,
            check=True,
        )
        assert done.stderr == ""
        systemd_run.unlink()
        (root / "program/main.py").write_text(MAIN.format(root=str(root), nonce=NONCE), encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"}

    def command(self, name: str, line: str) -> Path:
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def ends(self, answer: dict[str, Any]) -> None:
        self.answers(answer)
        (self.root / "run/cloud-init/result.json").touch()

    def answers(self, answer: dict[str, Any]) -> None:
        (self.root / "answer.json").write_text(json.dumps(answer), encoding="utf-8")

    def start(self, python: str = "python3") -> "subprocess.Popen[str]":
        command = [python, str(self.root / "program/main.py")]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, python: str = "python3") -> str:
        """Until it ends by itself; what it says."""
        with self.start(python) as process:
            said, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 0, said
        return said

    def told(self, seconds: float = 0.0) -> list[dict[str, Any]]:
        """The records that came out of the port."""
        data = b""
        while select.select([self.host], [], [], 0.0 if data else seconds)[0]:
            data += os.read(self.host, 65536)
        return [
            json.loads(line.split(b" ", 1)[1]) for line in data.splitlines() if line.startswith(MARK.encode() + b" ")
        ]

    def close(self) -> None:
        os.close(self.host)
        os.close(self.port)


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    guest = Guest(tmp_path / "guest")
    yield guest
    guest.close()


@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters())
def test_a_good_end_is_told_once(guest: Guest, python: str) -> None:
    guest.ends(DONE)
    assert guest.run(python) == "openngt: done, told at /dev/ttyS1\n"
    [record] = guest.told()
    assert record == {
        "nonce": NONCE,
        "instance_id": "i-1",
        "status": "done",
        "errors": [],
        "module": None,
        "message": "",
        "cloud_init_version": "22.4.2",
    }


@pytest.mark.parametrize("datasource", ["nocloud", "config_drive"])
def test_a_bad_end_is_told_until_the_disc_is_taken_away(tmp_path: Path, datasource: str) -> None:
    guest = Guest(tmp_path / "guest", datasource)
    guest.ends(FAILED)
    with contextlib.closing(guest), guest.start() as process:
        records = [*guest.told(LIMIT_SECONDS), *guest.told(LIMIT_SECONDS), *guest.told(LIMIT_SECONDS)]
        assert len(records) >= 3, "a service that has just started hears it as well"
        assert process.poll() is None
        guest.disc.write_bytes(b"")
        said, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, said
    assert records[0] == records[-1]
    assert records[0]["status"] == "error" and records[0]["message"] == FAILED["message"]
    assert [len(error) for error in records[0]["errors"]] == [256]


def test_an_agent_that_has_the_port_is_left_to_report_itself(guest: Guest) -> None:
    guest.ends(DONE)
    held = os.open(os.ttyname(guest.port), os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert guest.run() == "openngt: done, told at no port\n"
    assert guest.told() == []
    os.close(held)


@pytest.mark.parametrize("port", ["none", "a file", "a dead link"])
def test_a_guest_without_a_port_is_not_hurt(guest: Guest, port: str) -> None:
    node = guest.root / "dev/ttyS1"
    node.unlink()
    if port == "a file":
        node.write_text("", encoding="utf-8")
    elif port == "a dead link":
        node.symlink_to("nowhere")
    guest.ends(DONE)
    assert guest.run() == "openngt: done, told at no port\n"
    assert port != "a file" or node.read_text(encoding="utf-8") == ""


@pytest.mark.parametrize("ended", [False, True], ids=["before the last stage", "while its service ends"])
def test_a_disc_that_goes_before_the_end_ends_the_wait(guest: Guest, ended: bool) -> None:
    answer = {**DONE, "state": "running"}
    if ended:
        guest.ends(answer)
    else:
        guest.answers(answer)
    guest.disc.unlink()
    assert guest.run() == "" and guest.told() == []


def test_a_stage_that_is_killed_is_no_endless_wait(guest: Guest) -> None:
    guest.answers({**DONE, "state": "running"})
    guest.command("systemctl", '[ "$*" = "is-failed --quiet cloud-final.service" ]')
    with guest.start() as process:
        [record, *_] = guest.told(LIMIT_SECONDS)
        guest.disc.unlink()
        process.communicate(timeout=LIMIT_SECONDS)
    assert (record["status"], record["message"]) == ("error", "cloud-init's last stage was ended by force")


def test_a_guest_that_goes_down_before_the_end_is_not_held_up(guest: Guest) -> None:
    guest.answers({**DONE, "state": "running"})
    with guest.start() as process:
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode in (0, -signal.SIGTERM) and guest.told() == []


def test_a_guest_that_goes_down_tells_what_it_knows_and_does_not_hold_that_up(guest: Guest) -> None:
    guest.ends(FAILED)
    with guest.start() as process:
        assert guest.told(LIMIT_SECONDS)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0


def test_the_script_returns_at_once_and_fails_for_no_reason(tmp_path: Path) -> None:
    """cloud-init waits for it, and takes another status than 0 for a failed customization."""
    program, fake = tmp_path / "program", tmp_path / "bin"
    script = reporter(NONCE).replace(FOLDER, str(program))
    fake.mkdir()
    for name in ("cat", "mkdir", "setsid", "sleep", "touch"):
        (fake / name).symlink_to(shutil.which(name) or name)
    python = fake / "python3"
    waits = f"until [ -e {tmp_path}/returned ]; do sleep 0.1; done"
    python.write_text(f"#!/bin/sh\n{waits}\ntouch {tmp_path}/began\n", encoding="utf-8")
    python.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh"], input=script, text=True, capture_output=True, env={"PATH": str(fake)}, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert not (tmp_path / "began").exists(), "without systemd it goes on in the background"
    (tmp_path / "returned").touch()
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (tmp_path / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert program.stat().st_mode & 0o777 == 0o700, "the nonce is root's alone"
    nothing = subprocess.run(["/bin/sh"], input=script, text=True, env={"PATH": "/nowhere"}, timeout=60, check=False)
    assert nothing.returncode == 0


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run(["shellcheck", "-"], input=reporter(NONCE), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("nonce", ["", "short", "ABCDEF0123456789", NONCE + "'; rm -rf /", "x" * 32])
def test_a_nonce_is_hex_and_nothing_else(nonce: str) -> None:
    with pytest.raises(ValueError, match="hex"):
        reporter(nonce)


def test_the_words_of_a_good_end_are_its_warnings() -> None:
    log = "2026-11-26 05:32:15,290 - schema.py[WARNING]: Invalid cloud-config provided\n"
    answer = judge(present=True, asked={"status": "done"}, stages={}, ended=True, disabled=False, log=log, output="")
    record = record_of(NONCE, {**answer, "instance_id": "i-1", "version": "22.4.2"})
    assert record["status"] == "done" and "Invalid cloud-config" in record["message"]
