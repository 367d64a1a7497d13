# SPDX-License-Identifier: GPL-3.0-or-later
"""How commands end at a real shell: a full disk, a closed stream, a reader that has gone, Ctrl-C, a narrow terminal."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from tests.fakes.service import ServiceProcess
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt.errors import OpenNGTError
from openngt_service.cli.output import fitted, tell_failure

from .conftest import VM

OPENNGT = str(Path(sys.executable).parent / "openngt")
COMPAT = f"{sys.executable} -m openngt_service.compat"
TOOLS = [f"{OPENNGT} vm list", f"{COMPAT} ncli ngt list"]


def at_a_shell(service: ServiceProcess, line: str) -> "subprocess.CompletedProcess[str]":
    environment = {**service.environment, "OPENNGT_STATE_DIR": str(service.state_dir)}
    return subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("tool", TOOLS)
def test_an_answer_that_finds_no_place_is_one_line_with_its_code(service: ServiceProcess, tool: str) -> None:
    done = at_a_shell(service, f"{tool} > /dev/full")
    assert done.returncode == 1
    message, remedy = done.stderr.splitlines()
    assert "the answer cannot be written to standard output: No space left on device [NO_SPACE]" in message
    assert "free space" in remedy


@pytest.mark.parametrize("tool", TOOLS)
def test_a_closed_stream_and_a_reader_that_has_gone_make_no_noise(service: ServiceProcess, tool: str) -> None:
    closed = at_a_shell(service, f"{tool} >&-")
    assert (closed.returncode, closed.stderr) == (0, "")
    gone = at_a_shell(service, f"{tool} | true; exit ${{PIPESTATUS[0]}}")
    assert (gone.returncode, gone.stderr) == (1, "")


HEARS_CTRL_C = ["env", "--default-signal=INT"]
"""What a script runs in its background was started with SIGINT ignored, and would hand that on."""
WAITING = """
import signal, sys
from openngt_service.cli.endings import exit_status, no_longer_waiting

def follow():
    with no_longer_waiting("openngt task show 1"):
        print("waiting", flush=True)
        signal.pause()

sys.exit(exit_status(follow, print))
"""


def test_after_ctrl_c_somebody_knows_that_the_service_goes_on() -> None:
    process = subprocess.Popen(
        [*HEARS_CTRL_C, sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == "\nnot waited for any longer; the service goes on with it: openngt task show 1\n"


def test_what_others_say_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    tell_failure(OpenNGTError("AGENT_FAILED", "the agent refused it: \x1b]0;owned\x07\r\nok", remedy="look"))
    told = "error: the agent refused it: \\x1b]0;owned\\x07\\r\\nok [AGENT_FAILED]\nremedy: look\n"
    assert capsys.readouterr().err == told


def on_a_terminal(service: ServiceProcess, columns: int, *arguments: str) -> str:
    """What a terminal so wide is sent, without its colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in service.environment.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen([OPENNGT, *arguments], env={**environment, "TERM": "xterm"}, stdin=theirs, stdout=theirs)
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 65536):
            said += chunk
    except OSError:  # so Linux tells that the other end has gone
        pass
    finally:
        os.close(ours)
    assert process.wait(PATIENCE_SECONDS) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", said.decode()).replace("\r\n", "\n")


def test_no_terminal_is_too_narrow_to_copy_a_uuid_from(service: ServiceProcess) -> None:
    wide, narrow = (on_a_terminal(service, columns, "vm", "list") for columns in (300, 80))
    [row] = [line for line in wide.splitlines() if VM in line]
    assert "web01" in row and wide.splitlines()[0].startswith("VM Id")
    assert f"VM Id                     : {VM}\nVM Name                   : web01\n" in narrow
    assert "Communication Link Active : false\n" in narrow


def test_long_texts_are_broken_between_words_and_names_are_not(service: ServiceProcess) -> None:
    lines = on_a_terminal(service, 80, "health").splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("ngt_client_cert_expiry_check  ") for line in lines)


@pytest.mark.parametrize(
    ("rooms", "width", "widths"),
    [
        ([(3, 3), (5, 40)], 100, [3, 40]),
        ([(3, 3), (5, 40)], 20, [3, 17]),
        ([(3, 3), (5, 40)], 7, None),
        ([(1, 100), (1, 3), (1, 100)], 24, [10, 3, 11]),
        ([], 80, []),
    ],
)
def test_columns_share_the_width_that_there_is(
    rooms: list[tuple[int, int]], width: int, widths: list[int] | None
) -> None:
    assert fitted(rooms, width) == widths
