# SPDX-License-Identifier: GPL-3.0-or-later
"""Who vouches for a WinRM listener: the system's CAs, a CA file, a pinned certificate, or its first use.

What comes out is a TLS context that verifies in its handshake, before anything of the login is sent. A pinned
certificate is the context's one anchor, so OpenSSL judges its dates too; its name is not compared, as the certificates
that Windows makes for itself bear a name that the controller need not use.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from ...client_transport import trust
from ...effects import file_errors, replace_file, sweep_unfinished
from ...errors import OpenNGTError
from ..fleet.target import WinrmLogin

__all__ = ["context_for", "not_reached", "thumbprint_seen", "untrusted"]

LOCK_SECONDS = 10.0
LINE = re.compile(r"(?P<place>\S+)\s+(?P<thumbprint>[0-9a-f]{64})\s*(#.*)?")


def context_for(login: WinrmLogin, seconds: float) -> ssl.SSLContext:
    """A context that refuses every certificate but the guest's. `seconds`: for each connection that is made to look.

    GUEST_CERTIFICATE_UNTRUSTED, GUEST_UNREACHABLE, GUEST_REFUSED, INVALID_INPUT, and what `file_errors` raises.
    """
    if login.thumbprint is not None:
        return _with_client(login, _pinned(login, login.thumbprint, _look(login, seconds)))
    if login.trust_new is not None:
        return _with_client(login, _first_use(login, Path(login.trust_new).expanduser(), seconds))
    if login.auth == "certificate":
        return _with_client(login, trust(login.ca_file))
    return _shared_by_cas(login.ca_file, _stamp(login.ca_file))


@functools.lru_cache(maxsize=16)
def _shared_by_cas(ca_file: str | None, _stamp: tuple[int, int] | None) -> ssl.SSLContext:
    """One for all guests: reading the system's CAs takes 50 ms and a megabyte."""
    return trust(ca_file)


def _stamp(ca_file: str | None) -> tuple[int, int] | None:
    """Another one, another content; None for a file that cannot be read, which is then said by who reads it."""
    with contextlib.suppress(OSError):
        if ca_file is not None:
            state = Path(ca_file).stat()
            return state.st_mtime_ns, state.st_ino
    return None


def untrusted(login: WinrmLogin, reason: str, seen: str | None, expected: str | None = None) -> OpenNGTError:
    """GUEST_CERTIFICATE_UNTRUSTED with what was seen, so that it can be compared with the guest's console."""
    against = f"ca_file {login.ca_file}" if login.ca_file else "the system's CAs (no thumbprint or ca_file is given)"
    if login.thumbprint is not None or login.trust_new is not None:
        against = "the thumbprint given" if login.thumbprint else f"the one recorded in {login.trust_new}"
    return OpenNGTError(
        "GUEST_CERTIFICATE_UNTRUSTED",
        f"the certificate of {login.host}:{login.port} is not trusted by {against}: {reason}; its SHA-256 is {seen}",
        {"host": login.host, "port": login.port, "reason": reason, "thumbprint": seen, "expected": expected},
    )


def thumbprint_seen(login: WinrmLogin, seconds: float) -> str | None:
    """For a message: the SHA-256 of the certificate that the guest shows now; None when it cannot be had."""
    try:
        return thumbprint(_look(login, seconds))
    except OpenNGTError:
        return None


def thumbprint(certificate: bytes) -> str:
    return hashlib.sha256(certificate).hexdigest()


def not_reached(login: WinrmLogin, exc: OSError) -> OpenNGTError:
    """What it means that no connection came about."""
    place = f"{login.host}:{login.port}"
    details = {"host": login.host, "port": login.port}
    if isinstance(exc, ssl.SSLCertVerificationError):
        return untrusted(login, exc.verify_message, None)
    if isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError | BrokenPipeError):
        return OpenNGTError("GUEST_REFUSED", f"{place} ended the connection at once", details)
    if isinstance(exc, ssl.SSLError):
        reason = (exc.reason or str(exc)).replace("_", " ").lower()
        return OpenNGTError(
            "GUEST_LOGIN_UNSUPPORTED",
            f"{place} does not speak TLS 1.2 or newer as a WinRM listener does: {reason}",
            details,
        )
    if isinstance(exc, ConnectionRefusedError):
        return OpenNGTError("GUEST_REFUSED", f"nothing listens at {place}", details)
    reason = "no answer in time" if isinstance(exc, TimeoutError) else exc.strerror or str(exc)
    return OpenNGTError("GUEST_UNREACHABLE", f"{place} cannot be reached: {reason}", details)


def _look(login: WinrmLogin, seconds: float) -> bytes:
    """The certificate that the guest shows, as DER. Nothing is believed and nothing is sent but TLS's own greeting."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _greet(login, context, seconds)


def _greet(login: WinrmLogin, context: ssl.SSLContext, seconds: float) -> bytes:
    try:
        plain = socket.create_connection((login.host, login.port), timeout=seconds)
    except OSError as exc:
        raise not_reached(login, exc) from exc
    try:
        with plain, context.wrap_socket(plain, server_hostname=login.host) as connection:
            certificate = connection.getpeercert(binary_form=True)
    except TimeoutError as exc:
        message = f"{login.host}:{login.port} takes the connection and says nothing for {seconds:g} s"
        raise OpenNGTError("GUEST_TIMED_OUT", message, {"host": login.host, "port": login.port}) from exc
    except OSError as exc:
        raise not_reached(login, exc) from exc
    if certificate is None:
        raise untrusted(login, "it shows none", None)
    return certificate


def _pinned(login: WinrmLogin, expected: str, certificate: bytes) -> ssl.SSLContext:
    seen = thumbprint(certificate)
    if seen != expected:
        raise untrusted(login, f"another one is expected, {expected}", seen, expected)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # The certificate itself is the anchor, also where another one has signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(certificate))
    return context


def _first_use(login: WinrmLogin, path: Path, seconds: float) -> ssl.SSLContext:
    place = f"{login.host.lower()}:{login.port}"
    certificate = _look(login, seconds)
    with file_errors(str(path)):
        recorded = _recorded(path, place)
        if recorded is not None:
            return _pinned(login, recorded, certificate)
        context = _pinned(login, thumbprint(certificate), certificate)
        _greet_verified(login, context, seconds)
        with _locked(path):
            # Another process may have met the guest meanwhile, and its word counts.
            recorded = _recorded(path, place)
            if recorded is None:
                old = path.read_bytes() if path.exists() else b""
                line = f"{place} {thumbprint(certificate)}\n".encode()
                sweep_unfinished(str(path))
                replace_file(str(path), old + (b"\n" if old and not old.endswith(b"\n") else b"") + line)
    return context if recorded is None else _pinned(login, recorded, certificate)


def _greet_verified(login: WinrmLogin, context: ssl.SSLContext, seconds: float) -> None:
    """An expired certificate is not worth recording."""
    try:
        _greet(login, context, seconds)
    except OpenNGTError as exc:
        if isinstance(exc.__cause__, ssl.SSLCertVerificationError):
            raise untrusted(login, exc.__cause__.verify_message, thumbprint_seen(login, seconds)) from exc
        raise


def _recorded(path: Path, place: str) -> str | None:
    """The last line for a place counts; INVALID_INPUT for a line that is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    found = None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if match is None:
            message = f"{path}, line {number}: not of the form host:port SHA-256 (64 hex digits in lower case)"
            raise OpenNGTError("INVALID_INPUT", message, {"path": str(path), "line": number})
        if match["place"].lower() == place:
            found = match["thumbprint"]
    return found


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, in this process and others. The lock is on the folder, so that none is left behind."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + LOCK_SECONDS
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                if time.monotonic() > deadline:
                    raise OSError(errno.EBUSY, "another process holds the lock", str(path.parent)) from exc
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _with_client(login: WinrmLogin, context: ssl.SSLContext) -> ssl.SSLContext:
    """The guest's certificate of the user, where that is the login; its key's passphrase is the login's password."""
    if login.auth != "certificate":
        return context
    passphrase = login.password.reveal() if login.password is not None else ""
    certificate, key = login.certificate_file, login.certificate_key_file
    try:
        # A passphrase is always given, or OpenSSL would ask for it at the terminal.
        context.load_cert_chain(str(certificate), key, password=passphrase)
    except ssl.SSLError as exc:
        message = f"certificate_file {certificate} and certificate_key_file {key} do not hold a certificate and its key"
        raise OpenNGTError("INVALID_INPUT", message, {"field": "certificate_key_file"}) from exc
    except OSError as exc:
        message = f"certificate_file {certificate} or certificate_key_file {key} cannot be read: {exc.strerror}"
        raise OpenNGTError("INVALID_INPUT", message, {"field": "certificate_file"}) from exc
    # Windows asks for it after the handshake: it has read the URL by then.
    context.post_handshake_auth = True
    return context
