# SPDX-License-Identifier: GPL-3.0-or-later
"""Two installations in one guest: the second waits for the end of the first, however that one ends."""

import contextlib
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt.install.turn import turn


def no_pause(_seconds: float) -> None:
    """Tests wait for nobody."""


def test_the_second_waits_for_the_end_of_the_first_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = contextlib.ExitStack()
    first.enter_context(turn(str(path)))
    waited = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            first.close()

    with turn(str(path), pause=pause):
        assert len(waited) == 3 and path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


def test_one_that_does_not_end_is_told(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with turn(path), pytest.raises(OpenNGTError) as caught, turn(path, seconds=5, pause=no_pause):
        raise AssertionError("it is not this one's turn")
    assert caught.value.code == "INSTALL_UNDER_WAY"


def test_the_file_of_one_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with turn(str(tmp_path / "lock"), seconds=0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_failure_ends_the_turn_as_well(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with pytest.raises(ZeroDivisionError), turn(path):
        raise ZeroDivisionError
    with turn(path, seconds=0):
        pass
