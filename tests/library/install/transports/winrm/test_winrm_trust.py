# SPDX-License-Identifier: GPL-3.0-or-later
"""T31 and T32: nothing of a login leaves before the guest's certificate is verified, and nothing over plain HTTP."""

import dataclasses
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fakes.waiting import PATIENCE_SECONDS
from tests.fakes.winrm_server import Certificate, HttpStatus, make_certificate

from openngt.errors import OpenNGTError
from openngt.install.fleet.target import Secret, WinrmLogin
from openngt.install.transports.winrm import connect

from .conftest import PASSWORD, Listen, LoginFor

AUTHS = ["ntlm", "basic"]


def refused(login: WinrmLogin) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        connect(login)
    assert PASSWORD not in str(caught.value.to_dict())
    return caught.value


@pytest.mark.parametrize("auth", AUTHS)
def test_a_certificate_of_the_ca_file_is_verified_and_taken(
    auth: str, certificate: Certificate, listen: Listen, login_for: LoginFor
) -> None:
    server = listen()
    with connect(login_for(server, auth=auth, ca_file=str(certificate.file))) as guest:
        assert guest.start("hello").hear(PATIENCE_SECONDS) == b"hello"


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize(
    "kind", ["wrong", "wrong name", "expired", "expired and pinned", "changed thumbprint", "no CA"]
)
def test_t31_a_bad_certificate_is_refused_before_the_login_is_sent(
    kind: str, auth: str, tmp_path: Path, certificate: Certificate, listen: Listen, login_for: LoginFor
) -> None:
    """T31: wrong certificate, wrong name, expired, changed thumbprint: each refused, the one seen named."""
    names = ["other.example"] if kind == "wrong name" else []
    shown = make_certificate(tmp_path, *names, expired="expired" in kind)
    trusted = shown if kind in ("wrong name", "expired", "expired and pinned") else certificate
    trust = {
        "no CA": {"ca_file": None},
        "changed thumbprint": {"thumbprint": trusted.thumbprint},
        "expired and pinned": {"thumbprint": trusted.thumbprint},
    }.get(kind, {"ca_file": str(trusted.file)})
    server = listen(certificate=shown)
    error = refused(login_for(server, auth=auth, **trust))
    assert error.code == "GUEST_CERTIFICATE_UNTRUSTED", error.message
    assert error.details["thumbprint"] == shown.thumbprint
    assert server.seen == []


@pytest.mark.parametrize("auth", AUTHS)
def test_t31_a_certificate_that_changes_under_way_is_refused(
    auth: str, tmp_path: Path, listen: Listen, login_for: LoginFor
) -> None:
    """T31: each further connection of a login is verified as the first was."""
    server = listen()
    guest = connect(login_for(server, auth=auth))
    server.change_certificate(make_certificate(tmp_path))
    before = len(server.seen)
    guest._listener._protocol.transport.session.close()  # type: ignore[union-attr]  # as after a minute of silence
    with pytest.raises(OpenNGTError) as caught:
        guest.start("hello")
    assert caught.value.code == "GUEST_CERTIFICATE_UNTRUSTED"
    assert len(server.seen) == before
    guest.close()


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE_UNUSED"])
def test_t31_the_environment_makes_nobody_trusted(
    variable: str, certificate: Certificate, listen: Listen, login_for: LoginFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T31: a bundle that another program's variable names vouches for nobody here."""
    monkeypatch.setenv(variable, str(certificate.file))
    server = listen()
    assert refused(login_for(server, ca_file=None)).code == "GUEST_CERTIFICATE_UNTRUSTED"
    assert server.seen == []


def test_first_use_is_recorded_and_a_change_refused(tmp_path: Path, listen: Listen, login_for: LoginFor) -> None:
    known = tmp_path / "known_winrm"
    server = listen()
    login = login_for(server, trust_new=str(known))
    for _ in range(2):
        connect(login).close()
    assert known.read_text() == f"127.0.0.1:{server.port} {server._certificate.thumbprint}\n"  # type: ignore[union-attr]
    other = make_certificate(tmp_path)
    server.change_certificate(other)
    server.seen.clear()
    error = refused(login)
    assert error.code == "GUEST_CERTIFICATE_UNTRUSTED"
    assert error.details["thumbprint"] == other.thumbprint != error.details["expected"]
    assert server.seen == []


def test_an_expired_certificate_is_not_recorded(tmp_path: Path, listen: Listen, login_for: LoginFor) -> None:
    known = tmp_path / "known_winrm"
    server = listen(certificate=make_certificate(tmp_path, expired=True))
    assert refused(login_for(server, trust_new=str(known))).code == "GUEST_CERTIFICATE_UNTRUSTED"
    assert not known.exists() and server.seen == []


MEET = """
import sys
from openngt.install.fleet.target import WinrmLogin
from openngt.install.transports.winrm_trust import context_for
context_for(WinrmLogin("127.0.0.1", int(sys.argv[1]), trust_new=sys.argv[2]), 30)
"""


def test_many_processes_record_their_first_uses_in_one_file(tmp_path: Path, listen: Listen) -> None:
    known = tmp_path / "known_winrm"
    known.write_text("# ours\nolder.example:5986 " + "0" * 64)
    certificates = [make_certificate(tmp_path) for _ in range(6)]
    ports = [listen(certificate=each).port for each in certificates]
    work = [subprocess.Popen([sys.executable, "-c", MEET, str(port), str(known)]) for port in ports]
    assert [each.wait() for each in work] == [0] * len(work)
    lines = known.read_text().splitlines()
    assert lines[:2] == ["# ours", "older.example:5986 " + "0" * 64]
    expected = {f"127.0.0.1:{port} {each.thumbprint}" for port, each in zip(ports, certificates, strict=True)}
    assert sorted(lines[2:]) == sorted(expected)
    assert not list(tmp_path.glob("*.lock"))


def test_a_damaged_record_is_named_and_trusts_nobody(tmp_path: Path, listen: Listen, login_for: LoginFor) -> None:
    known = tmp_path / "known_winrm"
    server = listen()
    known.write_text(f"# comment\n127.0.0.1:{server.port} not-a-thumbprint\n")
    error = refused(login_for(server, trust_new=str(known)))
    assert error.code == "INVALID_INPUT" and "line 2" in error.message
    assert server.seen == []


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("trust", [{}, {"ca_file": None}, {"trust_new": "known"}], ids=["pinned", "CA", "first use"])
def test_t32_a_listener_of_plain_http_gets_no_byte_of_the_login(
    trust: dict[str, object], auth: str, listen: Listen, login_for: LoginFor
) -> None:
    """T32: before a fake server that offers only Basic over HTTP, no credentials are on the wire."""
    server = listen(certificate=None, schemes=["basic"])
    error = refused(login_for(server, auth=auth, **trust))
    assert error.code == "GUEST_LOGIN_UNSUPPORTED", error.message
    assert server.seen == [] and server.authorizations == []


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_t32_a_guest_cannot_send_the_login_to_plain_http(
    status: int, auth: str, listen: Listen, login_for: LoginFor
) -> None:
    """T32: nor anywhere else."""
    elsewhere = listen(certificate=None, schemes=["basic", "ntlm"])
    server = listen()
    server.fail("Create", HttpStatus(status, location=f"http://127.0.0.1:{elsewhere.port}/wsman"))
    error = refused(login_for(server, auth=auth))
    assert error.code == "GUEST_REFUSED" and "elsewhere" in error.message
    assert elsewhere.connections == 0


@pytest.mark.parametrize("port", [80, 5985])
def test_t32_the_ports_of_plain_http_are_refused_before_a_connection(port: int) -> None:
    """T32: 5985 is refused in code."""
    login = WinrmLogin("guest.invalid", port, password=Secret(PASSWORD), auth="basic")
    assert refused(login).code == "GUEST_LOGIN_UNSUPPORTED"


def test_nothing_listens_and_nobody_is_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for trust in ({}, {"thumbprint": "0" * 64}):
        login = WinrmLogin("127.0.0.1", port, password=Secret(PASSWORD), **trust)
        assert refused(login).code == "GUEST_REFUSED"
        nowhere = dataclasses.replace(login, host="guest.invalid")
        assert refused(nowhere).code == "GUEST_UNREACHABLE"


@pytest.mark.parametrize("trust", [{}, {"thumbprint": "0" * 64}], ids=["CA", "pinned"])
def test_a_port_that_says_nothing_is_a_time_out(trust: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openngt.install.transports._pywinrm.ANSWER_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        login = WinrmLogin("127.0.0.1", silent.getsockname()[1], password=Secret(PASSWORD), **trust)  # type: ignore[arg-type]
        with pytest.raises(OpenNGTError) as caught:
            connect(login, seconds=0.5)
    assert caught.value.code == "GUEST_TIMED_OUT"
