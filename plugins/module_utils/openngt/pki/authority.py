# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate authority: a folder with `ca.pem` and `ca.key`, created once and never overwritten."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..effects import file_errors, fsync_directory, replace_file, sweep_unfinished, write_private
from ..errors import OpenNGTError
from ..failpoints import failpoint
from . import _x509
from ._folder import locked
from .inspect import CertificateInfo, describe_certificate, load_certificate
from .key_types import DEFAULT_KEY_TYPE, KEY_TYPES, KeyType

__all__ = [
    "BACKDATE",
    "CA_VALIDITY",
    "Authority",
    "check_common_name",
    "create_authority",
    "create_successor",
    "has_authority",
    "load_authority",
    "load_ca_certificate",
    "load_left_key",
]

BACKDATE = datetime.timedelta(hours=24)
"""How long before its making a certificate becomes valid, for guests whose clock is behind."""

CA_VALIDITY = datetime.timedelta(days=3650)

CERTIFICATE, KEY = "ca.pem", "ca.key"


@dataclass(frozen=True)
class Authority:
    """A CA in memory; it signs without touching its folder again."""

    certificate: _x509.x509.Certificate
    private_key: _x509.PrivateKey = field(repr=False)

    @cached_property
    def info(self) -> CertificateInfo:
        return describe_certificate(self.certificate)

    @property
    def ca_sha256(self) -> str:
        """Lower-case hex SHA-256 of the CA certificate's DER: what agents pin."""
        return self.info.sha256

    @property
    def not_after(self) -> datetime.datetime:
        return self.info.not_after

    @cached_property
    def certificate_pem(self) -> bytes:
        return _x509.certificate_pem(self.certificate)

    @cached_property
    def leaf_template(self) -> _x509.x509.CertificateBuilder:
        """What every certificate that this CA signs has in common: no CA itself, good for signatures, of this CA."""
        x509 = _x509.x509
        own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return _x509.template(
            self.certificate.subject,
            [
                (x509.BasicConstraints(ca=False, path_length=None), True),
                (_x509.key_usage(digital_signature=True), True),
                (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value), False),
            ],
        )


def create_authority(
    folder: Path,
    *,
    common_name: str,
    now: datetime.datetime,
    key_type: KeyType = DEFAULT_KEY_TYPE,
    validity: datetime.timedelta = CA_VALIDITY,
    passphrase: bytes | None = None,
) -> Authority:
    """Make a CA in `folder`, which is created 0700 where it is missing.

    A folder that holds a certificate is CA_EXISTS. One that holds only a key is what a crash left behind: the key is
    taken up, provided that it is of `key_type` and opens with `passphrase`; it is never replaced, for it may be all
    that is left of a CA in use (CA_EXISTS, CA_PASSPHRASE_WRONG).
    """
    _x509.require()
    check_common_name(common_name)
    return _create(folder, _x509.common_name(common_name), now, key_type, validity, passphrase)


def create_successor(
    folder: Path, predecessor: Authority, *, now: datetime.datetime, passphrase: bytes | None = None
) -> Authority:
    """Make in `folder` the CA that shall follow `predecessor`: a key of its own, the same name, kind and life.

    The same name, so that a certificate by which the old one vouches for it counts as self-issued: CAs of ours allow no
    other CA below them (RFC 4210, section 4.4; RFC 5280, section 4.2.1.9). Errors are those of `create_authority`.
    """
    life = predecessor.not_after - predecessor.info.not_before - BACKDATE
    key_type = _x509.key_type_of(predecessor.private_key)
    if key_type not in KEY_TYPES:
        raise OpenNGTError("CERTIFICATE_INVALID", f"the CA's key is of type {key_type}: not one of ours")
    return _create(folder, predecessor.certificate.subject, now, key_type, life, passphrase)


def _create(
    folder: Path,
    name: _x509.x509.Name,
    now: datetime.datetime,
    key_type: KeyType,
    validity: datetime.timedelta,
    passphrase: bytes | None,
) -> Authority:
    with file_errors(str(folder)):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            fsync_directory(str(folder.parent))
        failpoint("pki.create_authority.folder")
        with locked(folder):
            if has_authority(folder):
                raise OpenNGTError("CA_EXISTS", f"{folder} holds a CA already")
            key = load_left_key(folder, key_type, passphrase) or _create_key(folder, key_type, passphrase)
            failpoint("pki.create_authority.key")
            certificate = _sign_authority(key, name, now, validity)
            sweep_unfinished(str(folder / CERTIFICATE))
            replace_file(str(folder / CERTIFICATE), _x509.certificate_pem(certificate))
            failpoint("pki.create_authority.certificate")
    return Authority(certificate, key)


def check_common_name(common_name: str) -> None:
    """Raise INVALID_INPUT for a name that X.509 cannot hold."""
    if not 1 <= len(common_name) <= 64:
        raise OpenNGTError("INVALID_INPUT", "common_name must have 1 to 64 characters", {"field": "common_name"})


def has_authority(folder: Path) -> bool:
    """Whether the folder holds a CA: its certificate is what a creation writes last."""
    with file_errors(str(folder)):
        return (folder / CERTIFICATE).exists()


def load_left_key(folder: Path, key_type: KeyType, passphrase: bytes | None) -> _x509.PrivateKey | None:
    """The key of a CA whose making was cut short; None when there is none.

    CA_EXISTS or CA_PASSPHRASE_WRONG when the key could not be taken up by `create_authority`.
    """
    path = folder / KEY
    if not path.exists():
        return None
    key = _load_key(path, passphrase)
    found = _x509.key_type_of(key)
    if found != key_type:
        raise OpenNGTError(
            "CA_EXISTS",
            f"{path} holds a key of type {found} without its certificate; key_type asks for {key_type}",
            {"field": "key_type", "found": found},
        )
    return key


def _create_key(folder: Path, key_type: KeyType, passphrase: bytes | None) -> _x509.PrivateKey:
    sweep_unfinished(str(folder / KEY))
    key = _x509.generate_key(key_type)
    write_private(str(folder / KEY), _x509.private_key_pem(key, passphrase))
    return key


def _sign_authority(
    key: _x509.PrivateKey, name: _x509.x509.Name, now: datetime.datetime, validity: datetime.timedelta
) -> _x509.x509.Certificate:
    x509 = _x509.x509
    common = _x509.template(
        name,
        [
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (_x509.key_usage(signs_certificates=True), True),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False),
        ],
    )
    return _x509.sign(
        common,
        subject=name,
        public_key=key.public_key(),
        issuer_key=key,
        not_before=now - BACKDATE,
        not_after=now + validity,
    )


def load_ca_certificate(folder: Path) -> _x509.x509.Certificate:
    """The CA's certificate, without its key: CA_NOT_FOUND when the folder holds none, CERTIFICATE_INVALID."""
    path = folder / CERTIFICATE
    if not has_authority(folder):
        raise OpenNGTError("CA_NOT_FOUND", f"{folder} holds no CA")
    with file_errors(str(path)):
        return load_certificate(path.read_bytes())


def load_authority(folder: Path, *, passphrase: bytes | None = None) -> Authority:
    """Load certificate and key.

    CA_NOT_FOUND, CA_PASSPHRASE_WRONG (also for a passphrase too many or one that is missing), CERTIFICATE_INVALID when
    a file is damaged or the two do not belong together.
    """
    certificate = load_ca_certificate(folder)
    with file_errors(str(folder / KEY)):
        if not (folder / KEY).exists():
            raise OpenNGTError("CA_NOT_FOUND", f"{folder} holds a CA certificate but not its key, {KEY}")
        key = _load_key(folder / KEY, passphrase)
    if key.public_key() != certificate.public_key():
        raise OpenNGTError("CERTIFICATE_INVALID", f"{KEY} and {CERTIFICATE} in {folder} do not belong together")
    return Authority(certificate, key)


def _load_key(path: Path, passphrase: bytes | None) -> _x509.PrivateKey:
    pem = path.read_bytes()
    # Asked first: cryptography answers a passphrase too many or missing, a wrong one and a damaged file with two types.
    encrypted = b"ENCRYPTED" in pem.partition(b"\n")[0]
    if encrypted and not passphrase:
        raise OpenNGTError("CA_PASSPHRASE_WRONG", f"{path} is encrypted and no passphrase was given")
    if passphrase and not encrypted:
        raise OpenNGTError("CA_PASSPHRASE_WRONG", f"{path} is not encrypted, but a passphrase was given")
    try:
        key = _x509.serialization.load_pem_private_key(pem, passphrase or None)
    except (ValueError, _x509.UnsupportedAlgorithm) as exc:
        if encrypted:
            raise OpenNGTError("CA_PASSPHRASE_WRONG", f"{path} does not open with the passphrase given") from exc
        raise OpenNGTError("CERTIFICATE_INVALID", f"{path} holds no readable private key") from exc
    if not isinstance(key, _x509.PrivateKey):
        raise OpenNGTError("CERTIFICATE_INVALID", f"{path} holds a key of another kind than {', '.join(KEY_TYPES)}")
    return key
