# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong at a listener, to be asked for by `WinrmServer.fail(action, fault)`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AccessDenied",
    "Drip",
    "Drop",
    "Failure",
    "Fault",
    "HttpStatus",
    "Quota",
    "ShellGone",
    "Slow",
    "Unauthorized",
]


@dataclass(frozen=True)
class Fault:
    """A SOAP fault with HTTP status 500."""

    code: int
    text: str
    subcode: str = "w:InternalError"


@dataclass(frozen=True)
class HttpStatus:
    """A status with this body, which is no SOAP; `location` is where it sends the client."""

    status: int
    body: bytes = b""
    location: str | None = None


@dataclass(frozen=True)
class Unauthorized:
    """The login is refused, though it was right."""


@dataclass(frozen=True)
class Drop:
    """The connection ends: before the answer, or after so many bytes of it."""

    after_bytes: int = 0


@dataclass(frozen=True)
class Slow:
    """The answer takes so much longer, or for ever (None): until the server ends."""

    seconds: float | None = None


@dataclass(frozen=True)
class Drip:
    """An answer of a byte every 0.1 s, without an end."""


Failure = Drip | Fault | HttpStatus | Unauthorized | Drop | Slow

# Codes and subcodes: wsmerror.h and winerror.h. The texts are those of an English Windows.
Quota = Fault(
    2150859173,
    "The WS-Management service cannot process the request. This user is allowed a maximum number of 5 concurrent "
    "shells, which has been exceeded. Close existing shells or raise the quota for this user.",
    "w:QuotaLimit",
)
AccessDenied = Fault(5, "Access is denied.", "w:AccessDenied")
ShellGone = Fault(
    2150858843,
    "The request for the Windows Remote Shell with ShellId failed because the shell was not found on the server. "
    "Possible causes are: the specified ShellId is incorrect or the shell no longer exists on the server.",
    "w:InvalidSelectors",
)
