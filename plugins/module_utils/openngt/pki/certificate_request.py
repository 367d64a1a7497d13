# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest's request for a certificate (PKCS#10): the proof that it holds a key, and nothing else.

Subject and extensions of the request are not read: who asks is known by the link that the request came over.
"""

from __future__ import annotations

from ..errors import OpenNGTError
from . import _x509

__all__ = ["KEY_TYPE", "public_key_of_request"]

KEY_TYPE = "ecdsa-p256"
"""The one kind of key that an agent makes."""

MOST_BYTES = 4096
FIELD = {"field": "csr_pem"}


def public_key_of_request(csr_pem: bytes) -> bytes:
    """The public key (SubjectPublicKeyInfo, PEM) of a request that is signed with its private key.

    INVALID_INPUT for anything else: too long, not a request, another kind of key or curve, a signature of another key.
    """
    _x509.require()
    if len(csr_pem) > MOST_BYTES:
        raise OpenNGTError("INVALID_INPUT", f"csr_pem: {len(csr_pem)} bytes are more than {MOST_BYTES}", FIELD)
    try:
        request = _x509.x509.load_pem_x509_csr(csr_pem)
        key, signed = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, _x509.UnsupportedAlgorithm, _x509.x509.InvalidVersion) as exc:
        raise OpenNGTError("INVALID_INPUT", "csr_pem is no certificate request in PEM form", FIELD) from exc
    found = _x509.key_type_of(key)
    if found != KEY_TYPE:
        raise OpenNGTError("INVALID_INPUT", f"csr_pem: the key must be {KEY_TYPE}, not {found}", FIELD)
    if not signed:
        raise OpenNGTError("INVALID_INPUT", "csr_pem is not signed with the key that it names", FIELD)
    serialization = _x509.serialization
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
