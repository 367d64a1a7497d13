# SPDX-License-Identifier: GPL-3.0-or-later
"""What we issue, as openssl and real TLS handshakes judge it."""

import datetime
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from openngt.errors import OpenNGTError
from openngt.pki.authority import Authority, create_authority
from openngt.pki.inspect import inspect_certificate
from openngt.pki.issue import (
    IssuedCertificate,
    VmCertificateRequest,
    issue_service_certificate,
    issue_vm_certificate,
)
from openngt.pki.key_types import KeyType

OpenSSL = Callable[..., subprocess.CompletedProcess[str]]
RequestFor = Callable[..., VmCertificateRequest]
DIGEST = "ab" * 32
SERVICE_NAME = "guest-tools.6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"
KEY_TYPES = get_args(KeyType)
DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module", params=KEY_TYPES)
def any_authority(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, now: datetime.datetime
) -> Authority:
    """A CA of each key type."""
    folder = tmp_path_factory.mktemp("any") / "ca"
    return create_authority(folder, common_name="Any CA", now=now, key_type=request.param)


@pytest.fixture(scope="module")
def service_certificate(authority: Authority, now: datetime.datetime) -> IssuedCertificate:
    return issue_service_certificate(
        authority, dns_names=[SERVICE_NAME], ip_addresses=["127.0.0.1", "2001:db8::1"], validity=30 * DAY, now=now
    )


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_openssl_accepts_a_vm_certificate_as_client_only(
    key_type: KeyType, authority: Authority, request_for: RequestFor, now: datetime.datetime, openssl: OpenSSL
) -> None:
    issued = issue_vm_certificate(authority, request_for(key_type=key_type), now=now)
    verify = ["verify", "-x509_strict", "-CAfile", authority.certificate_pem]
    assert openssl(*verify, "-purpose", "sslclient", issued.certificate_pem).returncode == 0
    refused = openssl(*verify, "-purpose", "sslserver", issued.certificate_pem)
    assert refused.returncode != 0
    assert re.search("unsuitable certificate purpose|unsupported certificate purpose", refused.stderr)


def test_a_ca_of_each_key_type_issues_what_openssl_accepts(
    any_authority: Authority, request_for: RequestFor, now: datetime.datetime, openssl: OpenSSL
) -> None:
    issued = issue_vm_certificate(any_authority, request_for(), now=now)
    verify = ["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", any_authority.certificate_pem]
    verified = openssl(*verify, issued.certificate_pem)
    assert verified.returncode == 0, verified.stderr


def test_openssl_reads_identity_and_constraints(
    authority: Authority, request_for: RequestFor, now: datetime.datetime, openssl: OpenSSL
) -> None:
    request = request_for(manifest_sha256=DIGEST)
    issued = issue_vm_certificate(authority, request, now=now)
    text = openssl("x509", "-in", issued.certificate_pem, "-noout", "-text").stdout
    assert f"Subject: CN = {request.ngt_uuid}\n" in text
    assert (
        f"URI:urn:openngt:vm:{request.vm_uuid}, URI:urn:openngt:generation:3, "
        f"URI:urn:openngt:manifest:sha256:{DIGEST}\n"
    ) in text
    assert "X509v3 Basic Constraints: critical\n                CA:FALSE\n" in text
    assert "X509v3 Key Usage: critical\n                Digital Signature\n" in text
    assert "X509v3 Extended Key Usage: critical\n                TLS Web Client Authentication\n" in text
    assert "X509v3 Subject Key Identifier" in text
    assert "X509v3 Authority Key Identifier" in text
    fields = openssl("x509", "-in", issued.certificate_pem, "-noout", "-serial", "-fingerprint", "-sha256").stdout
    serial, fingerprint = (line.partition("=")[2] for line in fields.splitlines())
    assert serial.lower().lstrip("0") == issued.serial
    assert fingerprint.replace(":", "").lower() == issued.sha256


def test_a_link_certificate_names_no_manifest(
    authority: Authority, request_for: RequestFor, now: datetime.datetime, openssl: OpenSSL
) -> None:
    issued = issue_vm_certificate(authority, request_for(), now=now)
    assert "manifest" not in openssl("x509", "-in", issued.certificate_pem, "-noout", "-text").stdout


def test_validity_counts_from_now_and_begins_a_day_back(
    authority: Authority, request_for: RequestFor, now: datetime.datetime
) -> None:
    issued = issue_vm_certificate(authority, request_for(validity=12 * DAY), now=now.replace(microsecond=999_999))
    info = inspect_certificate(issued.certificate_pem)
    assert (issued.not_before, issued.not_after) == (now - DAY, now + 12 * DAY)
    assert (info.not_before, info.not_after) == (issued.not_before, issued.not_after)


def test_the_key_belongs_to_the_certificate_and_stands_before_it(
    authority: Authority, request_for: RequestFor, now: datetime.datetime, openssl: OpenSSL
) -> None:
    issued = issue_vm_certificate(authority, request_for(), now=now)
    from_key = openssl("pkey", "-in", issued.client_pem, "-pubout").stdout
    from_certificate = openssl("x509", "-in", issued.client_pem, "-noout", "-pubkey").stdout
    assert from_key == from_certificate != ""
    assert re.findall(b"-----BEGIN (.+)-----", issued.client_pem) == [b"PRIVATE KEY", b"CERTIFICATE"]


def test_each_serial_and_key_is_new(authority: Authority, request_for: RequestFor, now: datetime.datetime) -> None:
    issued = [issue_vm_certificate(authority, request_for(), now=now) for _ in range(50)]
    assert len({one.serial for one in issued}) == len({one.private_key_pem for one in issued}) == 50
    assert all(0 < int(one.serial, 16) < 2**159 and one.serial == f"{int(one.serial, 16):x}" for one in issued)
    assert max(int(one.serial, 16) for one in issued) >= 2**150


def test_a_given_public_key_is_certified_and_no_private_key_made(
    authority: Authority, request_for: RequestFor, now: datetime.datetime, openssl: OpenSSL
) -> None:
    private = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256").stdout
    public = openssl("pkey", "-in", private.encode(), "-pubout").stdout
    issued = issue_vm_certificate(authority, request_for(public_key_pem=public.encode()), now=now)
    assert issued.private_key_pem is None
    assert openssl("x509", "-in", issued.certificate_pem, "-noout", "-pubkey").stdout == public
    with pytest.raises(OpenNGTError, match="private key"):
        _ = issued.client_pem


@pytest.mark.parametrize("algorithm", [["RSA", "-pkeyopt", "rsa_keygen_bits:1024"], ["X25519"], ["ED448"]])
def test_a_public_key_that_we_would_not_make_is_refused(
    algorithm: list[str], authority: Authority, request_for: RequestFor, now: datetime.datetime, openssl: OpenSSL
) -> None:
    private = openssl("genpkey", "-algorithm", *algorithm).stdout
    public = openssl("pkey", "-in", private.encode(), "-pubout").stdout
    assert public
    with pytest.raises(OpenNGTError) as caught:
        issue_vm_certificate(authority, request_for(public_key_pem=public.encode()), now=now)
    assert (caught.value.code, caught.value.details["field"]) == ("INVALID_INPUT", "public_key_pem")


def test_what_is_no_public_key_is_refused(
    authority: Authority, request_for: RequestFor, now: datetime.datetime
) -> None:
    with pytest.raises(OpenNGTError) as caught:
        issue_vm_certificate(authority, request_for(public_key_pem=b"nothing"), now=now)
    assert caught.value.code == "INVALID_INPUT"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vm_uuid", "web1"),
        ("vm_uuid", "{6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21}"),
        ("vm_uuid", "6f1c0c2e9d3a4d0e8a550c6a1f0b7e21"),
        ("vm_uuid", "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21\n"),
        ("ngt_uuid", ""),
        ("generation", 0),
        ("kind", "other"),
        ("manifest_sha256", "AB" * 32),
    ],
)
def test_a_malformed_field_is_named(field: str, value: object, request_for: RequestFor) -> None:
    with pytest.raises(OpenNGTError) as caught:
        request_for(**{field: value})
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": field})


def test_uuids_are_written_in_lower_case(request_for: RequestFor) -> None:
    request = request_for(vm_uuid="6F1C0C2E-9D3A-4D0E-8A55-0C6A1F0B7E21")
    assert request.vm_uuid == "6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e21"


def test_no_certificate_outlives_its_ca(authority: Authority, request_for: RequestFor, now: datetime.datetime) -> None:
    longest = authority.not_after - now
    assert issue_vm_certificate(authority, request_for(validity=longest), now=now).not_after == authority.not_after
    with pytest.raises(OpenNGTError) as caught:
        issue_vm_certificate(authority, request_for(validity=longest + datetime.timedelta(seconds=1)), now=now)
    assert (caught.value.code, caught.value.details["at_most_days"]) == ("INVALID_INPUT", 3650)


@pytest.mark.parametrize("validity", [datetime.timedelta(0), -DAY])
def test_a_certificate_is_valid_for_some_time(
    validity: datetime.timedelta, authority: Authority, request_for: RequestFor, now: datetime.datetime
) -> None:
    with pytest.raises(OpenNGTError) as caught:
        issue_vm_certificate(authority, request_for(validity=validity), now=now)
    assert caught.value.code == "INVALID_INPUT"


def test_an_expired_ca_says_so(authority: Authority, request_for: RequestFor) -> None:
    with pytest.raises(OpenNGTError) as caught:
        issue_vm_certificate(authority, request_for(), now=authority.not_after)
    assert caught.value.code == "CA_EXPIRED"


def test_openssl_accepts_a_service_certificate_as_server_only(
    service_certificate: IssuedCertificate, authority: Authority, openssl: OpenSSL
) -> None:
    verify = ["verify", "-x509_strict", "-CAfile", authority.certificate_pem]
    pem = service_certificate.certificate_pem
    assert openssl(*verify, "-purpose", "sslserver", "-verify_hostname", SERVICE_NAME, pem).returncode == 0
    assert openssl(*verify, "-purpose", "sslserver", "-verify_ip", "2001:db8::1", pem).returncode == 0
    assert openssl(*verify, "-purpose", "sslserver", "-verify_hostname", "guest-tools.other", pem).returncode != 0
    assert openssl(*verify, "-purpose", "sslclient", pem).returncode != 0


@pytest.mark.parametrize(
    ("names", "addresses", "field"),
    [
        ([], [], "dns_names"),
        (["Upper.example"], [], "dns_names"),
        (["*.example"], [], "dns_names"),
        (["a..example"], [], "dns_names"),
        (["x" * 64], [], "dns_names"),
        (["ok.example"], ["300.0.0.1"], "ip_addresses"),
    ],
)
def test_a_malformed_service_name_is_refused(
    names: list[str], addresses: list[str], field: str, authority: Authority, now: datetime.datetime
) -> None:
    with pytest.raises(OpenNGTError) as caught:
        issue_service_certificate(authority, dns_names=names, ip_addresses=addresses, now=now)
    assert (caught.value.code, caught.value.details) == ("INVALID_INPUT", {"field": field})


def test_secrets_are_not_in_the_representation(
    authority: Authority, request_for: RequestFor, now: datetime.datetime
) -> None:
    issued = issue_vm_certificate(authority, request_for(), now=now)
    assert "PRIVATE" not in repr(issued)


def context(side: ssl.Purpose, authority: Authority, identity: IssuedCertificate, folder: Path) -> ssl.SSLContext:
    """As strict as Python can be: newer versions switch VERIFY_X509_STRICT on by themselves."""
    made = ssl.create_default_context(side, cadata=authority.certificate_pem.decode())
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    path = folder / f"{side.shortname}.pem"
    path.write_bytes(identity.client_pem)
    made.load_cert_chain(path)
    return made


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Send a byte each way; 'ok', or who refused."""
    near, far = socket.socketpair()
    refusals: list[str] = []

    def serve() -> None:
        try:
            with far, server.wrap_socket(far, server_side=True) as connection:
                connection.sendall(connection.recv(1))
        except ssl.SSLError as exc:
            refusals.append(f"server: {exc.reason}")
        except OSError:
            refusals.append("server: gone")

    thread = threading.Thread(target=serve)
    thread.start()
    outcome = "ok"
    try:
        near.settimeout(10)
        with near, client.wrap_socket(near, server_hostname=SERVICE_NAME) as connection:
            connection.sendall(b"x")
            outcome = "ok" if connection.recv(1) == b"x" else "closed"
    except ssl.SSLCertVerificationError as exc:
        outcome = f"client: {exc.verify_message}"
    except OSError:
        outcome = "closed"
    thread.join()
    return refusals[0] if refusals and not outcome.startswith("client") else outcome


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_agent_and_gateway_shake_hands(
    key_type: KeyType,
    authority: Authority,
    service_certificate: IssuedCertificate,
    request_for: RequestFor,
    now: datetime.datetime,
    tmp_path: Path,
) -> None:
    vm = issue_vm_certificate(authority, request_for(key_type=key_type), now=now)
    server = context(ssl.Purpose.CLIENT_AUTH, authority, service_certificate, tmp_path)
    assert shake_hands(server, context(ssl.Purpose.SERVER_AUTH, authority, vm, tmp_path)) == "ok"


def test_a_service_certificate_cannot_act_as_an_agent(
    authority: Authority, service_certificate: IssuedCertificate, tmp_path: Path
) -> None:
    server = context(ssl.Purpose.CLIENT_AUTH, authority, service_certificate, tmp_path)
    client = context(ssl.Purpose.SERVER_AUTH, authority, service_certificate, tmp_path)
    assert shake_hands(server, client) == "server: CERTIFICATE_VERIFY_FAILED"


def test_a_vm_certificate_cannot_act_as_a_gateway(
    authority: Authority, request_for: RequestFor, now: datetime.datetime, tmp_path: Path
) -> None:
    vm = issue_vm_certificate(authority, request_for(), now=now)
    server = context(ssl.Purpose.CLIENT_AUTH, authority, vm, tmp_path)
    client = context(ssl.Purpose.SERVER_AUTH, authority, vm, tmp_path)
    assert shake_hands(server, client).startswith("client: unsuitable certificate purpose")


def test_another_ca_s_certificate_is_refused(
    any_authority: Authority,
    authority: Authority,
    service_certificate: IssuedCertificate,
    request_for: RequestFor,
    now: datetime.datetime,
    tmp_path: Path,
) -> None:
    foreign = issue_vm_certificate(any_authority, request_for(), now=now)
    server = context(ssl.Purpose.CLIENT_AUTH, authority, service_certificate, tmp_path)
    client = context(ssl.Purpose.SERVER_AUTH, authority, foreign, tmp_path)
    assert shake_hands(server, client) == "server: CERTIFICATE_VERIFY_FAILED"
