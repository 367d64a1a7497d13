# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway's TLS is set to, and what it reads of a certificate (T12), without a connection."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from openngt_service.gateway import tls
from openngt_service.gateway.limits import Limits

from .conftest import Pki


def test_the_tls_policy_does_not_regress(pki: Pki) -> None:
    context = tls.server_context(pki.gateway_pem, pki.ca_file)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.num_tickets == 0 and context.options & ssl.OP_NO_TICKET
    assert context.options & ssl.OP_NO_RENEGOTIATION and context.options & ssl.OP_NO_COMPRESSION
    assert {cipher["aead"] for cipher in context.get_ciphers()} == {True}
    assert {cipher["kea"] for cipher in context.get_ciphers()} <= {"kx-ecdhe", "kx-any"}, "forward secrecy"
    assert Limits().handshake_seconds <= 5 and Limits().first_frame_seconds <= 5


def test_a_key_that_others_can_read_is_not_used(pki: Pki, tmp_path: Path) -> None:
    path = tmp_path / "gateway.pem"
    path.write_bytes(pki.gateway_pem.read_bytes())
    path.chmod(0o640)
    with pytest.raises(tls.OpenNGTError, match="0600"):
        tls.server_context(path, pki.ca_file)
    with pytest.raises(tls.OpenNGTError, match="cannot use"):
        tls.server_context(tmp_path / "missing.pem", pki.ca_file)


REASONS = [
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "no_certificate"),
    ("UNSUPPORTED_PROTOCOL", "protocol_version"),
    ("WRONG_VERSION_NUMBER", "handshake_failed"),
    (None, "handshake_failed"),
]


@pytest.mark.parametrize(("text", "refusal"), REASONS)
def test_the_reason_of_a_failed_handshake_is_a_pure_function(text: str | None, refusal: str) -> None:
    failure = ssl.SSLError(1, "text")
    failure.reason = text  # type: ignore[assignment]  # OpenSSL gives none for some failures
    assert tls.refusal_of(failure) == refusal


@pytest.mark.parametrize("serial", [1, 127, 128, 255, 256, 2**64, 2**158, 2**159 - 1])
def test_the_serial_is_read_from_the_certificate_as_another_parser_reads_it(pki: Pki, serial: int) -> None:
    request = x509.load_pem_x509_certificate(pki.identity().client_pem.read_bytes().split(b"KEY-----\n")[-1])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(request.issuer)
        .public_key(request.public_key())
        .serial_number(serial)
        .not_valid_before(request.not_valid_before_utc)
        .not_valid_after(request.not_valid_after_utc)
        .sign(pki.authority.private_key, hashes.SHA256())
    )
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert tls.serial_of(der) == x509.load_der_x509_certificate(der).serial_number == serial
