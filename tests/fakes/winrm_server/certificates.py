# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of listeners and users: good ones, and each kind of bad one."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
import uuid
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Certificate", "make_certificate"]


class Certificate(NamedTuple):
    """Two PEM files and what a client pins. `file` is also the CA file: the certificate has signed itself."""

    file: Path
    key_file: Path
    thumbprint: str

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.file.read_text())


def make_certificate(
    folder: Path,
    *names: str,
    expired: bool = False,
    client: bool = False,
) -> Certificate:
    """A self-signed one, as `New-SelfSignedCertificate` makes it: no CA, not critical. Default name: 127.0.0.1."""
    stem = uuid.uuid4().hex
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    begin, end = (now - datetime.timedelta(days=d) for d in ((400, 35) if expired else (1, -365)))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "WIN-GUEST")])
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    built = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([_name(each) for each in names or ("127.0.0.1",)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / f"{stem}.pem", folder / f"{stem}.key", built.fingerprint(hashes.SHA256()).hex())
    made.file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    made.key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    made.key_file.chmod(0o600)
    assert hashlib.sha256(made.der).hexdigest() == made.thumbprint
    return made


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
