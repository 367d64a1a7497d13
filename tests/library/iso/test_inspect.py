# SPDX-License-Identifier: GPL-3.0-or-later
"""An ISO is read back: a good one verifies, and each kind of wrong one says what is wrong, without the private key."""

import dataclasses
import datetime
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from openngt.errors import OpenNGTError
from openngt.iso.inspect import IsoReport, inspect_iso
from openngt.iso.layout import AGENT, CA, CLIENT, CONFIG, MANIFEST, SLOTS
from openngt.iso.template import Template
from openngt.iso.volume import author
from openngt.pki.authority import Authority, create_authority
from openngt.pki.issue import issue_service_certificate

from .conftest import DAY, NGT_UUID, PAYLOAD, VM_UUID, Made, MakeIso, tool


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory, now: datetime.datetime) -> Authority:
    return create_authority(tmp_path_factory.mktemp("stranger") / "ca", common_name="Test CA", now=now)


@pytest.fixture
def patch(template: Template) -> Callable[[Made, str, bytes], None]:
    """Write into a slot of an ISO that was made, past all that makes it consistent."""

    def write(made: Made, path: str, content: bytes) -> None:
        with made.path.open("r+b") as stream:
            stream.seek(template.slots[path])
            stream.write(content.ljust(SLOTS[path], b"\n"))

    return write


def test_a_good_iso_verifies_and_tells_what_it_holds(
    make_iso: MakeIso, authority: Authority, now: datetime.datetime
) -> None:
    made = make_iso()
    report = inspect_iso(made.path, now=now, ca_sha256=authority.ca_sha256)
    assert report.problems == ()
    assert report.verified
    assert report.label == "NUTANIX_TOOLS"
    assert report.manifest == made.unsigned.manifest
    assert report.manifest_sha256 == made.unsigned.manifest_sha256
    assert report.config is not None
    assert (report.config["cluster_ip"], report.config["vm_name"]) == ("192.0.2.10", "web-1")
    assert report.certificate is not None
    assert (report.certificate.vm_uuid, report.certificate.ngt_uuid) == (VM_UUID, NGT_UUID)
    assert [file.path for file in report.files] == sorted({*SLOTS, *PAYLOAD})
    assert {(file.mode, file.state) for file in report.files} == {("0400", "ok")}


def test_a_good_config_only_iso_verifies(config_template: Template, make_iso: MakeIso, now: datetime.datetime) -> None:
    assert inspect_iso(make_iso(template=config_template).path, now=now).problems == ()


def test_openssl_confirms_key_chain_and_manifest_digest(make_iso: MakeIso, tmp_path: Path) -> None:
    made = make_iso()
    extracted = {path: tmp_path / path.rpartition("/")[2] for path in (CLIENT, CA)}
    for path, target in extracted.items():
        assert (
            tool("xorriso", "-osirrox", "on", "-indev", str(made.path), "-extract", path, str(target)).returncode == 0
        )
    client, ca = str(extracted[CLIENT]), str(extracted[CA])
    verified = tool("openssl", "verify", "-purpose", "sslclient", "-x509_strict", "-CAfile", ca, client)
    assert verified.returncode == 0, verified.stderr
    text = tool("openssl", "x509", "-in", client, "-noout", "-text").stdout.decode()
    assert f"URI:urn:openngt:manifest:sha256:{made.unsigned.manifest_sha256}" in text
    of_key = tool("openssl", "pkey", "-in", client, "-pubout").stdout
    assert of_key == tool("openssl", "x509", "-in", client, "-noout", "-pubkey").stdout != b""


def test_the_private_key_is_nowhere_in_the_report(make_iso: MakeIso, now: datetime.datetime) -> None:
    made = make_iso()
    text = repr(inspect_iso(made.path, now=now)) + repr(made.unsigned)
    key_line = made.client_pem.splitlines()[1].decode()
    assert "PRIVATE" in made.client_pem.decode()
    assert "PRIVATE" not in text
    assert key_line not in text


def problems(report: IsoReport) -> str:
    assert not report.verified
    return "\n".join(report.problems)


def test_an_expired_or_early_iso_is_told(make_iso: MakeIso, now: datetime.datetime) -> None:
    path = make_iso().path
    assert "manifest.json has expired\nconfig/client.pem has expired" in "\n".join(
        sorted(problems(inspect_iso(path, now=now + DAY)).splitlines(), reverse=True)
    )
    assert "not valid yet" in problems(inspect_iso(path, now=now - 2 * DAY))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"vm_uuid": NGT_UUID}, "differ in vm_uuid"),
        ({"ngt_uuid": VM_UUID}, "differ in ngt_uuid"),
        ({"generation": 4}, "differ in generation"),
        ({"manifest_sha256": "0" * 64}, "does not vouch for this manifest.json"),
        ({"manifest_sha256": None}, "does not vouch for this manifest.json"),
    ],
)
def test_a_certificate_that_says_something_else_is_told(
    make_iso: MakeIso, now: datetime.datetime, changes: dict[str, object], problem: str
) -> None:
    assert problem in problems(inspect_iso(make_iso(certificate_for=changes).path, now=now))


def test_another_ca_is_told(
    make_iso: MakeIso, authority: Authority, stranger: Authority, now: datetime.datetime
) -> None:
    forged = make_iso(signer=stranger).path
    assert "config/client.pem was not signed by the CA" in problems(inspect_iso(forged, now=now))
    own = inspect_iso(make_iso().path, now=now, ca_sha256=stranger.ca_sha256)
    assert "not the expected" in problems(own)
    assert "was not signed by the CA" in problems(own)


def test_a_second_ca_on_the_disc_does_not_lend_its_trust(
    make_iso: MakeIso,
    patch: Callable[[Made, str, bytes], None],
    authority: Authority,
    stranger: Authority,
    now: datetime.datetime,
) -> None:
    forged = make_iso(signer=stranger)
    patch(forged, CA, authority.certificate_pem + stranger.certificate_pem)
    report = inspect_iso(forged.path, now=now, ca_sha256=authority.ca_sha256)
    assert "config/client.pem was not signed by the CA" in problems(report)


@pytest.mark.parametrize(
    ("slot", "content", "problem"),
    [
        (CLIENT, b"", "no certificate in PEM form"),
        (CLIENT, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"),
        (CA, b"", "config/ca.pem: no certificate"),
        (
            CA,
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "config/ca.pem: the certificate cannot",
        ),
        (CONFIG, b"{", "config/ngt_config.json is not JSON"),
        (CONFIG, b"{}", "config/ngt_config.json is altered"),
        (MANIFEST, b"", "manifest.json is not JSON"),
        (MANIFEST, b"{}", "manifest.json: format is not openngt-manifest-1"),
    ],
)
def test_a_slot_with_something_else_is_told(
    make_iso: MakeIso,
    patch: Callable[[Made, str, bytes], None],
    now: datetime.datetime,
    slot: str,
    content: bytes,
    problem: str,
) -> None:
    made = make_iso()
    patch(made, slot, content)
    assert problem in problems(inspect_iso(made.path, now=now))


def test_key_and_certificate_of_two_isos_do_not_make_one(
    make_iso: MakeIso, patch: Callable[[Made, str, bytes], None], now: datetime.datetime
) -> None:
    one, other = make_iso("one.iso"), make_iso("other.iso")
    mark = b"-----BEGIN CERTIFICATE-----"
    patch(one, CLIENT, other.client_pem.partition(mark)[0] + mark + one.client_pem.partition(mark)[2])
    assert "has not the private key of its certificate" in problems(inspect_iso(one.path, now=now))


def test_a_server_certificate_is_no_identity(
    make_iso: MakeIso, patch: Callable[[Made, str, bytes], None], authority: Authority, now: datetime.datetime
) -> None:
    made = make_iso()
    patch(made, CLIENT, issue_service_certificate(authority, dns_names=["x.example"], now=now).client_pem)
    assert "is not a client's certificate" in problems(inspect_iso(made.path, now=now))


def test_a_single_flipped_bit_in_the_agent_is_told(make_iso: MakeIso, now: datetime.datetime) -> None:
    made = make_iso()
    content = bytearray(made.path.read_bytes())
    content[content.find(PAYLOAD[AGENT]) + 100] ^= 1
    made.path.write_bytes(content)
    report = inspect_iso(made.path, now=now)
    assert report.problems == ("agent/ngt_agent.pyz is altered",)
    assert [file.path for file in report.files if file.state == "altered"] == [AGENT]


def test_files_that_the_manifest_does_not_name_or_that_are_missing_are_told(
    make_iso: MakeIso, now: datetime.datetime, tmp_path: Path
) -> None:
    made = make_iso()
    slots = {path: content.ljust(SLOTS[path], b"\n") for path, content in made.unsigned.slots.items()}
    files: dict[str, bytes | Path] = {**PAYLOAD, **slots, CLIENT: made.client_pem, "extras/foreign": b""}
    del files[AGENT]
    with (tmp_path / "x.iso").open("w+b") as stream:
        author(stream, files)
    assert inspect_iso(tmp_path / "x.iso", now=now).problems == (
        "agent/ngt_agent.pyz is missing",
        "extras/foreign is unlisted",
    )


def test_foreign_volumes_are_read_without_being_trusted(now: datetime.datetime, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "link").symlink_to("/etc/passwd")
    (tree / "plain").write_text("x")
    made = tool("genisoimage", "-quiet", "-R", "-V", "OTHER", "-o", str(tmp_path / "x.iso"), str(tree))
    assert made.returncode == 0, made.stderr
    report = inspect_iso(tmp_path / "x.iso", now=now)
    text = problems(report)
    assert report.label == "OTHER"
    assert "manifest.json is missing" in text
    assert "link is not a plain file" in text
    assert "no Joliet names" in text


@pytest.mark.parametrize("content", [b"", b"x" * 100_000, bytes(64 * 2048)])
def test_what_is_no_volume_is_refused(tmp_path: Path, now: datetime.datetime, content: bytes) -> None:
    (tmp_path / "x.iso").write_bytes(content)
    with pytest.raises(OpenNGTError) as caught:
        inspect_iso(tmp_path / "x.iso", now=now)
    assert caught.value.code == "DISC_INVALID"


@pytest.mark.parametrize("name", ["missing.iso", "."])
def test_what_is_no_file_is_not_found(tmp_path: Path, now: datetime.datetime, name: str) -> None:
    with pytest.raises(OpenNGTError) as caught:
        inspect_iso(tmp_path / name, now=now)
    assert caught.value.code == "DISC_NOT_FOUND"


def test_800_damaged_volumes_are_judged_without_a_crash(make_iso: MakeIso, now: datetime.datetime) -> None:
    """Damage goes to the descriptors and folders, where a reader can be led astray, and to the slots."""
    made = make_iso()
    whole = made.path.read_bytes()
    used = [at for at in range(16 * 2048, len(whole)) if whole[at] != 0x0A][:60_000]
    chance = random.Random(20261121)
    outcomes = set()
    with made.path.open("r+b") as stream:
        for _ in range(800):
            places = [chance.choice(used) for _ in range(chance.choice([1, 1, 4]))]
            for at in places:
                stream.seek(at)
                stream.write(bytes([chance.choice([0, 1, 0x7F, 0xFF, chance.randrange(256)])]))
            stream.flush()
            try:
                outcomes.add(inspect_iso(made.path, now=now).verified)
            except OpenNGTError as exc:
                assert exc.code == "DISC_INVALID", exc
                outcomes.add(exc.code)
            for at in places:
                stream.seek(at)
                stream.write(whole[at : at + 1])
    assert outcomes == {True, False, "DISC_INVALID"}


def test_a_report_is_made_of_plain_values(make_iso: MakeIso, now: datetime.datetime) -> None:
    assert dataclasses.asdict(inspect_iso(make_iso().path, now=now))["label"] == "NUTANIX_TOOLS"
