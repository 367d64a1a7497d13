# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong on the way into a guest, and the code that it ends with; nothing waits for ever."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fakes.odd_sshd import HalfServer, listener, nobody
from tests.fakes.relay import Relay
from tests.fakes.sshd import PASSWORD, Account, Sshd
from tests.fakes.waiting import PATIENCE_SECONDS, until

from openngt.errors import OpenNGTError
from openngt.install.fleet.target import Become, Secret, SshLogin
from openngt.install.transports.lines import MAX_LINE_BYTES, TAIL_BYTES
from openngt.install.transports.ssh import connect

SECONDS = PATIENCE_SECONDS
ROOT = Path(__file__).resolve().parents[4]
FOR_EVER = 600
"""A limit that must not be what ends a test."""


def failure(do: Callable[[], object]) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        do()
    return caught.value


def refusal(login: SshLogin, seconds: float = SECONDS) -> OpenNGTError:
    error = failure(lambda: connect(login, connect_seconds=seconds))
    assert f"{login.host}:{login.port}" in error.message
    assert error.details["host"] == login.host and error.details["port"] == login.port
    return error


def test_a_name_that_nobody_has() -> None:
    error = refusal(SshLogin("no-such-host.invalid"))
    assert error.code == "GUEST_UNREACHABLE"


def test_a_guest_that_does_not_answer() -> None:
    with listener(None) as port:
        error = refusal(nobody(port), 1)
    assert error.code == "GUEST_UNREACHABLE" and "nobody answers" in error.message


def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert refusal(nobody(port), FOR_EVER).code == "GUEST_REFUSED"


@pytest.mark.parametrize("say", [b"", b"SSH-2.0-Slow\r\n"], ids=["no greeting", "no keys"])
def test_a_guest_that_takes_the_connection_and_says_no_more(say: bytes) -> None:
    with listener(say) as port:
        assert refusal(nobody(port), 1).code == "GUEST_TIMED_OUT"


def test_a_port_where_something_else_listens() -> None:
    with listener(b"220 mail.example.org ESMTP\r\n", keep=False) as port:
        error = refusal(nobody(port), FOR_EVER)
    assert error.code == "GUEST_REFUSED" and "220 mail.example.org" in error.message


def test_what_another_server_says_cannot_act_on_a_terminal() -> None:
    with listener(b"\x1b[2J\x07hello\r\n", keep=False) as port:
        error = refusal(nobody(port), FOR_EVER)
    assert "hello" in error.message and error.message.isprintable()


def test_garbage_instead_of_a_key_exchange() -> None:
    with listener(b"SSH-2.0-Odd\r\n" + bytes(range(256)) * 20) as port:
        assert refusal(nobody(port), FOR_EVER).code == "PROTOCOL_ERROR"


def test_a_server_that_drops_everybody_is_asked_again_until_the_time_is_up() -> None:
    for words in (b"", b"Exceeded MaxStartups\r\n", b"SSH-2.0-Full\r\n"):
        with listener(words, keep=False) as port:
            error = refusal(nobody(port), 1.5)
        assert error.code == "GUEST_REFUSED" and "MaxStartups" in error.message
        assert error.details["attempts"] > 1


def occupied(server: Sshd) -> socket.socket:
    """A place of the few that sshd has for those who have not logged in."""

    def try_it() -> socket.socket | None:
        connection = socket.create_connection((server.host, server.port))
        if connection.recv(4) == b"SSH-":
            return connection
        connection.close()
        return None

    place: socket.socket = until(try_it, "a place")
    return place


def test_a_full_server_is_entered_when_there_is_room(needs_sshd: None) -> None:
    """F31: sshd limits connections, by its own rule."""
    with Sshd(options={"MaxStartups": "2:100:2"}) as server:
        held = [occupied(server), occupied(server)]
        error = refusal(server.login(), 1.5)
        assert error.code == "GUEST_REFUSED" and "MaxStartups" in error.message
        leave = threading.Timer(1, lambda: [each.close() for each in held])
        leave.start()
        connect(server.login(), connect_seconds=FOR_EVER).close()
        leave.join()


def test_many_at_once_get_into_a_server_that_takes_few(needs_sshd: None) -> None:
    failed = []
    with Sshd(options={"MaxStartups": "3:100:3"}) as server:
        login = server.login()

        def one() -> None:
            try:
                connect(login, connect_seconds=FOR_EVER).close()
            except OpenNGTError as exc:
                failed.append(exc)

        threads = [threading.Thread(target=one) for _ in range(16)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert "drop connection" in server.log() or "exceeded" in server.log().lower()
    assert failed == []


def test_no_common_algorithm(needs_sshd: None) -> None:
    with Sshd(options={"Ciphers": "chacha20-poly1305@openssh.com"}) as server:
        error = refusal(server.login(), FOR_EVER)
    assert error.code == "GUEST_LOGIN_UNSUPPORTED"


def test_a_login_that_is_not_answered(tmp_path: Path) -> None:
    with HalfServer(tmp_path, "auth") as half:
        error = refusal(half.login(), 2)
    assert error.code == "GUEST_TIMED_OUT" and "login" in error.message


def test_a_session_that_is_not_opened(tmp_path: Path) -> None:
    with HalfServer(tmp_path, "exec") as half, connect(half.login(), answer_seconds=1) as transport:
        assert failure(lambda: transport.start("true")).code == "GUEST_TIMED_OUT"


def test_a_device_that_takes_logins_and_no_commands(tmp_path: Path) -> None:
    with HalfServer(tmp_path, "") as half, connect(half.login()) as transport:
        assert failure(lambda: transport.start("true")).code == "SHELL_MISSING"


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false", "/bin/cat"])
def test_a_user_without_a_shell(needs_sshd: None, shell: str) -> None:
    with Sshd(accounts=(Account("alone", shell=shell),)) as server, connect(server.login("alone")) as transport:
        error = failure(lambda: transport.start("true", elevated=False))
        assert error.code == "SHELL_MISSING"


def test_a_password_that_has_expired(server: Sshd) -> None:
    with connect(server.login("stale")) as transport:
        error = failure(lambda: transport.start("true"))
    assert error.code == "GUEST_LOGIN_FAILED" and "expired" in error.message


def test_what_rc_files_print_is_not_taken_for_the_program(needs_sshd: None) -> None:
    with Sshd(accounts=(Account("chatty", "{name} ALL=(ALL) NOPASSWD: ALL", shell="/bin/bash"),)) as server:
        home = server.folder / "home/chatty"
        (home / ".bashrc").write_text("echo Welcome; echo warning >&2; printf 'no line end'\n")
        with connect(server.login("chatty")) as transport:
            program = transport.start("echo mine")
            assert program.hear(SECONDS) == b"mine"
            assert program.hear(SECONDS) is None


def test_a_shell_that_never_gets_ready(needs_sshd: None) -> None:
    with Sshd(accounts=(Account("slow", shell="/bin/bash"),)) as server:
        (server.folder / "home/slow/.bashrc").write_text("sleep 600\n")
        with connect(server.login("slow"), answer_seconds=1) as transport:
            error = failure(lambda: transport.start("true"))
    assert error.code == "GUEST_TIMED_OUT" and "login shell" in error.message


def test_a_shell_that_prints_without_end(needs_sshd: None) -> None:
    with Sshd(accounts=(Account("mad", shell="/bin/bash"),)) as server:
        (server.folder / "home/mad/.bashrc").write_text("yes\n")
        with connect(server.login("mad")) as transport:
            assert failure(lambda: transport.start("true")).code == "SHELL_MISSING"


def test_a_forced_command(needs_sshd: None) -> None:
    with Sshd(options={"ForceCommand": "echo no entry"}) as server, connect(server.login()) as transport:
        error = failure(lambda: transport.start("true"))
    assert error.code == "SHELL_MISSING" and "no entry" in error.message


def test_no_further_session(needs_sshd: None) -> None:
    with Sshd(options={"MaxSessions": "1"}) as server, connect(server.login()) as transport:
        program = transport.start("cat")
        error = failure(lambda: transport.start("true"))
        assert error.code == "GUEST_REFUSED" and "MaxSessions" in error.message
        program.close_input()
        assert program.end(SECONDS).exit_status == 0


def test_what_could_not_be_started_leaves_no_session(needs_sshd: None) -> None:
    with Sshd(options={"MaxSessions": "1"}) as server:
        login = server.login("asked", become=Become(password=Secret("battery staple")))
        with connect(login) as transport:
            assert failure(lambda: transport.start("true")).code == "SUDO_REFUSED"

            def has_room() -> bool:
                try:
                    return transport.start("true", elevated=False).end(SECONDS).exit_status == 0
                except OpenNGTError as exc:
                    assert exc.code == "GUEST_REFUSED"  # sudo is slow to see that nobody answers it
                    return False

            until(has_room, "room for a session")


def test_the_limit_of_one_program_is_not_another_ones(server: Sshd) -> None:
    with connect(server.login(), answer_seconds=SECONDS) as transport:
        failures: list[OpenNGTError] = []

        def talk() -> None:
            try:
                for _ in range(20):
                    program = transport.start("cat")
                    program.say(b"hello\n")
                    assert program.hear(SECONDS) == b"hello"
                    program.close_input()
                    program.end(SECONDS)
            except OpenNGTError as exc:
                failures.append(exc)

        threads = [threading.Thread(target=talk) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        program = transport.start("sleep 1; echo late")
        assert program.hear(SECONDS) == b"late"
    assert failures == []


def test_a_program_that_says_nothing_or_does_not_end(server: Sshd) -> None:
    with connect(server.login()) as transport:
        program = transport.start("echo trouble ahead >&2; cat")
        error = failure(lambda: program.hear(0.5))
        assert error.code == "GUEST_TIMED_OUT" and error.details["stderr"] == "trouble ahead"
        assert failure(lambda: program.end(0.2)).code == "GUEST_TIMED_OUT"
        program.close_input()  # it was only slow: the connection is as good as before
        assert program.end(SECONDS).exit_status == 0


def test_a_program_that_takes_no_input(server: Sshd) -> None:
    with connect(server.login(), answer_seconds=5) as transport:
        program = transport.start("sleep 600")
        assert failure(lambda: program.say(bytes(8 << 20))).code == "GUEST_TIMED_OUT"


def test_a_program_that_prints_while_it_is_talked_to(server: Sshd) -> None:
    with connect(server.login()) as transport:
        program = transport.start("cat")
        sent = b"".join(b"%09d\n" % number for number in range(300_000))
        program.say(sent)
        program.close_input()
        heard = iter(lambda: program.hear(SECONDS), None)
        assert b"".join(line + b"\n" for line in heard if line is not None) == sent


GREEDY = r"""
import resource, sys
from openngt.install.fleet.target import HostKeys, Secret, SshLogin
from openngt.install.transports.ssh import connect
port, password, known = sys.argv[1:]
login = SshLogin("127.0.0.1", int(port), password=Secret(password), use_agent=False, host_keys=HostKeys((known,)))
with connect(login) as transport:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    program = transport.start("yes $(printf %0999d 0) | head -c 100000000; cat")
    program.say((b"0" * 999 + b"\n") * 500)  # which it reads after all that it prints
    program.close_input()
    heard = 0
    while (line := program.hear(60)) is not None:
        heard += len(line) + 1
    print(heard, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_much_output_does_not_fill_the_memory(server: Sshd) -> None:
    known = server.vouched(server.port).files[0]
    environment = {**os.environ, "PYTHONPATH": "plugins/module_utils"}
    done = subprocess.run(
        [sys.executable, "-c", GREEDY, str(server.port), PASSWORD, known],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    heard, kib = map(int, done.stdout.split())
    assert heard == 100_000_000 + 500_000
    assert kib < 60_000


def test_input_for_a_program_that_has_ended_is_dropped(server: Sshd) -> None:
    with connect(server.login()) as transport:
        program = transport.start("exit 3")
        assert program.end(SECONDS).exit_status == 3
        program.say(b"too late\n")
        program.close_input()
        assert program.hear(SECONDS) is None


def test_a_line_may_be_long_but_not_endless(server: Sshd) -> None:
    with connect(server.login()) as transport:
        program = transport.start(f"head -c {MAX_LINE_BYTES} /dev/zero; echo; head -c {MAX_LINE_BYTES + 1} /dev/zero")
        assert program.hear(SECONDS) == bytes(MAX_LINE_BYTES)
        assert failure(lambda: program.hear(SECONDS)).code == "PROTOCOL_ERROR"


def test_the_end_of_much_trouble_is_kept(server: Sshd) -> None:
    """More on standard error than a window holds, which would stop its output too."""
    with connect(server.login()) as transport:
        program = transport.start("seq 1 900000 >&2; echo done")
        assert program.hear(SECONDS) == b"done"
        ended = program.end(SECONDS)
    assert ended.stderr.endswith("899999\n900000") and len(ended.stderr) <= TAIL_BYTES


def test_a_guest_that_is_switched_off(needs_sshd: None) -> None:
    with Sshd() as server, connect(server.login()) as transport:
        program = transport.start("echo up; cat")
        assert program.hear(SECONDS) == b"up"
        server.die()
        assert failure(lambda: program.hear(FOR_EVER)).code == "GUEST_CONNECTION_LOST"
        assert failure(lambda: program.end(FOR_EVER)).code == "GUEST_CONNECTION_LOST"
        assert failure(lambda: transport.start("true")).code == "GUEST_CONNECTION_LOST"


def test_a_guest_whose_session_is_killed(server: Sshd) -> None:
    with connect(server.login("trusted")) as transport:
        program = transport.start("kill -KILL $(ps -o ppid= -p $(ps -o ppid= -p $PPID))")
        assert failure(lambda: program.end(FOR_EVER)).code == "GUEST_CONNECTION_LOST"


@pytest.mark.parametrize("jump", [False, True], ids=["direct", "through a jump host"])
def test_a_guest_that_is_gone_without_a_word(server: Sshd, jump: bool) -> None:
    """Nothing comes back, not even a refusal: somebody has to ask."""
    with Relay(server.port) as relay:
        way = server.login("plain") if jump else None
        with connect(server.login(port=relay.port, jump=way), silence_seconds=6) as transport:
            program = transport.start("cat")
            relay.lose()
            error = failure(lambda: program.hear(FOR_EVER))
            assert error.code == "GUEST_CONNECTION_LOST" and "answered nothing" in error.message


def test_a_guest_that_is_busy_and_silent_is_not_lost(server: Sshd) -> None:
    with connect(server.login(), silence_seconds=6) as transport:
        program = transport.start("sleep 8; echo done")
        assert program.hear(FOR_EVER) == b"done"


def test_closing_wakes_whoever_waits_and_ends_the_threads(server: Sshd) -> None:
    transport = connect(server.login("trusted", jump=server.login("plain")))
    program = transport.start("cat")
    caught: list[OpenNGTError] = []
    waiting = threading.Thread(target=lambda: caught.append(failure(lambda: program.hear(FOR_EVER))))
    waiting.start()
    transport.close()
    waiting.join()
    assert caught[0].code == "GUEST_CONNECTION_LOST"
    transport.close()  # again
    until(lambda: not [each for each in threading.enumerate() if each.name.startswith("ssh ")], "threads end")


def test_closing_does_not_wait_for_a_guest_that_is_gone(server: Sshd) -> None:
    with Relay(server.port) as relay:
        transport = connect(server.login(port=relay.port))
        program = transport.start("sleep 600")
        relay.lose()
        with contextlib.suppress(OpenNGTError):
            threading.Timer(1, transport.close).start()
            program.say(bytes(64 << 20))  # fills every buffer on the way, then waits until it is closed
        transport.close()


def test_a_program_sees_its_input_end_when_the_controller_is_gone(server: Sshd) -> None:
    mark = server.folder / "ended"
    with connect(server.login()) as transport:
        transport.start(f"cat; touch {mark}")
    until(mark.exists, "the program saw the end")


def test_no_password_is_in_what_the_library_logs(server: Sshd, caplog: pytest.LogCaptureFixture) -> None:
    """T30."""
    become = Become(password=Secret(PASSWORD))
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="openngt.ssh"):
        with connect(server.login("asked", become=become)) as transport:
            assert transport.start("id -u").hear(SECONDS) == b"0"
        refusal(server.login("asked", password=Secret("battery staple")))
    assert "userauth is OK" in caplog.text
    assert PASSWORD not in caplog.text and "battery" not in caplog.text


def test_the_library_prints_nothing_by_itself(server: Sshd, caplog: pytest.LogCaptureFixture) -> None:
    with listener(b"", keep=False) as port:
        refusal(nobody(port), 0.5)
    assert caplog.text == ""


def test_no_password_is_among_the_guests_processes(server: Sshd) -> None:
    with connect(server.login("asked", become=Become(password=Secret(PASSWORD)))) as transport:
        program = transport.start("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ")
        seen = b"\n".join(iter(lambda: program.hear(SECONDS) or b"", b""))
    assert b"sudo" in seen and PASSWORD.encode() not in seen
