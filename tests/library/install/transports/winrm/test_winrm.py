# SPDX-License-Identifier: GPL-3.0-or-later
"""The WinRM transport before a listener that speaks the protocol: logins, programs, every way in which it can fail."""

import contextlib
import threading
import time
from pathlib import Path

import pytest
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.winrm_server import (
    AccessDenied,
    Certificate,
    Drip,
    Drop,
    Fault,
    HttpStatus,
    Quota,
    Run,
    ShellGone,
    Slow,
    Unauthorized,
    make_certificate,
    through_bootstrap,
)

from openngt.errors import OpenNGTError
from openngt.install.transports.winrm import connect

from .conftest import PASSWORD, Listen, LoginFor


def play_script(run: Run, script: str) -> int:
    """A guest's installer in small: says what it was given, waits for a word, complains, ends."""
    run.say(f"script of {len(script)}")
    run.say(f"heard {run.read_line()}")
    run.write(b'#< CLIXML\r\n<Objs><S S="Error">no room _x000D__x000A_</S></Objs>', "stderr")
    return 3


@pytest.mark.parametrize("auth", ["ntlm", "basic"])
@pytest.mark.parametrize("user", ["Administrator", r".\Administrator"])
def test_a_script_runs_with_lines_both_ways(auth: str, user: str, listen: Listen, login_for: LoginFor) -> None:
    server = listen(through_bootstrap(play_script))
    script = "# ünïcode\n" * 40_000
    with connect(login_for(server, auth=auth, user=user)) as guest:
        program = guest.start_script(script)
        assert program.hear(PATIENCE_SECONDS) == f"script of {len(script) - 1}".encode()
        program.say("gö\n".encode())
        assert program.hear(PATIENCE_SECONDS) == "heard gö".encode()
        assert program.hear(PATIENCE_SECONDS) is None
        assert program.end(PATIENCE_SECONDS) == (3, "no room")
    assert server.shells == {}
    assert max(seen.bytes for seen in server.seen) < 150 * 1024
    assert {seen.user for seen in server.seen if seen.action} == {"Administrator"}


def test_a_client_certificate_is_a_login(
    tmp_path: Path, certificate: Certificate, listen: Listen, login_for: LoginFor
) -> None:
    own = make_certificate(tmp_path, "admin@localhost", client=True)
    server = listen(certified=own)
    files = {"certificate_file": str(own.file), "certificate_key_file": str(own.key_file)}
    with connect(login_for(server, auth="certificate", password=None, **files)) as guest:
        program = guest.start("whoami")
        assert program.hear(PATIENCE_SECONDS) == b"whoami"


def test_a_client_certificate_that_the_guest_does_not_know_is_no_login(
    tmp_path: Path, listen: Listen, login_for: LoginFor
) -> None:
    known, own = (make_certificate(tmp_path, "admin@localhost", client=True) for _ in range(2))
    server = listen(certified=known)
    files = {"certificate_file": str(own.file), "certificate_key_file": str(own.key_file)}
    with pytest.raises(OpenNGTError) as caught:
        connect(login_for(server, auth="certificate", password=None, **files))
    assert caught.value.code == "GUEST_LOGIN_FAILED", caught.value.message


def test_no_secret_stands_in_a_command_line(listen: Listen, login_for: LoginFor) -> None:
    server = listen(through_bootstrap(play_script))
    with connect(login_for(server)) as guest:
        guest.start_script("'canary in the script'").hear(PATIENCE_SECONDS)
    assert server.runs[0].script is not None and "canary" not in server.runs[0].script + server.runs[0].command


def test_a_guest_costs_few_messages(listen: Listen, login_for: LoginFor) -> None:
    server = listen(through_bootstrap(play_script))
    with connect(login_for(server)) as guest:
        program = guest.start_script("'x'")
        program.hear(PATIENCE_SECONDS)
        program.say(b"go\n")
        program.end(PATIENCE_SECONDS)
    messages = [action for action in server.actions() if action != "Receive"]
    assert messages == ["Create", "Command", "Send", "Send", "Delete"]


def test_long_output_arrives_whole_and_in_order(listen: Listen, login_for: LoginFor) -> None:
    lines = [f"{number} {'x' * (number % 700)}" for number in range(3000)]

    def play(run: Run) -> int:
        run.write("".join(f"{line}\r\n" for line in lines).encode() + b"no end of line")
        return 0

    server = listen(play)
    server.receive_piece, server.receive_limit = 1000, 20_000
    with connect(login_for(server)) as guest:
        program = guest.start("type log.txt")
        heard = []
        while (line := program.hear(PATIENCE_SECONDS)) is not None:
            heard.append(line.decode())
        assert heard == [*lines, "no end of line"]
        assert program.end(PATIENCE_SECONDS).exit_status == 0


def test_a_program_that_is_silent_is_asked_again(
    listen: Listen, login_for: LoginFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openngt.install.transports.winrm.POLL_SECONDS", 1.0)

    def play(run: Run) -> int:
        time.sleep(2.5)
        run.say("at last")
        return 0

    server = listen(play)
    with connect(login_for(server)) as guest:
        assert guest.start("slow").hear(PATIENCE_SECONDS) == b"at last"
    assert server.actions().count("Receive") >= 3


def test_one_that_stays_silent_is_a_time_out_and_is_ended(listen: Listen, login_for: LoginFor) -> None:
    server = listen(lambda run: 0 if run.read_line() else 1)
    with connect(login_for(server)) as guest, pytest.raises(OpenNGTError) as caught:
        guest.start("pause").hear(1)
    assert caught.value.code == "GUEST_TIMED_OUT"
    assert server.actions()[-2:] == ["Signal", "Delete"] and server.shells == {}


def test_a_line_without_an_end_is_refused(listen: Listen, login_for: LoginFor) -> None:
    def play(run: Run) -> int:
        run.write(b"x" * (3 << 20))
        return 0

    with connect(login_for(listen(play))) as guest, pytest.raises(OpenNGTError) as caught:
        guest.start("noise").hear(PATIENCE_SECONDS)
    assert caught.value.code == "PROTOCOL_ERROR"


def test_without_powershell_the_shell_is_missing(listen: Listen, login_for: LoginFor) -> None:
    def play(run: Run) -> int:
        run.write(b"'powershell.exe' is not recognized as an internal or external command\r\n", "stderr")
        return 1

    with connect(login_for(listen(play))) as guest, pytest.raises(OpenNGTError) as caught:
        guest.start_script("'x'\n" * 100_000).hear(PATIENCE_SECONDS)
    assert caught.value.code == "SHELL_MISSING" and "not recognized" in caught.value.message


@pytest.mark.parametrize("auth", ["ntlm", "basic"])
def test_a_wrong_password_is_said_without_the_password(auth: str, listen: Listen, login_for: LoginFor) -> None:
    server = listen(users={"Administrator": "another"})
    with pytest.raises(OpenNGTError) as caught:
        connect(login_for(server, auth=auth))
    assert caught.value.code == "GUEST_LOGIN_FAILED"
    assert PASSWORD not in str(caught.value.to_dict())


@pytest.mark.parametrize(
    ("failure", "code", "says"),
    [
        (Quota, "GUEST_REFUSED", "maximum number of 5 concurrent shells"),
        (AccessDenied, "GUEST_LOGIN_FAILED", "Access is denied"),
        (Unauthorized(), "GUEST_LOGIN_FAILED", "does not take this login"),
        (Fault(2150858999, "The service is tired."), "GUEST_REFUSED", "The service is tired."),
        (HttpStatus(503), "GUEST_REFUSED", "HTTP status 503"),
        (HttpStatus(200, b"<html>a web server</html>"), "PROTOCOL_ERROR", "no WS-Management"),
        (HttpStatus(200, b"x" * (17 << 20)), "PROTOCOL_ERROR", "more than"),
        (Drop(), "GUEST_CONNECTION_LOST", "half-way"),
        (Drop(20), "GUEST_CONNECTION_LOST", "half-way"),
    ],
)
def test_no_shell_has_a_code_and_the_guests_own_words(
    failure: object, code: str, says: str, listen: Listen, login_for: LoginFor
) -> None:
    server = listen()
    server.fail("Create", failure, times=9)  # type: ignore[arg-type]
    with pytest.raises(OpenNGTError) as caught:
        connect(login_for(server))
    assert (caught.value.code, says in caught.value.message) == (code, True), caught.value.message


@pytest.mark.parametrize("action", ["Command", "Send", "Receive"])
@pytest.mark.parametrize(
    ("failure", "code"),
    [(Drop(), "GUEST_CONNECTION_LOST"), (Drop(9), "GUEST_CONNECTION_LOST"), (ShellGone, "GUEST_CONNECTION_LOST")],
)
def test_a_guest_that_dies_half_way_is_lost(
    action: str, failure: object, code: str, listen: Listen, login_for: LoginFor
) -> None:
    server = listen(through_bootstrap(play_script))
    with connect(login_for(server)) as guest, pytest.raises(OpenNGTError) as caught:
        server.fail(action, failure)  # type: ignore[arg-type]
        guest.start_script("'x'").hear(PATIENCE_SECONDS)
    assert caught.value.code == code, caught.value.message


@pytest.mark.parametrize("action", ["Command", "Receive"])
def test_a_guest_that_lost_a_connection_is_left_without_a_shell(
    action: str, listen: Listen, login_for: LoginFor
) -> None:
    server = listen()
    with connect(login_for(server)) as guest, pytest.raises(OpenNGTError):
        server.fail(action, Drop())
        guest.start("x").hear(PATIENCE_SECONDS)
    assert server.shells == {}


@pytest.mark.parametrize("failure", [Slow(), Drip()])
def test_a_guest_that_stops_answering_is_a_time_out(
    failure: Slow | Drip, listen: Listen, login_for: LoginFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = listen()
    server.fail("Command", failure)
    with connect(login_for(server), seconds=5) as guest, pytest.raises(OpenNGTError) as caught:
        monkeypatch.setattr("openngt.install.transports._pywinrm.ANSWER_SECONDS", 1)
        monkeypatch.setattr("openngt.install.transports._pywinrm.CLOSING_SECONDS", 1)
        guest.start("x")
    assert caught.value.code == "GUEST_TIMED_OUT"


def test_a_busy_guest_is_given_time(listen: Listen, login_for: LoginFor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openngt.install.transports._pywinrm.BUSY_PAUSE_SECONDS", 0.01)
    server = listen(through_bootstrap(play_script))
    server.fail("Send", Fault(170, "The requested resource is in use."), times=3)
    with connect(login_for(server)) as guest:
        assert guest.start_script("'x'").hear(PATIENCE_SECONDS) == b"script of 3"
    assert server.actions().count("Send") == 4


def test_a_guest_that_takes_no_input_is_a_time_out(listen: Listen, login_for: LoginFor) -> None:
    server = listen()
    server.fail("Send", Fault(2150858793, "cannot complete the operation within the time specified"))
    with connect(login_for(server)) as guest, pytest.raises(OpenNGTError) as caught:
        guest.start("x").say(b"more")
    assert caught.value.code == "GUEST_TIMED_OUT"


def test_a_program_that_has_ended_takes_no_more_and_tells_its_end(listen: Listen, login_for: LoginFor) -> None:
    server = listen(lambda run: 7)
    with connect(login_for(server)) as guest:
        program = guest.start("exit 7")
        program.say(b"more")
        program.close_input()
        assert program.hear(PATIENCE_SECONDS) is None
        assert program.end(PATIENCE_SECONDS).exit_status == 7


def test_closing_never_raises(listen: Listen, login_for: LoginFor) -> None:
    server = listen(lambda run: 0 if run.read_line() else 1)
    guest = connect(login_for(server))
    guest.start("pause")
    server.fail("Signal", Drop())
    server.fail("Delete", ShellGone)
    guest.close()
    guest.close()


def test_two_programs_run_at_once(listen: Listen, login_for: LoginFor) -> None:
    server = listen()
    with connect(login_for(server)) as guest:
        one, two = guest.start("one"), guest.start("two")
        assert (two.hear(PATIENCE_SECONDS), one.hear(PATIENCE_SECONDS)) == (b"two", b"one")
    assert server.actions()[-3:] == ["Signal", "Signal", "Delete"]


def test_closing_from_another_thread_ends_a_wait(listen: Listen, login_for: LoginFor) -> None:
    server = listen(lambda run: 0 if run.read_line() else 1)
    guest = connect(login_for(server))
    program = guest.start("pause")
    closing = threading.Timer(0.5, guest.close)
    closing.start()
    with contextlib.suppress(OpenNGTError):
        assert program.hear(60) is None
    closing.join()
    assert server.shells == {}


def test_a_second_program_runs_in_the_same_shell(listen: Listen, login_for: LoginFor) -> None:
    server = listen()
    with connect(login_for(server)) as guest:
        for word in ("one", "two"):
            program = guest.start(word)
            program.close_input()
            assert program.hear(PATIENCE_SECONDS) == word.encode()
            assert program.end(PATIENCE_SECONDS).exit_status == 0
    assert server.actions().count("Create") == 1


@pytest.mark.parametrize("auth", ["ntlm", "basic"])
def test_what_the_guest_does_not_offer_is_named(auth: str, listen: Listen, login_for: LoginFor) -> None:
    server = listen(schemes=["certificate"] if auth == "ntlm" else ["ntlm"])
    with pytest.raises(OpenNGTError) as caught:
        connect(login_for(server, auth=auth))
    assert caught.value.code == ("GUEST_LOGIN_FAILED" if auth == "ntlm" else "GUEST_LOGIN_UNSUPPORTED")
    assert caught.value.details["offered"] == (None if auth == "ntlm" else "Negotiate")
