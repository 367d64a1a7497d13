# SPDX-License-Identifier: GPL-3.0-or-later
"""The fields of an entry in a list of credentials, and what may stand in each. One table, which the docs repeat."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["CREDENTIALS", "ENTRY", "HOST", "Check", "thumbprint_of"]

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
HOST = re.compile(r"(?!-)[A-Za-z0-9._:%-]{1,255}")
SHA256_DIGITS = 64
LONGEST_TEXT = 1024


class Check(NamedTuple):
    wanted: str
    """What belongs there, for people."""
    passes: Callable[[Any], bool]
    required: bool = False

    def wanted_instead(self, value: Any) -> str | None:
        return None if self.passes(value) else self.wanted


def thumbprint_of(value: Any) -> str | None:
    """A SHA-256 fingerprint in whatever way it is written, as 64 lower-case hex digits."""
    if not isinstance(value, str):
        return None
    digits = re.sub(r"[\s:-]", "", value).lower()
    return digits if re.fullmatch("[0-9a-f]{%d}" % SHA256_DIGITS, digits) else None


def _text(value: Any) -> bool:
    """Text that can be sent: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT or "\0" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _line(value: Any) -> bool:
    return _text(value) and value.isprintable()


def _one_of(*words: str) -> Check:
    return Check(" or ".join(words), lambda value: isinstance(value, str) and value in words)


def _matching(form: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and form.fullmatch(value) is not None


def _port(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536


PATH = Check("a path", _line)
SECRET = Check("text in one line", lambda value: _text(value) and "\n" not in value and "\r" not in value)

ENTRY: Mapping[str, Check] = {
    "uuid": Check("a UUID", _matching(UUID)),
    "vmname": Check("a name in one line", _line),
    "credentials": Check("an object", lambda value: isinstance(value, Mapping), required=True),
    "host": Check("a host name or an address", _matching(HOST)),
    "port": Check("a number from 1 to 65535", _port),
    "connection": _one_of("ssh", "winrm"),
    "os": _one_of("linux", "windows"),
    "auth": _one_of("ntlm", "kerberos", "basic"),
    "ca_file": PATH,
    "thumbprint": Check("the certificate's SHA-256 (64 hex digits)", lambda value: thumbprint_of(value) is not None),
    "python": PATH,
}
CREDENTIALS: Mapping[str, Check] = {
    "username": Check("a name in one line", _line, required=True),
    "password": SECRET,
    "private_key_file": PATH,
    "private_key_passphrase": SECRET,
    "become_password": SECRET,
}
