# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is at the other end of a connection: Basic with each request, NTLM or Kerberos once for a connection, a client
certificate.

NTLM is pyspnego's acceptor, so it proves the client's part for real, with channel bindings and message encryption.
Kerberos is MIT's acceptor by pykerberos, with the keytab that KRB5_KTNAME names (tests/fakes/kerberos.py).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import struct
import threading
from collections.abc import Mapping
from pathlib import Path

import spnego
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

try:
    import kerberos
except ImportError:  # no test asks for it then
    kerberos = None

__all__ = ["Login", "write_user_file"]

ENVIRONMENT = threading.Lock()
"""pyspnego reads its users from a file that an environment variable of the process names."""
ENCRYPTED = "application/HTTP-SPNEGO-session-encrypted"
MUTUAL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual"
NTLM = base64.b64encode(b"NTLMSSP").decode()[:8]
BOUNDARY = b"--Encrypted Boundary"


def write_user_file(path: Path, users: Mapping[str, str]) -> None:
    """Local users; `.` stands for the guest itself."""
    lines = [f"{domain}:{user}:{password}\n" for user, password in users.items() for domain in ("", ".")]
    path.write_text("".join(lines))


class Login:
    """The state of one connection."""

    def __init__(
        self, schemes: frozenset[str], users: Mapping[str, str], user_file: Path, bindings: bytes | None
    ) -> None:
        self._schemes = schemes
        self._users = users
        self._user_file = user_file
        self._bindings = GssChannelBindings(application_data=bindings) if bindings else None
        self._context: spnego.ContextProxy | None = None
        self.session_user: str | None = None
        """Whom NTLM or Kerberos has proven, for all further requests."""
        self.proof: str | None = None
        """For the next answer: what proves this side to a client of Kerberos."""

    def offers(self, token: str | None = None) -> list[str]:
        """Values of WWW-Authenticate for a 401; with a token, the handshake goes on."""
        if token is not None:
            return [f"Negotiate {token}"]
        headers = {"ntlm": "Negotiate", "kerberos": "Kerberos", "basic": 'Basic realm="WSMAN"'}
        return [value for scheme, value in headers.items() if scheme in self._schemes]

    def judge(self, authorization: str | None, certified: str | None) -> tuple[str | None, str | None]:
        """(user, token): the user when it is known now, or the token that goes on with the handshake; both None: no."""
        scheme, _, value = (authorization or "").partition(" ")
        if authorization == MUTUAL and "certificate" in self._schemes:
            return certified, None
        if scheme == "Basic" and "basic" in self._schemes:
            return self._basic(value), None
        if scheme in ("Negotiate", "Kerberos") and "kerberos" in self._schemes and not value.startswith(NTLM):
            return self._kerberos(value), None
        if scheme in ("Negotiate", "NTLM") and "ntlm" in self._schemes:
            return self._ntlm(value)
        return (self.session_user, None) if authorization is None else (None, None)

    def unwrap(self, content_type: str, body: bytes) -> bytes:
        """The message in an encrypted body, or the body as it is. ValueError for one that cannot be read."""
        if ENCRYPTED not in content_type:
            return body
        if self._context is None or self.session_user is None:
            raise ValueError("encrypted before a session came about")
        parts = [part for part in body.split(BOUNDARY + b"\r\n") if part]
        message = b""
        for header, payload in zip(parts[::2], parts[1::2], strict=True):
            sealed = payload.removesuffix(BOUNDARY + b"--\r\n").split(
                b"\tContent-Type: application/octet-stream\r\n", 1
            )[1]
            size = struct.unpack("<i", sealed[:4])[0]
            piece = self._context.unwrap(sealed[4 : 4 + size] + sealed[4 + size :]).data
            length = re.search(rb"Length=(\d+)", header)
            if length is None or int(length[1]) != len(piece):
                raise ValueError("the length of an encrypted part is wrong")
            message += piece
        return message

    def wrap(self, message: bytes) -> tuple[str, bytes]:
        """(content type, body) of an encrypted answer."""
        assert self._context is not None
        sealed = self._context.wrap(message, encrypt=True).data
        body = b"".join(
            [
                BOUNDARY + b"\r\n\tContent-Type: " + ENCRYPTED.encode() + b"\r\n",
                b"\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=%d\r\n" % len(message),
                BOUNDARY + b"\r\n\tContent-Type: application/octet-stream\r\n",
                struct.pack("<i", 16) + sealed,
                BOUNDARY + b"--\r\n",
            ]
        )
        return f'multipart/encrypted;protocol="{ENCRYPTED}";boundary="Encrypted Boundary"', body

    def _basic(self, value: str) -> str | None:
        try:
            user, _, password = base64.b64decode(value, validate=True).decode("latin-1").partition(":")
        except binascii.Error:
            return None
        name = user.rpartition("\\")[2]
        return name if self._users.get(name) == password else None

    def _kerberos(self, value: str) -> str | None:
        _, context = kerberos.authGSSServerInit("HTTP@127.0.0.1")
        try:
            kerberos.authGSSServerStep(context, value)
        except kerberos.GSSError:
            return None
        self.proof = kerberos.authGSSServerResponse(context)
        self.session_user = kerberos.authGSSServerUserName(context)
        return self.session_user

    def _ntlm(self, value: str) -> tuple[str | None, str | None]:
        try:
            token = base64.b64decode(value, validate=True)
            with ENVIRONMENT:
                before = os.environ.get("NTLM_USER_FILE")
                os.environ["NTLM_USER_FILE"] = str(self._user_file)
                try:
                    # A first token begins anew, as on a connection where a login has failed.
                    if token[8:12] == b"\1\0\0\0" or self._context is None:
                        self._context = spnego.server(protocol="ntlm", channel_bindings=self._bindings)
                    answer = self._context.step(token)
                finally:
                    if before is None:
                        del os.environ["NTLM_USER_FILE"]
                    else:
                        os.environ["NTLM_USER_FILE"] = before
        except (SpnegoError, binascii.Error, ValueError):
            self._context = None
            return None, None
        if not self._context.complete:
            return None, base64.b64encode(answer or b"").decode()
        self.session_user = (self._context.client_principal or "").rpartition("\\")[2]
        return self.session_user, None
