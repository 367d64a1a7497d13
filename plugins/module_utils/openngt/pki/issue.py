# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates signed by the CA: for a VM, and for the service. Pure: nothing is read, written or remembered here.

Whoever hands a certificate out writes it down first, in the service's ledger or in the issue log.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, get_args

from ..errors import OpenNGTError
from . import _x509
from .authority import BACKDATE, Authority
from .identity import VmIdentity, identity_uris, normalise_uuid
from .key_types import DEFAULT_KEY_TYPE, KEY_TYPES, KeyType

__all__ = [
    "CERTIFICATE_KINDS",
    "VM_VALIDITY",
    "CertificateKind",
    "IssuedCertificate",
    "VmCertificateRequest",
    "check_validity",
    "issue_service_certificate",
    "issue_vm_certificate",
    "issue_voucher",
]

CertificateKind = Literal["bootstrap", "link", "external"]
CERTIFICATE_KINDS: tuple[CertificateKind, ...] = get_args(CertificateKind)

VM_VALIDITY = datetime.timedelta(days=1000)

SERVICE_COMMON_NAME = "openngt service"
VOUCHER_COMMON_NAME = "openngt upgrade"
DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_GENERATIONS = 10**18


@dataclass(frozen=True)
class VmCertificateRequest:
    """What a VM's certificate shall say. UUIDs are normalised to lower case; INVALID_INPUT names the field.

    With `public_key_pem` (SubjectPublicKeyInfo) the key stays where it was made and `key_type` is not looked at.
    """

    vm_uuid: str
    ngt_uuid: str
    generation: int
    kind: CertificateKind
    validity: datetime.timedelta = VM_VALIDITY
    manifest_sha256: str | None = None
    key_type: KeyType = DEFAULT_KEY_TYPE
    public_key_pem: bytes | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "vm_uuid", normalise_uuid(self.vm_uuid, "vm_uuid"))
        object.__setattr__(self, "ngt_uuid", normalise_uuid(self.ngt_uuid, "ngt_uuid"))
        if not 1 <= self.generation < MOST_GENERATIONS:
            raise OpenNGTError("INVALID_INPUT", "generation must be 1 or higher", {"field": "generation"})
        if self.kind not in CERTIFICATE_KINDS:
            raise OpenNGTError("INVALID_INPUT", "kind must be bootstrap, link or external", {"field": "kind"})
        if self.manifest_sha256 is not None and SHA256.fullmatch(self.manifest_sha256) is None:
            raise OpenNGTError(
                "INVALID_INPUT", "manifest_sha256 must be 64 lower-case hex digits", {"field": "manifest_sha256"}
            )


@dataclass(frozen=True)
class IssuedCertificate:
    certificate_pem: bytes
    private_key_pem: bytes | None = field(repr=False)
    """PKCS#8 without a passphrase; None when the caller gave the public key."""
    serial: str
    """Lower-case hex without prefix."""
    not_before: datetime.datetime
    not_after: datetime.datetime
    sha256: str
    """Lower-case hex over the certificate's DER."""

    @property
    def client_pem(self) -> bytes:
        """Key, then leaf: the content of `client.pem`, and of the service's own `gateway.pem` and `api.pem`."""
        if self.private_key_pem is None:
            raise OpenNGTError("INVALID_INPUT", "the private key of this certificate is with whoever asked for it")
        return self.private_key_pem + self.certificate_pem


def issue_vm_certificate(
    authority: Authority, request: VmCertificateRequest, *, now: datetime.datetime
) -> IssuedCertificate:
    """A client certificate that names one VM (ARCHITECTURE.md, section 2), valid for `request.validity` from now on.

    CA_EXPIRED; INVALID_INPUT when it would outlive its CA, or for a public key that is no key of ours.
    """
    identity = VmIdentity(request.vm_uuid, request.generation, request.manifest_sha256)
    names = [_x509.x509.UniformResourceIdentifier(uri) for uri in identity_uris(identity)]
    if request.public_key_pem is None:
        key = _x509.generate_key(request.key_type)
        public_key, private_key_pem = key.public_key(), _x509.private_key_pem(key)
    else:
        public_key, private_key_pem = _foreign_public_key(request.public_key_pem), None
    return _issue_leaf(
        authority,
        common_name=request.ngt_uuid,
        names=names,
        usage="clientAuth",
        public_key=public_key,
        private_key_pem=private_key_pem,
        validity=request.validity,
        now=now,
    )


def issue_service_certificate(
    authority: Authority,
    *,
    dns_names: Sequence[str],
    now: datetime.datetime,
    ip_addresses: Sequence[str] = (),
    validity: datetime.timedelta = VM_VALIDITY,
    key_type: KeyType = DEFAULT_KEY_TYPE,
) -> IssuedCertificate:
    """A server certificate for the gateway or the API; it can never act as a VM.

    CA_EXPIRED; INVALID_INPUT when it would outlive its CA, names nothing, or a name or address is malformed.
    """
    names: list[_x509.x509.GeneralName] = []
    for name in dns_names:
        if DNS_NAME.fullmatch(name) is None:
            raise OpenNGTError(
                "INVALID_INPUT", f"dns_names: {name!r} is not a DNS name in lower case", {"field": "dns_names"}
            )
        names.append(_x509.x509.DNSName(name))
    for address in ip_addresses:
        try:
            names.append(_x509.x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError as exc:
            raise OpenNGTError(
                "INVALID_INPUT", f"ip_addresses: {address!r} is not an IP address", {"field": "ip_addresses"}
            ) from exc
    if not names:
        raise OpenNGTError("INVALID_INPUT", "dns_names or ip_addresses must name the service", {"field": "dns_names"})
    key = _x509.generate_key(key_type)
    return _issue_leaf(
        authority,
        common_name=SERVICE_COMMON_NAME,
        names=names,
        usage="serverAuth",
        public_key=key.public_key(),
        private_key_pem=_x509.private_key_pem(key),
        validity=validity,
        now=now,
    )


def issue_voucher(
    authority: Authority, *, offer_sha256: str, validity: datetime.timedelta, now: datetime.datetime
) -> IssuedCertificate:
    """A certificate that vouches for one offer of an agent, by its digest, and names no VM: it opens no link.

    Its key is worth nothing else and travels with it: the one signature check of an agent is a handshake with itself.
    """
    if SHA256.fullmatch(offer_sha256) is None:
        raise OpenNGTError("INVALID_INPUT", "offer_sha256 must be 64 lower-case hex digits", {"field": "offer_sha256"})
    key = _x509.generate_key(DEFAULT_KEY_TYPE)
    return _issue_leaf(
        authority,
        common_name=VOUCHER_COMMON_NAME,
        names=[_x509.x509.UniformResourceIdentifier(f"urn:openngt:upgrade:sha256:{offer_sha256}")],
        usage="clientAuth",
        public_key=key.public_key(),
        private_key_pem=_x509.private_key_pem(key),
        validity=validity,
        now=now,
    )


def _issue_leaf(
    authority: Authority,
    *,
    common_name: str,
    names: Sequence[_x509.x509.GeneralName],
    usage: Literal["clientAuth", "serverAuth"],
    public_key: _x509.PublicKey,
    private_key_pem: bytes | None,
    validity: datetime.timedelta,
    now: datetime.datetime,
) -> IssuedCertificate:
    now = now.astimezone(datetime.UTC).replace(microsecond=0)
    check_validity(authority, validity, now)
    not_before, not_after = now - BACKDATE, now + validity
    certificate = _x509.sign(
        authority.leaf_template,
        subject=_x509.common_name(common_name),
        public_key=public_key,
        issuer_key=authority.private_key,
        not_before=not_before,
        not_after=not_after,
        extensions=[(_extended_key_usage(usage), True), (_x509.x509.SubjectAlternativeName(names), False)],
    )
    der = certificate.public_bytes(_x509.serialization.Encoding.DER)
    return IssuedCertificate(
        certificate_pem=_x509.certificate_pem(certificate),
        private_key_pem=private_key_pem,
        serial=f"{certificate.serial_number:x}",
        not_before=not_before,
        not_after=not_after,
        sha256=hashlib.sha256(der).hexdigest(),
    )


@cache
def _extended_key_usage(usage: Literal["clientAuth", "serverAuth"]) -> _x509.x509.ExtendedKeyUsage:
    oid = _x509.ExtendedKeyUsageOID
    return _x509.x509.ExtendedKeyUsage([oid.CLIENT_AUTH if usage == "clientAuth" else oid.SERVER_AUTH])


def check_validity(authority: Authority, validity: datetime.timedelta, now: datetime.datetime) -> None:
    """Raise CA_EXPIRED or INVALID_INPUT when the CA cannot issue for so long."""
    if now >= authority.not_after:
        raise OpenNGTError("CA_EXPIRED", f"the CA expired on {authority.not_after:%Y-%m-%d}")
    if validity <= datetime.timedelta(0):
        raise OpenNGTError("INVALID_INPUT", "validity must be longer than nothing", {"field": "validity"})
    if validity > authority.not_after - now:
        most = (authority.not_after - now).days
        raise OpenNGTError(
            "INVALID_INPUT",
            f"validity goes beyond the CA's own end on {authority.not_after:%Y-%m-%d}; ask for {most} days at most",
            {"field": "validity", "at_most_days": most},
        )


def _foreign_public_key(pem: bytes) -> _x509.PublicKey:
    try:
        key = _x509.serialization.load_pem_public_key(pem)
    except (ValueError, _x509.UnsupportedAlgorithm) as exc:
        raise OpenNGTError(
            "INVALID_INPUT", "public_key_pem must be a public key in PEM form", {"field": "public_key_pem"}
        ) from exc
    if not isinstance(key, _x509.PublicKey) or _x509.key_type_of(key) not in KEY_TYPES:
        raise OpenNGTError(
            "INVALID_INPUT",
            f"public_key_pem must be of type {', '.join(KEY_TYPES)}",
            {"field": "public_key_pem", "found": _x509.key_type_of(key)},
        )
    return key
