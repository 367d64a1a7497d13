# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's own CA and server certificates: made once, renewed before they end."""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.authority import Authority, create_authority
from openngt.pki.expiry import days_left
from openngt.pki.inspect import load_certificate
from openngt.pki.issue import VM_VALIDITY, issue_service_certificate
from openngt.pki.rollover import Succession, load_succession

from .config import Settings

__all__ = ["api_names", "ensure_authority", "ensure_server_certificate", "renew_certificates"]

log = structlog.get_logger(__name__)

RENEWAL_DAYS = 45
"""With so many days left a server certificate is made anew."""

END = b"-----END CERTIFICATE-----\n"


def ensure_authority(settings: Settings, common_name: str, now: datetime.datetime) -> tuple[Succession, bool]:
    """The CAs of the state folder, and whether one was made just now."""
    folder = settings.ca_directory
    if (folder / "ca.pem").exists():
        return load_succession(folder), False
    made = create_authority(folder, common_name=common_name, now=now, key_type=settings.key_type)
    return Succession("none", made), True


def api_names(settings: Settings) -> list[str]:
    """What a client may call the API: loopback, the listening address, the address of agents and `api_names`."""
    unspecified = {"0.0.0.0", "::"}  # noqa: S104  not listened on here: they name no host
    configured = [settings.api_host, settings.cluster_ip or "", *settings.api_names]
    wanted = [name.lower() for name in configured if name and name not in unspecified]
    return list(dict.fromkeys(["localhost", "127.0.0.1", "::1", *map(canonical, wanted)]))


def renew_certificates(
    settings: Settings, succession: Succession, service_name: str, now: datetime.datetime
) -> dict[str, datetime.datetime]:
    """See to `gateway.pem` and `api.pem`; returns the ends of all certificates of the service itself, by name."""
    authority, chain = succession.signer, succession.server_chain_pem
    return {
        "CA": authority.not_after,
        "gateway": ensure_server_certificate(settings.gateway_pem, authority, [service_name], now, chain),
        "API": ensure_server_certificate(settings.api_pem, authority, api_names(settings), now, chain),
    }


def ensure_server_certificate(
    path: Path, authority: Authority, names: Sequence[str], now: datetime.datetime, chain: bytes = b""
) -> datetime.datetime:
    """A PEM file (0600: key, leaf, then `chain`) for `names`. -> its end.

    Issued again when it is missing, ends soon, is of a clock that was ahead, for others, of another CA or with another
    chain.
    """
    present = present_certificate(path)
    fits = present is not None and names_of(present) == set(names) and is_issued_by(present, authority)
    if present is not None and fits and chain_in(path) == chain:
        not_after = present.not_valid_after_utc
        if days_left(not_after, now) > RENEWAL_DAYS and present.not_valid_before_utc <= now:
            return not_after
    issued = issue_service_certificate(
        authority,
        dns_names=[name for name in names if not is_address(name)],
        ip_addresses=[name for name in names if is_address(name)],
        validity=min(VM_VALIDITY, authority.not_after - now),
        now=now,
    )
    effects.write_private(str(path), issued.client_pem + chain)
    return issued.not_after


def present_certificate(path: Path) -> x509.Certificate | None:
    """None for a file that is missing, or holds no certificate: either way one has to be made."""
    if not path.exists():
        return None
    try:
        return load_certificate(path.read_bytes())
    except OpenNGTError as exc:
        log.warning("certificate_replaced", path=str(path), reason=exc.message)
        return None


def chain_in(path: Path) -> bytes:
    """What stands behind the first certificate."""
    return path.read_bytes().partition(END)[2]


def names_of(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return addresses | set(names.get_values_for_type(x509.DNSName))


def is_issued_by(certificate: x509.Certificate, authority: Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def canonical(name: str) -> str:
    """An address as certificates hold it: `::1`, not `0:0:0:0:0:0:0:1`."""
    return str(ipaddress.ip_address(name)) if is_address(name) else name


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
