# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator of a WinRM listener is one to others too: pywinrm as it is talks to it, and meets what it may meet."""

import http.client
import ssl
from typing import Any

import pytest
import requests
import winrm
from tests.fakes.winrm_server import Certificate, Quota, Run, WinrmServer, make_certificate
from winrm.exceptions import InvalidCredentialsError, WSManFaultError

from .conftest import PASSWORD, Listen


def play(run: Run) -> int:
    run.say(f"{run.user} ran {run.script or run.command}")
    run.write("<wörds>".encode(), "stderr")
    return 5


def session(
    server: WinrmServer, ca: Certificate, transport: str, password: str = PASSWORD, **more: Any
) -> winrm.Session:
    return winrm.Session(
        f"https://127.0.0.1:{server.port}/wsman",
        auth=("Administrator", password),
        transport=transport,
        ca_trust_path=str(ca.file),
        **more,
    )


@pytest.mark.parametrize("transport", ["ntlm", "basic"])
def test_pywinrm_runs_commands_and_scripts(transport: str, certificate: Certificate, listen: Listen) -> None:
    server = listen(play)
    client = session(server, certificate, transport)
    done = client.run_cmd("ipconfig", ["/all"])
    assert (done.status_code, done.std_err) == (5, "<wörds>".encode())
    assert done.std_out == b"Administrator ran ipconfig /all\r\n"
    assert client.run_ps("Get-Date").std_out == b"Administrator ran Get-Date\r\n"
    assert not any(seen.encrypted for seen in server.seen)


def test_messages_that_ntlm_encrypts_are_read_and_answered_so(certificate: Certificate, listen: Listen) -> None:
    server = listen(play)
    client = session(server, certificate, "ntlm", message_encryption="always")
    assert client.run_ps("'x' * 3").std_out == b"Administrator ran 'x' * 3\r\n"
    assert {seen.encrypted for seen in server.seen if seen.action} == {True}
    server.fail("Create", Quota)
    with pytest.raises(WSManFaultError, match="concurrent shells"):
        client.run_cmd("x")


@pytest.mark.parametrize("transport", ["ntlm", "basic"])
def test_a_wrong_password_is_refused(transport: str, certificate: Certificate, listen: Listen) -> None:
    server = listen(play)
    with pytest.raises(InvalidCredentialsError):
        session(server, certificate, transport, password="wrong").run_cmd("x")
    assert server.runs == [] and server.authorizations


def test_a_channel_that_somebody_has_opened_in_between_is_refused(
    tmp_path: Any, certificate: Certificate, listen: Listen
) -> None:
    """NTLM is bound to the certificate that the client sees."""
    server = listen(play)
    server._certificate = make_certificate(tmp_path)
    with pytest.raises(InvalidCredentialsError):
        session(server, certificate, "ntlm").run_cmd("x")


def test_too_many_shells_are_a_fault_with_its_number(certificate: Certificate, listen: Listen) -> None:
    server = listen(play)
    server.max_shells = 1
    client = session(server, certificate, "basic")
    client.protocol.open_shell()
    with pytest.raises(WSManFaultError) as caught:
        client.protocol.open_shell()
    assert caught.value.wsman_fault_code == 2150859173


def test_a_client_that_does_not_trust_it_sends_nothing(tmp_path: Any, listen: Listen) -> None:
    server = listen(play)
    with pytest.raises(requests.exceptions.SSLError):
        session(server, make_certificate(tmp_path), "basic").run_cmd("x")
    assert server.seen == []


def test_it_says_what_it_is_to_anybody(certificate: Certificate, listen: Listen) -> None:
    server = listen(play)
    context = ssl.create_default_context(cafile=str(certificate.file))
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=20)
    connection.request("POST", "/wsman", b"<x/>", {"WSMANIDENTIFY": "unauthenticated"})
    answer = connection.getresponse()
    assert answer.status == 200 and b"ProtocolVersion" in answer.read()
    connection.close()
