# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's certificate is there after the run, why is said, and a run that is killed at any step is put right."""

import datetime
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import openngt.pki.ensure_certificate
import openngt.pki.issue_log
from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.authority import CA_VALIDITY, create_authority, load_authority
from openngt.pki.ensure_certificate import CertificateOrder, ensure_certificate, ensure_no_certificate
from openngt.pki.inspect import inspect_certificate
from openngt.pki.issue_log import read_issue_log

OpenSSL = Callable[..., subprocess.CompletedProcess[str]]
VM, OTHER_VM = "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21", "0b7e21aa-55c6-4a1f-9d3a-8a554d0e6f1c"
DAY = datetime.timedelta(days=1)


@pytest.fixture
def order(tmp_path: Path, now: datetime.datetime) -> CertificateOrder:
    create_authority(tmp_path / "ca", common_name="Test CA", now=now)
    return CertificateOrder(ca_folder=tmp_path / "ca", path=tmp_path / "client.pem", vm_uuid=VM, vm_name="web1")


def generations(order: CertificateOrder) -> list[int]:
    return [record.generation for record in read_issue_log(order.ca_folder).issued]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_certificate_is_issued_once(order: CertificateOrder, now: datetime.datetime, openssl: OpenSSL) -> None:
    first = ensure_certificate(order, check=False, now=now)
    second = ensure_certificate(order, check=False, now=now + DAY)
    assert (first.changed, first.reason) == (True, "there is no certificate")
    assert (second.changed, second.reason) == (False, None)
    assert first.certificate is not None
    assert second.certificate is not None
    assert first.certificate["serial"] == second.certificate["serial"]
    verify = ["verify", "-purpose", "sslclient", "-CAfile", str(order.ca_folder / "ca.pem"), str(order.path)]
    assert openssl(*verify).returncode == 0
    assert stat.S_IMODE(order.path.stat().st_mode) == 0o600


def test_the_log_has_it_before_anybody_else(order: CertificateOrder, now: datetime.datetime) -> None:
    outcome = ensure_certificate(order, check=False, now=now)
    [record] = read_issue_log(order.ca_folder).issued
    info = inspect_certificate(order.path.read_bytes())
    assert outcome.certificate is not None
    assert (record.serial, record.sha256) == (info.serial, info.sha256)
    assert (record.vm_uuid, record.vm_name, record.generation, record.kind) == (VM, "web1", 1, "external")
    assert (record.ngt_uuid, record.not_after) == (info.ngt_uuid, info.not_after)


def test_check_predicts_and_changes_nothing(order: CertificateOrder, now: datetime.datetime, tmp_path: Path) -> None:
    before = contents(tmp_path)
    predicted = ensure_certificate(order, check=True, now=now)
    assert contents(tmp_path) == before
    made = ensure_certificate(order, check=False, now=now)
    assert (predicted.changed, predicted.reason, predicted.diff) == (made.changed, made.reason, made.diff)
    assert predicted.certificate is not None
    assert made.certificate is not None
    assert {**predicted.certificate, "serial": None, "sha256": None} == {
        **made.certificate,
        "serial": None,
        "sha256": None,
    }


def test_check_assumes_a_ca_that_is_yet_to_be_made(tmp_path: Path, now: datetime.datetime) -> None:
    order = CertificateOrder(ca_folder=tmp_path / "ca", path=tmp_path / "client.pem", vm_uuid=VM)
    assert ensure_certificate(order, check=True, now=now).changed
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OpenNGTError) as caught:
        ensure_certificate(order, check=False, now=now)
    assert caught.value.code == "CA_NOT_FOUND"


@pytest.mark.parametrize("check", [True, False])
def test_what_would_fail_fails_in_check_mode_too(
    check: bool, order: CertificateOrder, now: datetime.datetime, tmp_path: Path
) -> None:
    with pytest.raises(OpenNGTError) as caught:
        ensure_certificate(replace(order, ca_passphrase=b"needless"), check=check, now=now)
    assert caught.value.code == "CA_PASSPHRASE_WRONG"
    with pytest.raises(OpenNGTError) as caught:
        ensure_certificate(replace(order, validity_days=CA_VALIDITY.days + 1), check=check, now=now)
    assert caught.value.code == "INVALID_INPUT"
    assert not order.path.exists()
    assert read_issue_log(order.ca_folder).issued == ()


def damage(order: CertificateOrder, now: datetime.datetime) -> CertificateOrder:
    order.path.write_bytes(order.path.read_bytes()[:300])
    return order


def other_ca(order: CertificateOrder, now: datetime.datetime) -> CertificateOrder:
    folder = order.ca_folder.parent / "other"
    create_authority(folder, common_name="Test CA", now=now)
    return replace(order, ca_folder=folder, ngt_uuid=inspect_certificate(order.path.read_bytes()).ngt_uuid)


def foreign_key(order: CertificateOrder, now: datetime.datetime) -> CertificateOrder:
    leaf = order.path.read_bytes()
    ensure_certificate(replace(order, path=order.path.with_name("2.pem")), check=False, now=now)
    key = order.path.with_name("2.pem").read_bytes()
    begin = b"-----BEGIN CERTIFICATE-----"
    order.path.write_bytes(key.partition(begin)[0] + begin + leaf.partition(begin)[2])
    return order


def lost_log(order: CertificateOrder, now: datetime.datetime) -> CertificateOrder:
    (order.ca_folder / "issued.jsonl").unlink()
    return replace(order, ngt_uuid=inspect_certificate(order.path.read_bytes()).ngt_uuid)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda order, now: replace(order, key_type="ed25519"), "its key type is ecdsa-p256"),
        (lambda order, now: replace(order, threshold_days=999, validity_days=2000), None),
        (lambda order, now: replace(order, threshold_days=1000, validity_days=2000), "it expires within 1000 days"),
        (lambda order, now: replace(order, vm_uuid=OTHER_VM), f"it is for another VM, {VM}"),
        (lambda order, now: replace(order, ngt_uuid=OTHER_VM), "its ngt_uuid is "),
        (damage, "no certificate in PEM form was found"),
        (other_ca, "it was signed by another CA"),
        (foreign_key, "the private key in the file is not the certificate's"),
        (lost_log, "the CA's issue log does not know it"),
    ],
)
def test_it_is_issued_again_for_a_reason(
    change: Callable[[CertificateOrder, datetime.datetime], CertificateOrder],
    reason: str | None,
    order: CertificateOrder,
    now: datetime.datetime,
) -> None:
    ensure_certificate(order, check=False, now=now)
    changed = change(order, now)
    outcome = ensure_certificate(changed, check=False, now=now)
    assert outcome.changed == (reason is not None)
    assert (outcome.reason or "").startswith(reason or "")
    assert not ensure_certificate(changed, check=False, now=now).changed


def test_each_issue_raises_the_generation(order: CertificateOrder, now: datetime.datetime) -> None:
    for key_type in ("ecdsa-p256", "ed25519", "ecdsa-p256"):
        ensure_certificate(replace(order, key_type=key_type), check=False, now=now)
    assert generations(order) == [1, 2, 3]


def test_a_lost_log_does_not_bring_a_generation_back(order: CertificateOrder, now: datetime.datetime) -> None:
    ensure_certificate(order, check=False, now=now)
    ensure_certificate(replace(order, key_type="ed25519"), check=False, now=now)
    (order.ca_folder / "issued.jsonl").unlink()
    ensure_certificate(order, check=False, now=now)
    assert generations(order) == [3]


def test_an_ngt_uuid_that_was_given_once_is_kept(order: CertificateOrder, now: datetime.datetime) -> None:
    ensure_certificate(replace(order, ngt_uuid=OTHER_VM.upper()), check=False, now=now)
    outcome = ensure_certificate(order, check=False, now=now)
    assert (outcome.changed, (outcome.certificate or {})["ngt_uuid"]) == (False, OTHER_VM)


def test_a_mode_that_others_can_read_is_put_right(order: CertificateOrder, now: datetime.datetime) -> None:
    ensure_certificate(order, check=False, now=now)
    before = order.path.read_bytes()
    order.path.chmod(0o644)
    outcome = ensure_certificate(order, check=False, now=now)
    assert (outcome.diff["before"]["mode"], outcome.diff["after"]["mode"]) == ("0644", "0600")
    assert (stat.S_IMODE(order.path.stat().st_mode), order.path.read_bytes()) == (0o600, before)
    assert not ensure_certificate(order, check=False, now=now).changed


def test_absent_revokes_all_of_the_vm_and_deletes(order: CertificateOrder, now: datetime.datetime) -> None:
    ensure_certificate(order, check=False, now=now)
    ensure_certificate(replace(order, key_type="ed25519"), check=False, now=now)
    other = replace(order, vm_uuid=OTHER_VM, path=order.path.with_name("other.pem"))
    ensure_certificate(other, check=False, now=now)
    before = contents(order.path.parent)
    predicted = ensure_no_certificate(order.ca_folder, order.path, VM, check=True, now=now)
    assert contents(order.path.parent) == before
    outcome = ensure_no_certificate(order.ca_folder, order.path, VM, check=False, now=now)
    assert predicted == outcome
    log = read_issue_log(order.ca_folder)
    assert (len(outcome.revoked), set(outcome.revoked)) == (2, log.revoked)
    assert not order.path.exists()
    assert not ensure_no_certificate(order.ca_folder, order.path, VM, check=False, now=now).changed
    assert not ensure_certificate(other, check=False, now=now).changed


def test_a_revoked_certificate_is_replaced_when_its_file_comes_back(
    order: CertificateOrder, now: datetime.datetime
) -> None:
    ensure_certificate(order, check=False, now=now)
    copy = order.path.read_bytes()
    ensure_no_certificate(order.ca_folder, order.path, VM, check=False, now=now)
    order.path.write_bytes(copy)
    order.path.chmod(0o600)
    outcome = ensure_certificate(order, check=False, now=now)
    assert (outcome.reason, generations(order)) == ("it was revoked", [1, 2])


@pytest.mark.parametrize("check", [True, False])
def test_absent_leaves_foreign_files_alone(check: bool, order: CertificateOrder, now: datetime.datetime) -> None:
    ensure_certificate(order, check=False, now=now)
    for vm_uuid, content, code in (
        (OTHER_VM, order.path.read_bytes(), "INVALID_INPUT"),
        (VM, b"notes\n", "CERTIFICATE_INVALID"),
    ):
        order.path.write_bytes(content)
        with pytest.raises(OpenNGTError) as caught:
            ensure_no_certificate(order.ca_folder, order.path, vm_uuid, check=check, now=now)
        assert caught.value.code == code
        assert order.path.read_bytes() == content
    assert read_issue_log(order.ca_folder).revoked == frozenset()


def test_absent_needs_no_ca_where_there_is_nothing(tmp_path: Path, now: datetime.datetime) -> None:
    assert not ensure_no_certificate(tmp_path / "ca", tmp_path / "client.pem", VM, check=False, now=now).changed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vm_uuid", "web1"),
        ("ngt_uuid", "web1"),
        ("validity_days", 0),
        ("validity_days", 10**12),
        ("threshold_days", 1000),
        ("threshold_days", -1),
    ],
)
def test_a_malformed_order_names_its_field(field: str, value: object, order: CertificateOrder) -> None:
    with pytest.raises(OpenNGTError) as caught:
        replace(order, **{field: value})  # type: ignore[arg-type]  # that is what is tested
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": field})


def test_a_folder_that_is_missing_is_told_before_anything_is_signed(
    order: CertificateOrder, now: datetime.datetime
) -> None:
    with pytest.raises(OpenNGTError) as caught:
        ensure_certificate(replace(order, path=order.path.parent / "none/client.pem"), check=False, now=now)
    assert caught.value.code == "FILE_UNUSABLE"
    assert read_issue_log(order.ca_folder).issued == ()


def test_a_torn_log_is_reported(order: CertificateOrder, now: datetime.datetime) -> None:
    ensure_certificate(order, check=False, now=now)
    with (order.ca_folder / "issued.jsonl").open("ab") as log:
        log.write(b'{"serial": "1e')
    assert ensure_certificate(order, check=True, now=now).log_torn
    assert ensure_certificate(order, check=False, now=now).log_torn
    assert not ensure_certificate(order, check=False, now=now).log_torn


RUN = """
import sys
from pathlib import Path
from openngt.effects import now
from openngt.pki.ensure_certificate import CertificateOrder, ensure_certificate, ensure_no_certificate
state, ca, path, vm = sys.argv[1:]
if state == "present":
    order = CertificateOrder(ca_folder=Path(ca), path=Path(path), vm_uuid=vm)
    print(ensure_certificate(order, check=False, now=now()).changed)
else:
    print(ensure_no_certificate(Path(ca), Path(path), vm, check=False, now=now()).changed)
"""
ISSUING = {
    "pki.certificate.signed",
    "pki.issue_log.written",
    "pki.issue_log.synced",
    "effects.replace_file.written",
    "pki.certificate.written",
}
REVOKING = {
    "pki.issue_log.written",
    "pki.issue_log.synced",
    "pki.certificate.revoked",
    "pki.certificate.deleted",
}


def run(state: str, order: CertificateOrder, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, state, str(order.ca_folder), str(order.path), order.vm_uuid]
    environment = {**os.environ, "OPENNGT_FAILPOINT": failpoint}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_each_step_has_its_kill_case(failpoints: Callable[[Path], set[str]]) -> None:
    files = (openngt.pki.ensure_certificate.__file__, openngt.pki.issue_log.__file__, effects.__file__)
    assert set().union(*(failpoints(Path(file)) for file in files)) == ISSUING | REVOKING


@pytest.mark.parametrize("step", sorted(ISSUING))
def test_an_issue_killed_at_any_step_is_put_right_by_the_next_run(step: str, order: CertificateOrder) -> None:
    assert run("present", order, step).returncode == -signal.SIGKILL
    first = order.path.read_bytes() if order.path.exists() else None
    if first is not None:
        assert inspect_certificate(first).serial in read_issue_log(order.ca_folder).serials
    again = run("present", order)
    assert again.stdout == f"{first is None}\n", again.stderr
    log = read_issue_log(order.ca_folder)
    info = inspect_certificate(order.path.read_bytes())
    assert info.serial == log.issued[-1].serial
    assert generations(order) == list(range(1, len(log.issued) + 1))
    assert {path.name for path in order.path.parent.iterdir()} == {"ca", "client.pem"}
    assert {path.name for path in order.ca_folder.iterdir()} == {"ca.pem", "ca.key", "issued.jsonl"}
    assert run("present", order).stdout == "False\n"


@pytest.mark.parametrize("step", sorted(REVOKING))
def test_a_removal_killed_at_any_step_is_put_right_by_the_next_run(step: str, order: CertificateOrder) -> None:
    run("present", order)
    assert run("absent", order, step).returncode == -signal.SIGKILL
    log = read_issue_log(order.ca_folder)
    assert order.path.exists() or log.serials == log.revoked
    assert run("absent", order).returncode == 0
    log = read_issue_log(order.ca_folder)
    assert (len(log.revocations), log.revoked) == (1, log.serials)
    assert not order.path.exists()
    assert run("absent", order).stdout == "False\n"


def test_of_runs_at_once_one_issues(order: CertificateOrder) -> None:
    command = [sys.executable, "-c", RUN, "present", str(order.ca_folder), str(order.path), order.vm_uuid]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sorted(run.communicate()[0] for run in runs) == ["False\n", "False\n", "True\n"]
    assert generations(order) == [1]


def test_the_key_is_in_the_file_alone(order: CertificateOrder, now: datetime.datetime) -> None:
    outcome = ensure_certificate(order, check=False, now=now)
    key = order.path.read_text().splitlines()[1]
    assert len(key) == 64
    assert key not in repr(outcome)
    assert key not in (order.ca_folder / "issued.jsonl").read_text()
    assert load_authority(order.ca_folder)
