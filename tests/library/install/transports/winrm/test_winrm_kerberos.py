# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of a domain: the transport, pywinrm's Kerberos and MIT's KDC, with MIT's acceptor at the listener."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.kerberos import MISSING, REALM, Realm
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.winrm_server import WinrmServer
from tests.fakes.wrong_clock import LIBRARY, WrongClock

from openngt.errors import OpenNGTError
from openngt.install.fleet.target import Secret, WinrmLogin
from openngt.install.transports import _pywinrm
from openngt.install.transports.winrm import connect
from openngt.install.transports.winrm_kerberos import Tickets

from .conftest import Listen, LoginFor

pytest.importorskip("kerberos", reason="pykerberos is not installed (make kerberos)")
if MISSING:
    pytest.skip(f"not installed: {', '.join(MISSING)} (make system-packages)", allow_module_level=True)

PASSWORD = "Tick3t-canary"
USER = f"op@{REALM}"


@pytest.fixture
def join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Realm]]:
    """`join(**options) -> Realm` whose member this process is until the test ends."""
    realms: list[Realm] = []

    def start(**options: Any) -> Realm:
        realm = Realm(tmp_path / "realm", {"op": PASSWORD, "other": "other-secret"}, **options)
        for name, value in realm.environment.items():
            monkeypatch.setenv(name, value)
        # Another test's realm of the same name had other tickets.
        monkeypatch.setattr(_pywinrm, "TICKETS", Tickets())
        realms.append(realm.__enter__())
        return realm

    yield start
    for realm in realms:
        realm.__exit__(None, None, None)


@pytest.fixture
def server(listen: Listen) -> WinrmServer:
    return listen(schemes=("kerberos",))


def login(login_for: LoginFor, server: WinrmServer, password: str | None = PASSWORD, **fields: Any) -> WinrmLogin:
    given = {"auth": "kerberos", "user": USER, "password": Secret(password) if password else None, **fields}
    return login_for(server, **given)


def runs(asked: WinrmLogin) -> None:
    with connect(asked) as guest:
        program = guest.start("hostname")
        assert program.hear(PATIENCE_SECONDS) == b"hostname"
        program.close_input()
        assert program.end(PATIENCE_SECONDS).exit_status == 0


def refused(asked: WinrmLogin) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        connect(asked)
    assert PASSWORD not in str(caught.value.to_dict())
    return caught.value


def tickets(folder: Path) -> list[Path]:
    return list(folder.glob("openngt-ticket-*"))


@pytest.fixture
def private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_password_gets_a_ticket_of_its_own_and_leaves_none_behind(
    join: Callable[..., Realm], server: WinrmServer, login_for: LoginFor, private_folder: Path
) -> None:
    realm = join()
    with connect(login(login_for, server)) as guest:
        [folder] = tickets(private_folder)
        assert (folder / "cache").stat().st_mode & 0o777 == 0o600
        program = guest.start("whoami")
        assert program.hear(PATIENCE_SECONDS) == b"whoami"
        program.close_input()
        assert program.end(PATIENCE_SECONDS).exit_status == 0
    assert tickets(private_folder) == [] and not (realm.folder / "own").exists()
    assert {seen.user for seen in server.seen if seen.action} == {USER}
    assert PASSWORD not in str(server.seen)


def test_a_ticket_that_the_caller_has_is_taken_without_a_password(
    join: Callable[..., Realm], server: WinrmServer, login_for: LoginFor
) -> None:
    realm = join()
    realm.get_ticket("op", PASSWORD)
    runs(login(login_for, server, None))
    assert realm.asked("op") == 1


def test_many_guests_of_several_users_log_in_at_once_with_one_ticket_each(
    join: Callable[..., Realm], listen: Listen, login_for: LoginFor
) -> None:
    realm = join()
    server = listen(schemes=("kerberos",))
    mine = login(login_for, server)
    other = dataclasses.replace(mine, user=f"other@{REALM}", password=Secret("other-secret"))
    with ThreadPoolExecutor(8) as pool:
        open_ = list(pool.map(connect, [mine, other] * 8))
    for guest in open_:
        guest.close()
    created = [seen.user for seen in server.seen if seen.action == "Create"]
    assert sorted(created) == [USER] * 8 + [f"other@{REALM}"] * 8
    assert (realm.asked("op"), realm.asked("other")) == (1, 1)


def test_a_wrong_password_is_tried_once_for_all_guests(
    join: Callable[..., Realm], server: WinrmServer, login_for: LoginFor, private_folder: Path
) -> None:
    realm = join()
    wrong = login(login_for, server, "wrong-secret")
    errors = [refused(wrong) for _ in range(3)]
    assert {error.code for error in errors} == {"GUEST_LOGIN_FAILED"} and "password" in errors[2].remedy
    assert realm.asked("op") == 1 and server.seen == [] and tickets(private_folder) == []
    runs(login(login_for, server))


@pytest.mark.parametrize(
    ("user", "password", "code", "remedy"),
    [
        (f"nobody@{REALM}", PASSWORD, "GUEST_LOGIN_FAILED", "correct the name"),
        ("op@NOWHERE.EXAMPLE", PASSWORD, "KERBEROS_REALM_UNREACHABLE", "krb5.conf"),
        ("op@SILENT.EXAMPLE", PASSWORD, "KERBEROS_REALM_UNREACHABLE", "krb5.conf"),
        ("op@NOWHERE.EXAMPLE", None, "KERBEROS_TICKET_MISSING", "kinit"),
        (USER, None, "KERBEROS_TICKET_MISSING", "kinit"),
    ],
)
def test_who_gets_no_ticket_is_told_why(
    user: str, password: str | None, code: str, remedy: str,
    join: Callable[..., Realm], server: WinrmServer, login_for: LoginFor,
) -> None:  # fmt: skip
    join()
    error = refused(login(login_for, server, password, user=user))
    assert error.code == code and remedy in error.remedy, error.to_dict()
    assert server.seen == []


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (make system-packages)")
def test_a_ticket_that_has_expired_is_told(
    join: Callable[..., Realm], server: WinrmServer, login_for: LoginFor, tmp_path: Path
) -> None:
    join().get_ticket("op", PASSWORD, "-l", "1h")
    code, remedy = refused_at("+2h", login(login_for, server, None), tmp_path)
    assert code == "KERBEROS_TICKET_MISSING" and "kinit" in remedy


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (make system-packages)")
@pytest.mark.parametrize("who_says", ["the KDC to a password", "the KDC to a ticket", "the guest"])
def test_a_wrong_clock_is_told_as_that(
    who_says: str, join: Callable[..., Realm], server: WinrmServer, login_for: LoginFor, tmp_path: Path
) -> None:
    """MIT Kerberos takes over the KDC's time where it may (kdc_timesync); here it may not."""
    realm = join(timesync=False)
    if who_says != "the KDC to a password":
        realm.get_ticket("op", PASSWORD)
    if who_says == "the guest":
        realm.get_service_ticket()
    password = PASSWORD if who_says == "the KDC to a password" else None
    code, remedy = refused_at("+1h", login(login_for, server, password), tmp_path)
    assert code == "KERBEROS_CLOCK_SKEW" and "timedatectl" in remedy and "w32tm" in remedy
    assert bool(server.seen) == (who_says == "the guest")


ELSEWHERE = """
import sys
from openngt.errors import OpenNGTError
from openngt.install.fleet.target import Secret, WinrmLogin
from openngt.install.transports.winrm import connect

port, user, thumbprint, password = sys.stdin.read().split()
try:
    given = Secret(password) if password != "-" else None
    connect(WinrmLogin("127.0.0.1", int(port), user, given, "kerberos", thumbprint=thumbprint))
except OpenNGTError as error:
    print(error.code, error.remedy, error.message, sep="\\n")
"""


def refused_at(offset: str, asked: WinrmLogin, folder: Path) -> tuple[str, str]:
    """(code, remedy) on a controller whose clock is so much ahead."""
    password = asked.password.reveal() if asked.password else "-"
    with WrongClock(folder / "clock", offset, steady=True).worn():
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            input=f"{asked.port} {asked.user} {asked.thumbprint} {password}",
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert done.stderr == "" and PASSWORD not in done.stdout, done.stderr
    code, remedy, message = done.stdout.splitlines()
    print(message)
    return code, remedy


@pytest.mark.parametrize(("options", "remedy"), [(("-allow_tix",), "unlock"), (("-pwexpire", "2001-01-01"), "kpasswd")])
def test_an_account_that_may_not_is_told(
    options: tuple[str, ...], remedy: str, join: Callable[..., Realm], server: WinrmServer, login_for: LoginFor
) -> None:
    join().modify("op", *options)
    error = refused(login(login_for, server))
    assert error.code == "GUEST_LOGIN_FAILED" and remedy in error.remedy, error.to_dict()


def test_a_guest_that_is_called_by_a_name_the_domain_does_not_know(
    join: Callable[..., Realm], server: WinrmServer, login_for: LoginFor
) -> None:
    join()
    error = refused(login(login_for, server, host="localhost"))
    assert error.code == "KERBEROS_HOST_UNKNOWN" and "by its name in the domain" in error.remedy, error.to_dict()
