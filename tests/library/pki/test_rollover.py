# SPDX-License-Identifier: GPL-3.0-or-later
"""One CA follows another: whoever trusts the old one comes to trust the new, and a crash leaves a folder that loads."""

import datetime
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

import openngt.pki.rollover
from openngt.errors import OpenNGTError
from openngt.pki.authority import create_authority, load_authority
from openngt.pki.issue import issue_service_certificate, issue_vm_certificate
from openngt.pki.key_types import KeyType
from openngt.pki.rollover import Succession, abort_next, activate_next, load_succession, prepare_next, retire_old

OpenSSL = Callable[..., subprocess.CompletedProcess[str]]
DAY = datetime.timedelta(days=1)
PASSPHRASE = b"correct horse"


def make(folder: Path, now: datetime.datetime, **changes: object) -> str:
    """The first CA's fingerprint."""
    return create_authority(folder, common_name="Test CA", now=now, **changes).ca_sha256  # type: ignore[arg-type]


def through(folder: Path, now: datetime.datetime) -> Succession:
    prepare_next(folder, now=now)
    activate_next(folder, now=now)
    return retire_old(folder, now=now)


@pytest.mark.parametrize("key_type", get_args(KeyType))
def test_openssl_follows_the_old_ca_to_a_certificate_of_the_new_one(
    key_type: KeyType, tmp_path: Path, now: datetime.datetime, openssl: OpenSSL
) -> None:
    old_sha256 = make(tmp_path / "ca", now, key_type=key_type)
    old_pem = load_authority(tmp_path / "ca").certificate_pem
    prepared = prepare_next(tmp_path / "ca", now=now)
    assert prepared.phase == "prepared" and prepared.signer.ca_sha256 == old_sha256
    assert prepared.handed_pem == prepared.trusted_pem and prepared.trusted_pem.startswith(old_pem)
    assert prepared.server_chain_pem == prepared.vouching_pem == b""
    active = activate_next(tmp_path / "ca", now=now)
    assert active.signer.ca_sha256 == prepared.next_sha256 and active.oldest_sha256 == old_sha256
    assert active.handed_pem == active.signer.certificate_pem and active.next_sha256 is None
    leaf = issue_service_certificate(active.signer, dns_names=["a.example"], now=now, validity=DAY).certificate_pem
    verify = ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"]
    assert openssl(*verify, old_pem, "-untrusted", active.server_chain_pem, leaf).returncode == 0
    assert openssl(*verify, active.signer.certificate_pem, "-untrusted", active.server_chain_pem, leaf).returncode == 0
    assert openssl(*verify, active.trusted_pem, leaf).returncode == 0
    assert openssl(*verify, old_pem, leaf).returncode != 0, "nobody vouches for it"


def test_the_old_ca_is_followed_over_two_rollovers_and_not_over_three(
    tmp_path: Path, now: datetime.datetime, openssl: OpenSSL, request_for: Callable[..., object]
) -> None:
    """An agent that slept meanwhile; the chain is as long as a disc has room for."""
    make(tmp_path / "ca", now)
    old_pem = load_authority(tmp_path / "ca").certificate_pem
    for expected in (True, True, False):
        after = through(tmp_path / "ca", now)
        assert after.phase == "none" and after.trusted_pem == after.handed_pem == after.signer.certificate_pem
        leaf = issue_vm_certificate(after.signer, request_for(validity=DAY), now=now).certificate_pem  # type: ignore[arg-type]
        done = openssl("verify", "-x509_strict", "-CAfile", old_pem, "-untrusted", after.vouching_pem, leaf)
        assert (done.returncode == 0) is expected


def test_each_step_can_be_repeated_and_the_old_key_is_gone_at_the_end(tmp_path: Path, now: datetime.datetime) -> None:
    folder = tmp_path / "ca"
    make(folder, now)
    old_key = (folder / "ca.key").read_bytes()
    for step in (prepare_next, activate_next, retire_old):
        first = step(folder, now=now)
        assert step(folder, now=now + DAY).since == first.since
        again = load_succession(folder)
        assert (again.phase, again.signer.ca_sha256) == (first.phase, first.signer.ca_sha256)
        for key in folder.rglob("*.key"):
            assert key.stat().st_mode & 0o777 == 0o600
    assert old_key not in [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert sorted(path.name for path in folder.iterdir()) == ["ca.key", "ca.pem", "cross.pem"]


def test_one_that_is_prepared_can_be_given_up(tmp_path: Path, now: datetime.datetime) -> None:
    folder = tmp_path / "ca"
    old = make(folder, now)
    pem = (folder / "ca.pem").read_bytes()
    following = prepare_next(folder, now=now).next_sha256
    assert abort_next(folder, now=now).signer.ca_sha256 == old
    assert (folder / "ca.pem").read_bytes() == pem and not (folder / "next").exists()
    assert abort_next(folder, now=now).phase == "none"
    assert prepare_next(folder, now=now).next_sha256 != following, "a key that was given up is never used"
    with pytest.raises(OpenNGTError, match="no CA that is prepared"):
        abort_next(folder, now=now)
        activate_next(folder, now=now)


def test_an_activated_one_stays(tmp_path: Path, now: datetime.datetime) -> None:
    make(tmp_path / "ca", now)
    prepare_next(tmp_path / "ca", now=now)
    active = activate_next(tmp_path / "ca", now=now)
    assert abort_next(tmp_path / "ca", now=now).signer.ca_sha256 == active.signer.ca_sha256


def test_the_next_key_is_encrypted_as_the_present_one_is(tmp_path: Path, now: datetime.datetime) -> None:
    make(tmp_path / "ca", now, passphrase=PASSPHRASE)
    prepare_next(tmp_path / "ca", now=now, passphrase=PASSPHRASE)
    assert b"ENCRYPTED" in (tmp_path / "ca/next/ca.key").read_bytes()
    assert activate_next(tmp_path / "ca", now=now, passphrase=PASSPHRASE).phase == "activated"
    with pytest.raises(OpenNGTError) as raised:
        load_succession(tmp_path / "ca")
    assert raised.value.code == "CA_PASSPHRASE_WRONG"


def test_a_ca_that_is_over_still_names_its_successor(tmp_path: Path, now: datetime.datetime) -> None:
    make(tmp_path / "ca", now - 20 * DAY, validity=10 * DAY)
    prepare_next(tmp_path / "ca", now=now)
    assert activate_next(tmp_path / "ca", now=now).signer.not_after == now + 10 * DAY


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": "x", "phase": "prepared", "since": "2026-01-01"}'])
def test_a_state_that_cannot_be_read_is_told_and_not_guessed(
    content: bytes, tmp_path: Path, now: datetime.datetime
) -> None:
    make(tmp_path / "ca", now)
    (tmp_path / "ca/rollover.json").write_bytes(content)
    with pytest.raises(OpenNGTError, match="does not say how far"):
        load_succession(tmp_path / "ca")


STEP = """
import sys, datetime
from pathlib import Path
from openngt.pki import rollover
now = datetime.datetime.now(datetime.timezone.utc)
for step in sys.argv[2:]:
    getattr(rollover, step)(Path(sys.argv[1]), now=now)
"""
KILLED_AT = {
    "pki.create_authority.folder": ["prepare_next"],
    "pki.create_authority.key": ["prepare_next"],
    "pki.create_authority.certificate": ["prepare_next"],
    "pki.rollover.vouched": ["prepare_next"],
    "pki.rollover.prepared": ["prepare_next"],
    "pki.rollover.announced": ["prepare_next"],
    "pki.rollover.activated": ["prepare_next", "activate_next"],
    "pki.rollover.retiring": ["prepare_next", "activate_next", "retire_old"],
    "pki.rollover.remembered": ["prepare_next", "activate_next", "retire_old"],
    "pki.rollover.key_replaced": ["prepare_next", "activate_next", "retire_old"],
    "pki.rollover.certificate_replaced": ["prepare_next", "activate_next", "retire_old"],
    "pki.rollover.next_removed": ["prepare_next", "activate_next", "retire_old"],
    "pki.rollover.aborting": ["prepare_next", "abort_next"],
    "pki.rollover.withdrawn": ["prepare_next", "abort_next"],
}


def test_each_step_has_its_kill_case(failpoints: Callable[[Path], set[str]]) -> None:
    ours = {step for step in KILLED_AT if step.startswith("pki.rollover.")}
    assert failpoints(Path(openngt.pki.rollover.__file__)) == ours


@pytest.mark.parametrize("step", sorted(KILLED_AT))
def test_a_step_that_is_killed_leaves_a_folder_that_loads_and_can_be_repeated(
    step: str, tmp_path: Path, now: datetime.datetime
) -> None:
    folder = tmp_path / "ca"
    old = make(folder, now)
    command = [sys.executable, "-c", STEP, str(folder), *KILLED_AT[step]]
    killed = subprocess.run(command, env={**os.environ, "OPENNGT_FAILPOINT": step}, check=False)
    assert killed.returncode == -signal.SIGKILL
    found = load_succession(folder)
    assert found.signer.private_key.public_key() == found.signer.certificate.public_key()
    assert old in (found.signer.ca_sha256, found.other_sha256) or found.phase == "none"
    done = through(folder, now)
    assert done.signer.ca_sha256 != old and load_authority(folder).ca_sha256 == done.signer.ca_sha256
    assert sorted(path.name for path in folder.iterdir()) == ["ca.key", "ca.pem", "cross.pem"]
