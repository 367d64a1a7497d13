# SPDX-License-Identifier: GPL-3.0-or-later
# Runs in guests: Python 3.6, standard library only.
"""TLS without sockets: contexts, a client end fed with bytes, and the handshake with oneself.

The handshake with oneself is the one signature check that the standard library offers (docs/decisions/0002).
"""

import contextlib
import hashlib
import re
import ssl
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .files import anonymous_file
from .times import seconds_of_certificate

__all__ = [
    "Certificate",
    "TlsClient",
    "certificates_in",
    "client_context",
    "fingerprint",
    "keys_in",
    "self_handshake",
    "split_chain",
    "split_client_pem",
]

PIECE = 64 * 1024
# X509_V_FLAG_NO_CHECK_TIME of OpenSSL 1.1.0 and newer, which Python has no name for.
NO_CHECK_TIME = 0x200000
MOST_VOUCHING = 4

_PEM_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----")
_PEM_KEY = re.compile("-----BEGIN ([A-Z]+ )?PRIVATE KEY-----[A-Za-z0-9+/=\\s]+-----END ([A-Z]+ )?PRIVATE KEY-----")

Certificate = NamedTuple(
    "Certificate",
    [
        ("common_name", str),
        ("serial", str),  # lower-case hex without prefix
        ("uris", Tuple[str, ...]),
        ("not_before", float),  # seconds since the epoch
        ("not_after", float),
    ],
)


def certificates_in(pem: str) -> List[str]:
    """Each certificate of a PEM text, in order, as PEM."""
    return [match.group() + "\n" for match in _PEM_CERTIFICATE.finditer(pem)]


def keys_in(pem: str) -> List[str]:
    """Each private key of a PEM text, in order, as PEM."""
    return [match.group() + "\n" for match in _PEM_KEY.finditer(pem)]


def split_client_pem(pem: str) -> Tuple[str, str]:
    """(private key, certificate) of a client.pem; ValueError unless it holds exactly one of each."""
    key, leaf, vouching = split_chain(pem)
    if vouching:
        raise ValueError("one private key and one certificate are wanted")
    return key, leaf


def split_chain(pem: str) -> Tuple[str, str, str]:
    """(private key, certificate, those that vouch for its CA or nothing); ValueError for anything else."""
    keys = keys_in(pem)
    certificates = certificates_in(pem)
    if len(keys) != 1 or not 1 <= len(certificates) <= 1 + MOST_VOUCHING:
        raise ValueError("one private key and one certificate are wanted")
    return keys[0], certificates[0], "".join(certificates[1:])


def fingerprint(certificate_pem: str) -> str:
    """Lower-case hex SHA-256 of the certificate's DER; ValueError when it is none."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate_pem.strip())).hexdigest()


def client_context(client_pem: str, ca_pem: str, check_time: bool = True) -> ssl.SSLContext:
    """For a client that shows its certificate and trusts the given CAs only; ssl.SSLError when the key does not fit.

    Without `check_time` the other end's certificate may be past its end or before its beginning.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    if not check_time:
        context.verify_flags |= NO_CHECK_TIME
    context.load_verify_locations(cadata=ca_pem)
    _load_pair(context, client_pem)
    return context


def self_handshake(client_pem: str, ca_pem: str, check_time: bool = True) -> Certificate:
    """What the leaf in `client_pem` says, proven: a CA of `ca_pem` signed it, for client use, and the key is its own.

    Certificates behind the leaf may lead from one of those CAs to the leaf's. ssl.SSLError otherwise; without
    `check_time` an expired one passes. Both ends show the same certificate, and only the server's end looks at the
    other's.
    """
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(server_context)
    server_context.verify_mode = ssl.CERT_REQUIRED
    if not check_time:
        server_context.verify_flags |= NO_CHECK_TIME
    server_context.load_verify_locations(cadata=ca_pem)
    _load_pair(server_context, client_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _load_pair(context, client_pem)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_side=False)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    _shake(client, server)
    found = server.getpeercert()
    if not found:
        raise ssl.SSLError("no certificate was shown")
    return _certificate(found)


def _shake(client: ssl.SSLObject, server: ssl.SSLObject) -> None:
    """Until the server's end is content: it judges last."""
    for _turn in range(16):
        for end in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                if end is server:
                    return
    raise ssl.SSLError("the handshake does not come to an end")


def _harden(context: ssl.SSLContext) -> None:
    """TLS 1.2 or newer, no compression, no renegotiation; Python 3.6 has no `minimum_version`."""
    if hasattr(context, "minimum_version"):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    else:
        context.options |= ssl.OP_NO_SSLv2 | ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    context.options |= ssl.OP_NO_COMPRESSION | getattr(ssl, "OP_NO_RENEGOTIATION", 0)


def _load_pair(context: ssl.SSLContext, client_pem: str) -> None:
    with anonymous_file(client_pem.encode("ascii", "replace")) as path:
        # An encrypted key must fail here, not ask on the terminal.
        context.load_cert_chain(path, password=lambda: b"")


def _certificate(found: Dict[str, Any]) -> Certificate:
    names = [value for part in found.get("subject", ()) for key, value in part if key == "commonName"]
    uris = [value for kind, value in found.get("subjectAltName", ()) if kind == "URI"]
    return Certificate(
        common_name=names[0] if len(names) == 1 else "",
        serial="{0:x}".format(int(found["serialNumber"], 16)),
        uris=tuple(uris),
        not_before=seconds_of_certificate(found["notBefore"]),
        not_after=seconds_of_certificate(found["notAfter"]),
    )


class TlsClient:
    """The client's end of TLS over bytes: `feed` what came, send what `take` gives."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=False, server_hostname=server_hostname)
        self.established = False
        self.closed = False  # the other end has said that nothing follows

    @property
    def version(self) -> Optional[str]:
        return self._tls.version()

    def start(self) -> None:
        """Have the first bytes ready to send."""
        self._advance()

    def feed(self, data: bytes) -> Sequence[bytes]:
        """Plain text that is complete now. ssl.SSLError when the other end cannot be trusted or breaks the rules."""
        self._incoming.write(data)
        if not self.established:
            self._advance()
        plain: List[bytes] = []
        while self.established and not self.closed:
            try:
                piece = self._tls.read(PIECE)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            if piece:
                plain.append(piece)
            else:
                self.closed = True
        return plain

    def write(self, data: bytes) -> None:
        self._tls.write(data)

    def close(self) -> None:
        """Say at TLS level that nothing follows."""
        # unwrap() wants to wait for the other end's answer; ours is in the buffer by then.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()

    def take(self) -> bytes:
        """Bytes to send."""
        return self._outgoing.read()

    def _advance(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.established = True
