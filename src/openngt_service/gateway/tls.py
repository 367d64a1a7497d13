# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS of the agents' port: the policy, why a handshake was refused, and a channel without a socket.

TLS runs over two memory buffers instead of in the event loop's transport. One code path serves TCP and, later, the
serial port; every refusal comes with its reason (the loops' own TLS servers hide it, and send no alert); and memory per
connection does not depend on the loop (asyncio allocates 256 KiB for each).
"""

import contextlib
import os
import ssl
from pathlib import Path
from typing import Final

from openngt.errors import OpenNGTError

from ..ports import Refusal
from .jsonrpc import Violation

__all__ = ["TlsChannel", "load_identity", "refusal_of", "server_context"]

# A client's whole flight with a chain of certificates is a tenth of this.
MAXIMUM_HANDSHAKE: Final = 64 * 1024
# The memory buffers keep the size of the largest piece they ever held, so pieces are those of one TLS record.
_PIECE: Final = 16 * 1024

_REFUSALS: Final[dict[str, Refusal]] = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no_certificate",
    "UNSUPPORTED_PROTOCOL": "protocol_version",
    "VERSION_TOO_LOW": "protocol_version",
    "WRONG_SSL_VERSION": "protocol_version",
}
# X509_V_ERR_* of openssl/x509_vfy.h
_VERIFY_REFUSALS: Final[dict[int, Refusal]] = {10: "expired", 26: "wrong_usage"}


def server_context(identity_file: Path, ca_file: Path) -> ssl.SSLContext:
    """The gateway's TLS policy: 1.2 or newer, a client certificate of our CA required, nothing resumed.

    `identity_file` holds key and certificate. CONFIG_INVALID when it is open to others than its owner, or when
    either file cannot be used.
    """
    # Bare, not create_default_context(CLIENT_AUTH): that one requires no client certificate.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_identity(context, identity_file, ca_file)
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise OpenNGTError("CONFIG_INVALID", f"cannot trust agents by {ca_file}: {exc}") from exc
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2; those of 1.3 are all of this kind
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0  # OP_NO_TICKET alone leaves TLS 1.3 with tickets that name a session kept here
    return context


def load_identity(context: ssl.SSLContext, identity_file: Path, ca_file: Path) -> None:
    """Give new connections this key and certificate, at start and when it has been renewed. CONFIG_INVALID as above.

    The chain is loaded with the CA in it, for OpenSSL would otherwise build and verify it anew in every handshake; one
    that `identity_file` has of its own, in a CA's rollover, is shown as it is.
    """
    try:
        if identity_file.stat().st_mode & 0o077:
            raise OpenNGTError("CONFIG_INVALID", f"{identity_file} holds a private key and must have mode 0600")
        with os.fdopen(os.memfd_create("openngt-gateway"), "wb") as memory:  # load_cert_chain takes files only
            identity = identity_file.read_bytes()
            has_chain = identity.count(b"-----BEGIN CERTIFICATE-----") > 1
            memory.write(identity if has_chain else identity + b"\n" + ca_file.read_bytes())
            memory.flush()
            context.load_cert_chain(f"/proc/self/fd/{memory.fileno()}")
    except (OSError, ssl.SSLError) as exc:
        raise OpenNGTError(
            "CONFIG_INVALID", f"cannot use {identity_file} with {ca_file} as the gateway's identity: {exc}"
        ) from exc


def refusal_of(failure: ssl.SSLError) -> Refusal:
    """Which rule a failed handshake broke."""
    if isinstance(failure, ssl.SSLCertVerificationError):
        return _VERIFY_REFUSALS.get(failure.verify_code, "untrusted_certificate")
    return _REFUSALS.get(failure.reason or "", "handshake_failed")


def serial_of(der: bytes) -> int:
    """The serial of a certificate that TLS has verified, and so parsed: RFC 5280 puts it behind three headers.

    `getpeercert()` makes a dictionary of everything else first, at five times the cost, in each handshake.
    """
    position = _content(der, _content(der, 0))  # into Certificate, into TBSCertificate
    if der[position] == 0xA0:  # [0] version
        position = _content(der, position) + der[position + 1]
    start = _content(der, position)
    return int.from_bytes(der[start : start + der[position + 1]], "big")


def _content(der: bytes, position: int) -> int:
    """Where the content of the element begins whose tag is at `position`."""
    length = der[position + 1]
    return position + 2 + (length & 0x7F if length & 0x80 else 0)


class TlsChannel:
    """The server's end of one TLS connection, fed with bytes.

    After any call that raises or returns, `output` has what must go to the peer (after a failure that is the alert).
    """

    __slots__ = ("_budget", "_incoming", "_outgoing", "_tls")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._budget = MAXIMUM_HANDSHAKE

    def handshake(self, data: bytes) -> bool:
        """Go on with the handshake; True when it is complete and the peer's certificate has been verified.

        Raises ssl.SSLError (see `refusal_of`), or Violation when the peer sends more than a handshake needs.
        """
        self._budget -= len(data)
        if self._budget < 0:
            raise Violation("handshake too long", "handshake_failed")
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def peer_serial(self) -> int:
        """Serial of the verified client certificate."""
        return serial_of(self.peer_certificate())

    def peer_certificate(self) -> bytes:
        """The verified client certificate, DER."""
        certificate = self._tls.getpeercert(binary_form=True)
        assert certificate, "CERT_REQUIRED lets no handshake end without a certificate"
        return certificate

    @property
    def unread(self) -> bool:
        """Whether bytes have come in that `receive` has not looked at."""
        return self._incoming.pending > 0

    def receive(self, data: bytes) -> bytes:
        """Plaintext of all complete records, those included that came with the handshake's end.

        Raises ssl.SSLError on a record that does not decrypt. Bytes after the peer's close_notify are dropped.
        """
        if len(data) <= _PIECE:
            self._incoming.write(data)
            return self._read()
        pieces = []
        for start in range(0, len(data), _PIECE):
            self._incoming.write(data[start : start + _PIECE])
            pieces.append(self._read())
        return b"".join(pieces)

    def send(self, plaintext: bytes) -> bytes:
        """The records that carry `plaintext`."""
        if len(plaintext) <= _PIECE:
            self._tls.write(plaintext)
            return self._outgoing.read()
        pieces = []
        for start in range(0, len(plaintext), _PIECE):
            self._tls.write(plaintext[start : start + _PIECE])
            pieces.append(self._outgoing.read())
        return b"".join(pieces)

    def close(self) -> bytes:
        """A close_notify, which tells a peer that it has seen everything. It is not waited for an answer."""
        # An error: it wants the peer's close_notify, or the session is broken. There is nothing to add either way.
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self.output()

    def output(self) -> bytes:
        return self._outgoing.read()

    def _read(self) -> bytes:
        plaintext = b""
        try:
            while piece := self._tls.read(_PIECE):
                plaintext = plaintext + piece if plaintext else piece
                if not self._incoming.pending and not self._tls.pending():
                    break  # another try would only raise, which costs as much as the read
        except ssl.SSLWantReadError:
            return plaintext
        return plaintext
