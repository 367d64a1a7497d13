# SPDX-License-Identifier: GPL-3.0-or-later
"""A program in a guest over SSH: lines both ways, its end, and how it becomes root."""

import dataclasses

import pytest
from tests.fakes.sshd import PASSWORD, Sshd

from openngt.errors import OpenNGTError
from openngt.install.fleet.target import Become, Secret
from openngt.install.transports.base import Ended, GuestProgram, Transport
from openngt.install.transports.ssh import connect

SECONDS = 30


def heard(program: GuestProgram) -> list[bytes]:
    lines = []
    while (line := program.hear(SECONDS)) is not None:
        lines.append(line)
    return lines


def output(transport: Transport, command: str, *, elevated: bool = True) -> list[bytes]:
    program = transport.start(command, elevated=elevated)
    lines = heard(program)
    assert program.end(SECONDS).exit_status == 0
    return lines


def refused(server: Sshd, user: str, become: Become) -> OpenNGTError:
    with connect(server.login(user, become=become)) as transport, pytest.raises(OpenNGTError) as caught:
        transport.start("true")
    assert f"{server.host}:{server.port}" in caught.value.message
    return caught.value


def test_lines_go_both_ways_and_the_end_is_told(server: Sshd) -> None:
    with connect(server.login()) as transport:
        program = transport.start('while read -r line; do echo "got $line"; done; echo trouble >&2; exit 7')
        program.say(b"one\n")
        assert program.hear(SECONDS) == b"got one"
        program.say(b"two\nthree\n")
        assert [program.hear(SECONDS), program.hear(SECONDS)] == [b"got two", b"got three"]
        program.close_input()
        assert program.hear(SECONDS) is None
        assert program.hear(SECONDS) is None
        assert program.end(SECONDS) == Ended(7, "trouble")


def test_a_connection_carries_one_program_after_the_other(server: Sshd) -> None:
    with connect(server.login()) as transport:
        assert output(transport, "echo one") == [b"one"]
        assert output(transport, "printf two") == [b"two"]  # the last line's end may be missing


def test_a_command_is_taken_as_it_stands(server: Sshd) -> None:
    with connect(server.login("trusted")) as transport:
        command = "for each in 'a  b' \"it's\" '!x' '$HOME'; do\n  printf '%s\\n' \"$each\"\ndone"
        assert output(transport, command) == [b"a  b", b"it's", b"!x", b"$HOME"]


def test_a_signal_is_an_exit_status(server: Sshd) -> None:
    with connect(server.login()) as transport:
        assert transport.start("kill -KILL $$").end(SECONDS).exit_status == 128 + 9
    with connect(server.login("trusted")) as transport:
        assert transport.start("kill -TERM $$").end(SECONDS).exit_status == 128 + 15


def test_the_login_becomes_root_as_it_may(server: Sshd) -> None:
    for user, password in (("root", None), ("trusted", None), ("trusted", PASSWORD), ("asked", PASSWORD)):
        become = Become(password=None if password is None else Secret(password))
        with connect(server.login(user, become=become)) as transport:
            program = transport.start("id -u; cat")
            program.say(b"none of it is taken for a password\n")
            program.close_input()
            assert heard(program) == [b"0", b"none of it is taken for a password"]


def test_what_need_not_be_root_is_not(server: Sshd) -> None:
    with connect(server.login("plain")) as transport:
        assert output(transport, "id -un", elevated=False) == [b"plain"]


def test_sudo_without_the_password_it_wants_is_told_at_once(server: Sshd) -> None:
    assert refused(server, "asked", Become()).code == "SUDO_PASSWORD_NEEDED"


@pytest.mark.parametrize(
    ("user", "password", "words"),
    [
        ("asked", "wrong", "the password is wrong"),
        ("plain", PASSWORD, "not in the sudoers file"),
        ("on_tty", None, "requiretty"),
    ],
)
def test_sudo_refuses_with_its_reason(server: Sshd, user: str, password: str | None, words: str) -> None:
    error = refused(server, user, Become(password=None if password is None else Secret(password)))
    assert error.code == "SUDO_REFUSED" and words in error.message
    assert "wrong" not in str(error.details)


def test_a_wrong_password_is_a_login_that_failed(server: Sshd) -> None:
    login = dataclasses.replace(server.login(), password=Secret("battery staple"))
    with pytest.raises(OpenNGTError) as caught:
        connect(login)
    assert caught.value.code == "GUEST_LOGIN_FAILED"
    assert caught.value.details["tried"] == ["password"]
    assert "battery" not in str(caught.value.to_dict())
