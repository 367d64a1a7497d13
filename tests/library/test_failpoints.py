# SPDX-License-Identifier: GPL-3.0-or-later
"""An armed failpoint kills the process; any other does nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = "from openngt.failpoints import failpoint; failpoint('room.operation.step'); print('survived')"


@pytest.mark.parametrize(
    ("armed", "status", "output"),
    [
        ("room.operation.step", -signal.SIGKILL, ""),
        ("room.operation", 0, "survived\n"),
        ("", 0, "survived\n"),
    ],
)
def test_only_the_armed_name_kills(armed: str, status: int, output: str) -> None:
    environment = {**os.environ, "OPENNGT_FAILPOINT": armed}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, output), done.stderr


def test_the_names_are_found_by_reading_the_code(failpoints: Callable[[Path], set[str]], tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def f():\n    failpoint('a.b.c')\n")
    (tmp_path / "two.py").write_text("failpoint('a.b.d')\n")
    assert failpoints(tmp_path) == {"a.b.c", "a.b.d"}


def test_a_name_that_stands_twice_is_refused(failpoints: Callable[[Path], set[str]], tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("failpoint('a.b.c')\nfailpoint('a.b.c')\n")
    with pytest.raises(AssertionError, match="stands twice"):
        failpoints(tmp_path)
