# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates read as plain values; what cannot be read is one error, whatever is wrong with it."""

import datetime
import ssl
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openngt.errors import OpenNGTError
from openngt.pki.authority import Authority
from openngt.pki.inspect import certificate_facts, inspect_certificate
from openngt.pki.issue import VmCertificateRequest, issue_service_certificate, issue_vm_certificate
from openngt.pki.key_types import KEY_TYPES, KeyType

OpenSSL = Callable[..., subprocess.CompletedProcess[str]]
RequestFor = Callable[..., VmCertificateRequest]


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_what_was_issued_is_what_is_read(
    key_type: KeyType, authority: Authority, request_for: RequestFor, now: datetime.datetime
) -> None:
    request = request_for(key_type=key_type, manifest_sha256="ab" * 32)
    issued = issue_vm_certificate(authority, request, now=now)
    info = inspect_certificate(issued.client_pem)
    assert (info.vm_uuid, info.ngt_uuid, info.generation) == (request.vm_uuid, request.ngt_uuid, 3)
    assert (info.serial, info.sha256, info.manifest_sha256) == (issued.serial, issued.sha256, "ab" * 32)
    assert (info.key_type, info.issuer, info.is_ca, info.usages) == (key_type, "Test CA", False, ("clientAuth",))


def test_a_service_certificate_is_no_vm_s(authority: Authority, now: datetime.datetime) -> None:
    issued = issue_service_certificate(authority, dns_names=["guest-tools.example"], now=now)
    info = inspect_certificate(issued.certificate_pem)
    assert (info.vm_uuid, info.ngt_uuid, info.generation, info.usages) == (None, None, None, ("serverAuth",))


def test_a_ca_is_told(authority: Authority) -> None:
    info = inspect_certificate(authority.certificate_pem)
    assert (info.is_ca, info.usages, info.sha256) == (True, (), authority.ca_sha256)


def test_the_first_certificate_counts(authority: Authority, request_for: RequestFor, now: datetime.datetime) -> None:
    issued = issue_vm_certificate(authority, request_for(), now=now)
    text = b"# openngt identity 1 {}\n" + issued.client_pem + authority.certificate_pem
    assert inspect_certificate(text).serial == issued.serial


@pytest.mark.parametrize(
    ("algorithm", "key_type"),
    [
        (["EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "ecdsa-secp384r1"),
        (["RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "rsa-1024"),
        (["ED448"], "unknown"),
    ],
)
def test_a_certificate_from_elsewhere_is_described(algorithm: list[str], key_type: str, openssl: OpenSSL) -> None:
    key = openssl("genpkey", "-algorithm", *algorithm).stdout.encode()
    made = openssl("req", "-x509", "-new", "-key", key, "-subj", "/O=Elsewhere/OU=Lab", "-days", "9").stdout
    info = inspect_certificate(made.encode())
    assert (info.key_type, info.issuer, info.vm_uuid) == (key_type, "OU=Lab,O=Elsewhere", None)


def test_a_certificate_that_names_two_vms_is_refused(openssl: OpenSSL) -> None:
    key = openssl("genpkey", "-algorithm", "ED25519").stdout.encode()
    vm = "URI:urn:openngt:vm:6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e2"
    names = f"subjectAltName={vm}1,{vm}2,URI:urn:openngt:generation:1"
    made = openssl("req", "-x509", "-new", "-key", key, "-subj", "/CN=x", "-addext", names).stdout
    assert made
    with pytest.raises(OpenNGTError, match="names its vm more than once") as caught:
        inspect_certificate(made.encode())
    assert caught.value.code == "CERTIFICATE_INVALID"


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"nothing",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"\xff\xfe\x00" * 100,
    ],
)
def test_what_is_no_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(OpenNGTError) as caught:
        inspect_certificate(pem)
    assert caught.value.code == "CERTIFICATE_INVALID"


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@settings(max_examples=1000, deadline=None)
@given(data=st.data())
def test_an_altered_certificate_is_read_or_refused(authority: Authority, data: st.DataObject) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert(authority.certificate_pem.decode()))
    positions = st.integers(0, len(der) - 1)
    for position, value in data.draw(st.lists(st.tuples(positions, st.integers(0, 255)), min_size=1, max_size=4)):
        der[position] = value
    cut = data.draw(st.none() | positions)
    try:
        inspect_certificate(ssl.DER_cert_to_PEM_cert(bytes(der[:cut])).encode())
    except OpenNGTError as error:
        assert error.code == "CERTIFICATE_INVALID"


def test_facts_are_json_with_times_in_utc(
    authority: Authority, request_for: RequestFor, now: datetime.datetime
) -> None:
    issued = issue_vm_certificate(authority, request_for(), now=now)
    facts: dict[str, Any] = certificate_facts(inspect_certificate(issued.certificate_pem), now)
    assert facts["not_after"] == f"{issued.not_after:%Y-%m-%dT%H:%M:%SZ}"
    assert (facts["days_left"], facts["expiry"], facts["usages"]) == (1000, "PASS", ["clientAuth"])
