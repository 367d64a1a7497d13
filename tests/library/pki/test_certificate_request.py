# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest's request proves, and what of it is believed. Requests are made by openssl, as in a guest."""

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from openngt.errors import OpenNGTError
from openngt.pki.certificate_request import public_key_of_request

POINT = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
END = b"-----END CERTIFICATE REQUEST-----\n"
P256 = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def request(folder: Path, *key: str, subject: str = "/CN=agent") -> bytes:
    made = ["openssl", "req", "-new", "-newkey", *key, "-nodes", "-keyout", "key.pem", "-subj", subject]
    return subprocess.run(made, cwd=folder, capture_output=True, check=True).stdout


def test_the_public_key_alone_is_taken(tmp_path: Path) -> None:
    """Neither the name nor an extension that is asked for goes anywhere."""
    csr_pem = request(tmp_path, *P256, "-addext", "subjectAltName=URI:urn:openngt:vm:another", subject="/CN=another")
    command = ["openssl", "pkey", "-in", "key.pem", "-pubout"]
    assert (
        public_key_of_request(csr_pem) == subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
    )


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (("ec", "-pkeyopt", "ec_paramgen_curve:P-384"), "not ecdsa-secp384r1"),
        (("ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"), "not ecdsa-secp256k1"),
        (("rsa:2048",), "not rsa-2048"),
        (("ed25519",), "not ed25519"),
    ],
    ids=str,
)
def test_another_kind_of_key_or_curve_is_refused(tmp_path: Path, key: tuple[str, ...], said: str) -> None:
    with pytest.raises(OpenNGTError) as failure:
        public_key_of_request(request(tmp_path, *key))
    assert failure.value.code == "INVALID_INPUT" and said in failure.value.message


def test_a_signature_of_another_key_is_refused(tmp_path: Path) -> None:
    """Whoever has seen a public key could otherwise get a certificate for it."""
    mine, theirs = (x509.load_pem_x509_csr(request(tmp_path, *P256)) for _ in range(2))
    der = mine.public_bytes(serialization.Encoding.DER)
    swapped = der.replace(mine.public_key().public_bytes(*POINT), theirs.public_key().public_bytes(*POINT))
    assert swapped != der
    forged = x509.load_der_x509_csr(swapped).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(OpenNGTError) as failure:
        public_key_of_request(forged)
    assert failure.value.code == "INVALID_INPUT" and "not signed with the key" in failure.value.message


@pytest.mark.parametrize(
    "text",
    [b"", b"no pem", b"-----BEGIN CERTIFICATE REQUEST-----\nTm8=\n-----END CERTIFICATE REQUEST-----\n", b"x" * 4097],
    ids=["nothing", "text", "no DER", "long"],
)
def test_what_is_no_request_is_refused_by_the_name_of_its_field(text: bytes) -> None:
    with pytest.raises(OpenNGTError) as failure:
        public_key_of_request(text)
    assert failure.value.code == "INVALID_INPUT" and failure.value.details == {"field": "csr_pem"}


def test_a_request_with_any_byte_changed_is_refused_or_says_the_same(tmp_path: Path) -> None:
    csr = x509.load_pem_x509_csr(request(tmp_path, *P256))
    der, good = csr.public_bytes(serialization.Encoding.DER), csr.public_key()
    for place in range(len(der)):
        changed = bytearray(der)
        changed[place] ^= 0x01
        pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(bytes(changed)) + END
        try:
            key = public_key_of_request(pem)
        except OpenNGTError as error:
            assert error.code == "INVALID_INPUT"
        else:
            assert serialization.load_pem_public_key(key) == good
