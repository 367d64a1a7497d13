# SPDX-License-Identifier: GPL-3.0-or-later
"""What a PEM file says: certificates as plain values."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import OpenNGTError
from . import _x509
from ._time import rfc3339
from .expiry import days_left, expiry_state
from .identity import parse_identity_uris

__all__ = ["CertificateInfo", "certificate_facts", "describe_certificate", "inspect_certificate", "load_certificate"]

USAGES = {"1.3.6.1.5.5.7.3.1": "serverAuth", "1.3.6.1.5.5.7.3.2": "clientAuth"}
BEGIN, END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


@dataclass(frozen=True)
class CertificateInfo:
    serial: str
    """Lower-case hex without prefix."""
    vm_uuid: str | None
    """None, as the next three, for a certificate that is not a VM's."""
    ngt_uuid: str | None
    generation: int | None
    manifest_sha256: str | None
    """Also None for a VM's certificate that did not travel on an ISO."""
    not_before: datetime.datetime
    not_after: datetime.datetime
    key_type: str
    """One of KEY_TYPES, or another text such as `rsa-4096` for a certificate that is not of our making."""
    issuer: str
    """Common name of the issuer, or its whole name where it has none."""
    sha256: str
    """Lower-case hex over the certificate's DER."""
    is_ca: bool
    usages: tuple[str, ...]
    """`clientAuth`, `serverAuth`, or the dotted OID of another extended key usage, sorted."""


def inspect_certificate(pem: bytes) -> CertificateInfo:
    """Describe the first certificate in `pem`; keys and further certificates around it are skipped.

    CERTIFICATE_INVALID when there is none, or it cannot be read. Proves nothing: no signature is checked.
    """
    return describe_certificate(load_certificate(pem))


def certificate_facts(info: CertificateInfo, now: datetime.datetime) -> dict[str, Any]:
    """The JSON form: the fields of `info` (times RFC 3339), `days_left` and `expiry`."""
    return {
        **asdict(info),
        "not_before": rfc3339(info.not_before),
        "not_after": rfc3339(info.not_after),
        "usages": list(info.usages),
        "days_left": days_left(info.not_after, now),
        "expiry": expiry_state(info.not_after, now),
    }


def load_certificate(pem: bytes) -> _x509.x509.Certificate:
    """The first certificate in `pem`, or CERTIFICATE_INVALID."""
    _x509.require()
    begin = pem.find(BEGIN)
    end = pem.find(END, begin)
    if begin < 0 or end < 0:
        raise OpenNGTError("CERTIFICATE_INVALID", "no certificate in PEM form was found")
    try:
        return _x509.x509.load_pem_x509_certificate(pem[begin : end + len(END)])
    except (ValueError, _x509.x509.InvalidVersion) as exc:
        raise OpenNGTError("CERTIFICATE_INVALID", f"the certificate cannot be read: {exc}") from exc


def describe_certificate(certificate: _x509.x509.Certificate) -> CertificateInfo:
    """As `inspect_certificate`, for a certificate that has been loaded."""
    # Fields are parsed when they are asked for: what is wrong with them shows only here.
    unreadable = (
        ValueError,
        _x509.UnsupportedAlgorithm,
        _x509.x509.DuplicateExtension,
        _x509.x509.UnsupportedGeneralNameType,
    )
    try:
        return _describe(certificate)
    except unreadable as exc:
        raise OpenNGTError("CERTIFICATE_INVALID", f"the certificate cannot be read: {exc}") from exc


def _describe(certificate: _x509.x509.Certificate) -> CertificateInfo:
    x509 = _x509.x509
    if certificate.serial_number <= 0:
        raise OpenNGTError("CERTIFICATE_INVALID", "the certificate's serial number is not positive")
    uris: list[str] = []
    usages: list[str] = []
    is_ca = False
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            uris = value.get_values_for_type(x509.UniformResourceIdentifier)
        elif isinstance(value, x509.ExtendedKeyUsage):
            usages = [USAGES.get(oid.dotted_string, oid.dotted_string) for oid in value]
        elif isinstance(value, x509.BasicConstraints):
            is_ca = value.ca
    identity = parse_identity_uris(uris)
    return CertificateInfo(
        serial=f"{certificate.serial_number:x}",
        vm_uuid=identity.vm_uuid if identity else None,
        ngt_uuid=_name(certificate.subject) if identity else None,
        generation=identity.generation if identity else None,
        manifest_sha256=identity.manifest_sha256 if identity else None,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key_type=_x509.key_type_of(certificate.public_key()),
        issuer=_name(certificate.issuer),
        sha256=hashlib.sha256(certificate.public_bytes(_x509.serialization.Encoding.DER)).hexdigest(),
        is_ca=is_ca,
        usages=tuple(sorted(usages)),
    )


def _name(name: _x509.x509.Name) -> str:
    texts = [str(attribute.value) for attribute in name.get_attributes_for_oid(_x509.NameOID.COMMON_NAME)]
    return texts[0] if len(texts) == 1 else name.rfc4514_string()
