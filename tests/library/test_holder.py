# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling a living holder from a dead one."""

import os
import subprocess
import sys

import pytest

from openngt.holder import describe, is_dead


def test_a_living_process_is_not_dead() -> None:
    assert not is_dead(describe(os.getpid()))


def test_a_process_that_ended_is_dead() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        text = describe(process.pid)
        assert not is_dead(text)
        process.kill()
        process.wait()
        assert is_dead(text)


def test_another_process_with_the_same_pid_does_not_revive_the_holder() -> None:
    text = describe(os.getpid())
    assert is_dead(text[:-8] + "00000000")


@pytest.mark.parametrize(
    "text",
    [None, "", "alice@laptop pid 7", "openngt-cli", describe(os.getpid()).replace(" at ", " at 0")],
    ids=["none", "empty", "person", "program", "process of a place that is none"],
)
def test_what_is_not_known_is_not_dead(text: str | None) -> None:
    assert not is_dead(text)


def test_a_holder_of_another_place_is_not_dead() -> None:
    before, _, after = describe(os.getpid()).rpartition(" at ")
    place, birth = after.split("/")
    other = f"{before} at {place[::-1]}/{birth[::-1]}"
    assert place != place[::-1]
    assert not is_dead(other)
