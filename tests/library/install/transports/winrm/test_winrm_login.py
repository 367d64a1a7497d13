# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused of a WinRM login before anything is sent, and what our PowerShell is made of."""

import base64
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.powershell import foreign_to_powershell_3

from openngt.errors import OpenNGTError
from openngt.install.fleet.target import Secret, WinrmLogin
from openngt.install.transports.powershell import (
    BOOTSTRAP,
    MAX_COMMAND_CHARACTERS,
    as_input,
    bootstrap_command,
    encoded_command,
    readable,
)
from openngt.install.transports.winrm import connect
from openngt.install.transports.winrm_login import account

LOGIN = WinrmLogin("guest.invalid", password=Secret("canary"))


@pytest.mark.parametrize("user", ["Administrator", r".\Administrator"])
@pytest.mark.parametrize("auth", ["ntlm", "basic"])
def test_a_local_user_is_sent_without_a_domain(auth: str, user: str) -> None:
    assert account(replace(LOGIN, auth=auth, user=user)) == "Administrator"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"user": r"CORP\admin"}, "DOMAIN_USER_UNSUPPORTED", "user"),
        ({"user": "admin@corp.example"}, "DOMAIN_USER_UNSUPPORTED", "user"),
        ({"user": "admin@corp.example", "auth": "basic"}, "DOMAIN_USER_UNSUPPORTED", "user"),
        ({"user": r"CORP\admin", "auth": "kerberos"}, "DOMAIN_USER_UNSUPPORTED", "user"),
        ({"user": "admin", "auth": "kerberos"}, "DOMAIN_USER_UNSUPPORTED", "user"),
        ({"user": ""}, "INVALID_INPUT", "user"),
        ({"user": ".\\"}, "INVALID_INPUT", "user"),
        ({"password": None}, "INVALID_INPUT", "password"),
        ({"password": Secret("")}, "INVALID_INPUT", "password"),
        ({"password": Secret("canary \N{EURO SIGN}"), "auth": "basic"}, "GUEST_LOGIN_UNSUPPORTED", "password"),
        ({"auth": "certificate"}, "INVALID_INPUT", "certificate_file"),
        ({"host": "guest/../@evil"}, "INVALID_INPUT", "host"),
        ({"host": ""}, "INVALID_INPUT", "host"),
        ({"port": 5985}, "GUEST_LOGIN_UNSUPPORTED", "port"),
        ({"thumbprint": "ab" * 20}, "INVALID_INPUT", "thumbprint"),
        ({"thumbprint": ":".join(["AB"] * 20)}, "INVALID_INPUT", "thumbprint"),
        ({"thumbprint": "AB" * 32}, "INVALID_INPUT", "thumbprint"),
    ],
)
def test_what_cannot_work_is_refused_by_its_field(fields: dict[str, object], code: str, field: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        connect(replace(LOGIN, **fields))  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.details["field"]) == (code, field)
    assert "canary" not in str(caught.value.to_dict())
    assert caught.value.__cause__ is None


def test_a_sha1_thumbprint_is_refused_with_where_to_find_the_right_one() -> None:
    with pytest.raises(OpenNGTError) as caught:
        connect(replace(LOGIN, thumbprint="AB " * 20))
    assert "SHA-1" in caught.value.message and "SHA-256" in caught.value.remedy


def test_two_who_vouch_are_one_too_many() -> None:
    with pytest.raises(OpenNGTError) as caught:
        connect(replace(LOGIN, thumbprint="ab" * 32, ca_file="/etc/ssl/certs/ca-certificates.crt"))
    assert caught.value.details["fields"] == ["ca_file", "thumbprint"]


@pytest.mark.parametrize("what", ["ca_file", "certificate"])
def test_files_that_are_none_are_named(what: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    for path in (empty, tmp_path / "missing.pem"):
        files = {"certificate_file": str(path), "certificate_key_file": str(path), "auth": "certificate"}
        login = replace(LOGIN, **({"ca_file": str(path)} if what == "ca_file" else files))  # type: ignore[arg-type]
        with pytest.raises(OpenNGTError) as caught:
            connect(login)
        assert caught.value.code == "INVALID_INPUT" and str(path) in caught.value.message
        empty.touch()


def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    """Without pywinrm the transport can be imported, and says what to install."""
    (tmp_path / "path/winrm").mkdir(parents=True)
    (tmp_path / "path/winrm/__init__.py").write_text("raise ImportError('not here')\n")
    program = """
from openngt.errors import OpenNGTError
from openngt.install.fleet.target import Secret, WinrmLogin
from openngt.install.transports.winrm import connect
try:
    connect(WinrmLogin("guest.invalid", password=Secret("x")))
except OpenNGTError as error:
    print(error.code, error.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "path")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("LIBRARY_MISSING the Python library pywinrm"), done.stderr


def test_kerberos_says_which_library_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winrm.transport.HAVE_KERBEROS", False)
    with pytest.raises(OpenNGTError) as caught:
        connect(replace(LOGIN, auth="kerberos", user="admin@CORP.EXAMPLE"))
    assert caught.value.code == "LIBRARY_MISSING" and "pykerberos" in caught.value.message


def test_what_we_send_is_powershell_3_and_fits_in_a_command_line() -> None:
    command = bootstrap_command()
    sent = base64.b64decode(command.rpartition(" ")[2]).decode("utf-16-le")
    assert foreign_to_powershell_3(sent) == []
    assert foreign_to_powershell_3(BOOTSTRAP) == []
    assert "$input" not in sent.lower()
    assert len(command) < MAX_COMMAND_CHARACTERS


def test_a_script_too_long_for_a_command_line_is_refused() -> None:
    with pytest.raises(ValueError, match="characters"):
        encoded_command("'x'\n" * 2000)


@pytest.mark.parametrize("script", ["'a'\r\n'b'\r\n", "'a'\r'b'", "\N{BYTE ORDER MARK}'a'\n'b'\n"])
def test_a_script_is_framed_by_a_line_that_it_cannot_hold(script: str) -> None:
    first, *lines, last, end = as_input(script).decode().split("\n")
    assert (first, lines, end) == (last, ["'a'", "'b'"], "")
    assert first not in as_input(script).decode()


@pytest.mark.parametrize(
    ("stderr", "text"),
    [
        ("plain\r\n", "plain"),
        (
            '#< CLIXML\r\n<Objs Version="1.1"><S S="Error">one_x000D__x000A_</S><S S="Error">a &lt; b</S></Objs>',
            "one\na < b",
        ),
        (
            'before\r\n#< CLIXML\r\n<Objs><Obj S="progress"><S N="x">no</S></Obj><S S="warning">hm</S></Objs>',
            "before\nhm",
        ),
        ('rror">cut</S><S S="Error">rest</S></Objs>', "rest"),
        ('#< CLIXML\r\n<Objs><S S="Error">whole</S><S S="Err', "whole"),
        ("#< CLIXML\r\n<Objs></Objs>", ""),
    ],
)
def test_errors_of_powershell_are_made_readable(stderr: str, text: str) -> None:
    assert readable(stderr) == text
