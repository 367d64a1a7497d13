# SPDX-License-Identifier: GPL-3.0-or-later
"""The one file of the library that imports `cryptography`; its siblings write `_x509.name`.

Where the package is missing, importing this file still works, so that a module can answer with LIBRARY_MISSING instead
of a traceback: each entrance of the room calls `require()` before it touches another name of this file.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from ..errors import OpenNGTError
from .key_types import KeyType

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
except ImportError as exc:
    MISSING: ImportError | None = exc
else:
    MISSING = None

__all__ = [
    "ExtendedKeyUsageOID",
    "NameOID",
    "PrivateKey",
    "PublicKey",
    "UnsupportedAlgorithm",
    "certificate_pem",
    "common_name",
    "generate_key",
    "holds_key_of",
    "is_issued_by",
    "key_type_of",
    "key_usage",
    "private_key_pem",
    "require",
    "serialization",
    "sign",
    "template",
    "x509",
]


def require() -> None:
    """Raise LIBRARY_MISSING where `cryptography` cannot be imported."""
    if MISSING is not None:
        raise OpenNGTError(
            "LIBRARY_MISSING", f"the Python library cryptography 42 or newer is needed: {MISSING}"
        ) from MISSING


def generate_key(key_type: KeyType) -> PrivateKey:
    match key_type:
        case "ecdsa-p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "rsa-2048":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "rsa-3072":
            return rsa.generate_private_key(public_exponent=65537, key_size=3072)


def key_type_of(key: object) -> str:
    """Name a public or private key; the name is a KeyType, or another text for a key that we do not issue for."""
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return "ecdsa-p256" if key.curve.name == "secp256r1" else f"ecdsa-{key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return f"rsa-{key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return "ed25519"
    return "unknown"


def private_key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """PKCS#8, encrypted where a passphrase is given."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption(),
    )


def certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def is_issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Whether the CA's key made the certificate's signature."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        # TypeError: a key of a kind that signs nothing. ValueError: another issuer, or a signature of another kind.
        return False
    return True


def holds_key_of(certificate: x509.Certificate, pem: bytes) -> bool:
    """Whether `pem` has, without a passphrase, the private key of the certificate."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False  # TypeError: it is encrypted
    return key.public_key() == certificate.public_key()


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def key_usage(*, digital_signature: bool = False, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def template(issuer: x509.Name, extensions: Sequence[tuple[x509.ExtensionType, bool]]) -> x509.CertificateBuilder:
    """What certificates of one kind have in common, to be made once. `extensions` pairs each with `critical`."""
    builder = x509.CertificateBuilder().issuer_name(issuer)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder


def sign(
    common: x509.CertificateBuilder,
    *,
    subject: x509.Name,
    public_key: PublicKey,
    issuer_key: PrivateKey,
    not_before: datetime.datetime,
    not_after: datetime.datetime,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """Finish a template and sign: the one place where a certificate of ours comes to be.

    The serial is random, 159 bits, which RFC 5280's 20 octets hold without a sign bit.
    """
    builder = (
        common.subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(issuer_key, None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
