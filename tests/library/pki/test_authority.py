# SPDX-License-Identifier: GPL-3.0-or-later
"""A CA is made once, survives a crash half-way, and is never overwritten."""

import datetime
import hashlib
import os
import signal
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import pytest

import openngt.pki.authority
from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.authority import Authority, create_authority, load_authority, load_ca_certificate
from openngt.pki.key_types import KeyType

OpenSSL = Callable[..., subprocess.CompletedProcess[str]]
PASSPHRASE = b"correct horse"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def create(folder: Path, now: datetime.datetime, **changes: object) -> Authority:
    return create_authority(folder, common_name="Test CA", now=now, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("key_type", get_args(KeyType))
def test_openssl_reads_the_ca_as_it_was_asked_for(
    key_type: KeyType, tmp_path: Path, now: datetime.datetime, openssl: OpenSSL
) -> None:
    authority = create(tmp_path / "ca", now, key_type=key_type)
    text = openssl("x509", "-in", str(tmp_path / "ca/ca.pem"), "-noout", "-text").stdout
    assert "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0\n" in text
    assert "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n" in text
    assert "X509v3 Subject Key Identifier" in text
    assert "Subject: CN = Test CA\n" in text
    expected = {"ecdsa-p256": "NIST CURVE: P-256", "ed25519": "ED25519 Public-Key"}.get(
        key_type, f"Public-Key: ({key_type[4:]} bit)"
    )
    assert expected in text
    pem = str(tmp_path / "ca/ca.pem")
    assert openssl("verify", "-x509_strict", "-check_ss_sig", "-CAfile", pem, pem).returncode == 0
    der = ssl.PEM_cert_to_DER_cert((tmp_path / "ca/ca.pem").read_text())
    assert authority.ca_sha256 == hashlib.sha256(der).hexdigest()


def test_it_is_valid_a_day_back_and_for_ten_years(authority: Authority, now: datetime.datetime) -> None:
    assert authority.info.not_before == now - datetime.timedelta(hours=24)
    assert authority.not_after == now + datetime.timedelta(days=3650)


def test_only_the_certificate_can_be_read_by_others(tmp_path: Path, now: datetime.datetime) -> None:
    old = os.umask(0)
    try:
        create(tmp_path / "ca", now)
    finally:
        os.umask(old)
    found = {path.name: mode(path) for path in (tmp_path / "ca").iterdir()}
    assert (mode(tmp_path / "ca"), found) == (0o700, {"ca.pem": 0o644, "ca.key": 0o600})


def test_what_was_created_is_what_is_loaded(tmp_path: Path, now: datetime.datetime) -> None:
    created = create(tmp_path, now)
    loaded = load_authority(tmp_path)
    assert loaded.certificate_pem == created.certificate_pem
    assert loaded.private_key.public_key() == created.private_key.public_key()


def test_a_ca_is_never_overwritten(tmp_path: Path, now: datetime.datetime) -> None:
    create(tmp_path, now)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OpenNGTError) as caught:
        create(tmp_path, now)
    assert caught.value.code == "CA_EXISTS"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_passphrase_encrypts_the_key(tmp_path: Path, now: datetime.datetime, openssl: OpenSSL) -> None:
    create(tmp_path, now, passphrase=PASSPHRASE)
    key = str(tmp_path / "ca.key")
    assert openssl("pkey", "-in", key, "-noout", "-passin", "pass:correct horse").returncode == 0
    assert openssl("pkey", "-in", key, "-noout", "-passin", "pass:wrong").returncode != 0
    assert load_authority(tmp_path, passphrase=PASSPHRASE).info.key_type == "ecdsa-p256"


@pytest.mark.parametrize(("made_with", "opened_with"), [(PASSPHRASE, b"wrong"), (PASSPHRASE, None), (None, PASSPHRASE)])
def test_a_wrong_missing_or_needless_passphrase_is_told(
    made_with: bytes | None, opened_with: bytes | None, tmp_path: Path, now: datetime.datetime
) -> None:
    create(tmp_path, now, passphrase=made_with)
    with pytest.raises(OpenNGTError) as caught:
        load_authority(tmp_path, passphrase=opened_with)
    assert caught.value.code == "CA_PASSPHRASE_WRONG"
    assert "correct horse" not in repr(caught.value.to_dict())


def test_a_key_without_its_certificate_is_taken_up(tmp_path: Path, now: datetime.datetime) -> None:
    create(tmp_path, now)
    key = (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.pem").unlink()
    create(tmp_path, now)
    assert (tmp_path / "ca.key").read_bytes() == key
    load_authority(tmp_path)


def test_a_key_of_another_type_is_kept_and_told(tmp_path: Path, now: datetime.datetime) -> None:
    create(tmp_path, now)
    key = (tmp_path / "ca.key").read_bytes()
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(OpenNGTError) as caught:
        create(tmp_path, now, key_type="ed25519")
    assert (caught.value.code, caught.value.details["found"]) == ("CA_EXISTS", "ecdsa-p256")
    assert (tmp_path / "ca.key").read_bytes() == key


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("ca.pem", None, "CA_NOT_FOUND"),
        ("ca.key", None, "CA_NOT_FOUND"),
        ("ca.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "CERTIFICATE_INVALID"),
        ("ca.key", b"", "CERTIFICATE_INVALID"),
    ],
)
def test_a_broken_folder_is_told(
    name: str, content: bytes | None, code: str, tmp_path: Path, now: datetime.datetime
) -> None:
    create(tmp_path, now)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(OpenNGTError) as caught:
        load_authority(tmp_path)
    assert caught.value.code == code


def test_key_and_certificate_of_two_cas_are_told_apart(tmp_path: Path, now: datetime.datetime) -> None:
    create(tmp_path / "one", now)
    create(tmp_path / "two", now)
    (tmp_path / "one/ca.key").write_bytes((tmp_path / "two/ca.key").read_bytes())
    with pytest.raises(OpenNGTError) as caught:
        load_authority(tmp_path / "one")
    assert caught.value.code == "CERTIFICATE_INVALID"


@pytest.mark.parametrize("common_name", ["", "x" * 65])
def test_a_name_that_x509_cannot_hold_is_refused_before_a_certificate_exists(
    common_name: str, tmp_path: Path, now: datetime.datetime
) -> None:
    with pytest.raises(OpenNGTError) as caught:
        create_authority(tmp_path / "ca", common_name=common_name, now=now)
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": "common_name"})
    assert not (tmp_path / "ca").exists()


def test_two_creations_at_once_leave_one_whole_ca(tmp_path: Path, now: datetime.datetime) -> None:
    def attempt(_: int) -> str:
        try:
            return create(tmp_path, now).ca_sha256
        except OpenNGTError as error:
            return error.code

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, range(4)))
    assert outcomes.count("CA_EXISTS") == 3
    assert load_authority(tmp_path).ca_sha256 in outcomes


def test_the_private_key_is_not_in_the_representation(authority: Authority) -> None:
    assert "private_key" not in repr(authority)


CREATE = """
import sys
from pathlib import Path
from openngt.effects import now
from openngt.pki.authority import create_authority
create_authority(Path(sys.argv[1]), common_name="Test CA", now=now())
"""
KILLED_AT = {
    "pki.create_authority.folder",
    "pki.create_authority.key",
    "pki.create_authority.certificate",
    "effects.replace_file.written",
}


def test_each_step_has_its_kill_case(failpoints: Callable[[Path], set[str]]) -> None:
    in_code = failpoints(Path(openngt.pki.authority.__file__)) | failpoints(Path(effects.__file__))
    assert in_code == KILLED_AT


@pytest.mark.parametrize("step", sorted(KILLED_AT))
def test_a_creation_killed_at_any_step_is_finished_by_the_next(step: str, tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    command = [sys.executable, "-c", CREATE, str(folder)]
    killed = subprocess.run(command, env={**os.environ, "OPENNGT_FAILPOINT": step}, check=False)
    assert killed.returncode == -signal.SIGKILL
    try:
        first = load_ca_certificate(folder)
    except OpenNGTError as error:
        assert error.code == "CA_NOT_FOUND"
        first = None
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    if first is None:
        assert again.returncode == 0, again.stderr
    else:
        assert "CA_EXISTS" in again.stderr or "holds a CA already" in again.stderr
        assert load_ca_certificate(folder) == first
    load_authority(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["ca.key", "ca.pem"]
