# SPDX-License-Identifier: GPL-3.0-or-later
"""What a WinRM login must be before a byte is sent for it; decisions alone."""

from __future__ import annotations

import re

from ...errors import OpenNGTError
from ..fleet.target import WinrmLogin

__all__ = ["account", "check"]

HTTP_PORTS = {80: "HTTP", 5985: "WinRM over plain HTTP"}
NAME = re.compile(r"[A-Za-z0-9._:%-]+")
"""A host's name or address; what else could stand there would change the meaning of the URL."""


def check(login: WinrmLogin) -> None:
    """Refuse what is not safe or cannot work: GUEST_LOGIN_UNSUPPORTED, DOMAIN_USER_UNSUPPORTED, INVALID_INPUT."""
    if NAME.fullmatch(login.host) is None:
        raise OpenNGTError("INVALID_INPUT", "host is neither a name nor an address", {"field": "host"})
    if login.port in HTTP_PORTS:
        raise OpenNGTError(
            "GUEST_LOGIN_UNSUPPORTED",
            f"port {login.port} of {login.host} is {HTTP_PORTS[login.port]}; the login is sent over HTTPS alone",
            {"field": "port", "host": login.host},
            "open an HTTPS listener (role winrm_prep) and use its port, 5986",
        )
    _check_trust(login)
    _check_secrets(login)
    account(login)


def account(login: WinrmLogin) -> str:
    """The user as the guest wants it: a local one without `.\\`, for Kerberos `user@REALM`."""
    domain, _backslash, name = login.user.rpartition("\\")
    if login.auth == "certificate":
        return login.user  # the listener's mapping names the user, nobody sends it
    if not name or "@" in domain:
        raise OpenNGTError("INVALID_INPUT", "user is empty, or no user name", {"field": "user"})
    if login.auth == "kerberos":
        if domain or "@" not in name:
            raise OpenNGTError(
                "DOMAIN_USER_UNSUPPORTED",
                f"Kerberos needs the user of {login.host} as user@REALM, with the realm's name in capitals",
                {"field": "user", "host": login.host},
                "write the user as user@REALM",
            )
        return name
    if domain not in ("", ".") or "@" in name:
        raise OpenNGTError(
            "DOMAIN_USER_UNSUPPORTED",
            f"the user of {login.host} is a domain's, and {login.auth} takes a local one",
            {"field": "user", "host": login.host},
        )
    return name


def _check_trust(login: WinrmLogin) -> None:
    named = [name for name in ("ca_file", "thumbprint", "trust_new") if getattr(login, name) is not None]
    if len(named) > 1:
        raise OpenNGTError(
            "INVALID_INPUT", f"of {' and '.join(named)} only one can vouch for the guest", {"fields": named}
        )
    if login.thumbprint is None or re.fullmatch(r"[0-9a-f]{64}", login.thumbprint):
        return
    if len(re.sub(r"[^0-9A-Fa-f]", "", login.thumbprint)) == 40:
        raise OpenNGTError(
            "INVALID_INPUT",
            "thumbprint is a SHA-1 one, as Windows shows it; SHA-1 can be forged, so SHA-256 is wanted",
            {"field": "thumbprint"},
            "take the SHA-256 that winrm_prep printed, or: openssl x509 -in listener.pem -noout -fingerprint -sha256",
        )
    raise OpenNGTError(
        "INVALID_INPUT",
        "thumbprint must be the SHA-256 of the certificate: 64 hex digits in lower case, without separators",
        {"field": "thumbprint"},
    )


def _check_secrets(login: WinrmLogin) -> None:
    if login.auth == "certificate":
        for field in ("certificate_file", "certificate_key_file"):
            if getattr(login, field) is None:
                raise OpenNGTError("INVALID_INPUT", f"auth certificate needs {field}", {"field": field})
        return
    password = login.password.reveal() if login.password is not None else ""
    if login.auth != "kerberos" and not password:
        raise OpenNGTError("INVALID_INPUT", f"auth {login.auth} needs a password", {"field": "password"})
    if login.auth == "basic":
        try:
            f"{login.user}{password}".encode("latin-1")
        except UnicodeEncodeError:
            message = f"user or password of {login.host} holds characters that Basic cannot carry; use auth ntlm"
            # Not chained: the error would show the password.
            raise OpenNGTError("GUEST_LOGIN_UNSUPPORTED", message, {"field": "password"}) from None
