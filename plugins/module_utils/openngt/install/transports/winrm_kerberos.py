# SPDX-License-Identifier: GPL-3.0-or-later
"""Kerberos for WinRM: tickets for users whose password is given, and what MIT Kerberos means when it says no.

A user without a password takes the ticket that the caller has got (`kinit`), from the cache that KRB5CCNAME names.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ...effects import Finished, run
from ...errors import OpenNGTError
from .lines import printable

__all__ = ["TICKETS", "Ticket", "Tickets", "refusal"]

KINIT_SECONDS = 30.0
FAILURE_SECONDS = 60.0
"""For so long nobody asks a silent KDC again: hundreds of guests would wait for it, one after the other."""
RENEWAL_SECONDS = 3600.0
"""Domains hand out tickets for ten hours. One this old is still good, and a new connection gets a younger one."""


class Meaning(NamedTuple):
    words: str
    """A pattern of MIT Kerberos' own (English) message, which kinit and GSSAPI share."""
    code: str
    remedy: str | None = None
    """None: the code's own."""


# The first that fits.
MEANINGS = (
    Meaning("Clock skew too great|Ticket not yet valid", "KERBEROS_CLOCK_SKEW"),
    Meaning("Cannot (find|contact|resolve)|Realm not local|not found in KDC", "KERBEROS_REALM_UNREACHABLE"),
    Meaning("Server .*not found in Kerberos database", "KERBEROS_HOST_UNKNOWN"),
    Meaning(
        "Ticket expired|No Kerberos credentials|No credentials cache|[Cc]redentials? cache|client principal|"
        "Matching credential not found",
        "KERBEROS_TICKET_MISSING",
    ),
    Meaning(
        "credentials have been revoked",
        "GUEST_LOGIN_FAILED",
        "have the domain's administrator unlock or enable this user",
    ),
    Meaning("Password.* expired", "GUEST_LOGIN_FAILED", "set a new password for this user: kpasswd"),
    Meaning("Client .*not found in Kerberos database", "GUEST_LOGIN_FAILED", "correct the name: the realm has no such"),
    Meaning(
        "Password incorrect|Preauthentication failed|Decrypt integrity",
        "GUEST_LOGIN_FAILED",
        "correct the password; it was tried once for all guests of this user, so that the domain does not lock it",
    ),
)


def refusal(text: str) -> tuple[str, str | None]:
    """(code, remedy) of a message; GUEST_LOGIN_FAILED for one that is not known."""
    for meaning in MEANINGS:
        if re.search(meaning.words, text):
            return meaning.code, meaning.remedy
    return "GUEST_LOGIN_FAILED", "details.kerberos holds what Kerberos says; on this host: klist, kinit"


class Ticket:
    """A cache file that holds a user's ticket, 0600, until the last who has it closes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._users = 0
        self._lock = threading.Lock()

    @property
    def cache(self) -> str:
        """As Kerberos names it."""
        return f"FILE:{self._path}"

    def open(self) -> bool:
        """Whether it is there to be used; whoever opens it closes it."""
        with self._lock:
            if not self._path.exists():
                return False
            self._users += 1
            return True

    def close(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # another ticket lies there
                    self._path.parent.rmdir()


class Tickets:
    """One ticket for a user and password, however many guests they log in to; threads share it."""

    def __init__(self, run: Callable[..., Finished] = run, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], _Known] = {}

    def open(self, user: str, password: str) -> Ticket:
        """The ticket of `user@REALM`, to be closed.

        GUEST_LOGIN_FAILED, which is remembered: a domain locks a user after a few wrong passwords. LIBRARY_MISSING
        without kinit, KERBEROS_REALM_UNREACHABLE, KERBEROS_CLOCK_SKEW.
        """
        with self._lock:
            known = self._known.setdefault((user, password), _Known())
        with known.lock:
            age = self._clock() - known.since
            if known.error is not None and (known.error.code == "GUEST_LOGIN_FAILED" or age < FAILURE_SECONDS):
                raise _again(known.error)
            if known.ticket is not None and age < RENEWAL_SECONDS and known.ticket.open():
                return known.ticket
            known.since = self._clock()
            try:
                known.ticket, known.error = self._get(user, password), None
            except OpenNGTError as error:
                known.error = error
                raise
            known.ticket.open()
            return known.ticket

    def _get(self, user: str, password: str) -> Ticket:
        path = Path(tempfile.mkdtemp(prefix="openngt-ticket-")) / "cache"
        ticket = Ticket(path)
        # Not to be passed on to the guest: -F. In English, to be understood here.
        command = ["kinit", "-F", "-c", ticket.cache, "--", user]
        try:
            done = self._run(command, KINIT_SECONDS, password + "\n", {**os.environ, "LC_ALL": "C"})
            if done.returncode == 0 and path.exists():
                return ticket
            raise _refused(user, done)
        except OpenNGTError as error:
            path.unlink(missing_ok=True)
            path.parent.rmdir()
            raise _of_kinit(user, error) from error


class _Known:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ticket: Ticket | None = None
        self.error: OpenNGTError | None = None
        self.since = 0.0


def _refused(user: str, done: Finished) -> OpenNGTError:
    said = printable(" ".join(done.stderr.split()).encode())
    code, remedy = refusal(f"{said} {done.stdout}")  # what it asks for tells more, as with a password that has expired
    return OpenNGTError(code, f"Kerberos gives {user} no ticket: {said}", {"user": user, "kerberos": said}, remedy)


def _of_kinit(user: str, error: OpenNGTError) -> OpenNGTError:
    """What kept kinit from running, as a failure of this login."""
    if error.code == "COMMAND_NOT_FOUND":
        return OpenNGTError(
            "LIBRARY_MISSING",
            "the program kinit is needed for Kerberos with a password",
            {"user": user},
            "install Debian's package krb5-user or Red Hat's krb5-workstation; or give no password, and a ticket",
        )
    if error.code == "COMMAND_TIMED_OUT":
        message = f"no KDC has answered for {user} within {KINIT_SECONDS:g} s"
        return OpenNGTError("KERBEROS_REALM_UNREACHABLE", message, {"user": user})
    return error


def _again(error: OpenNGTError) -> OpenNGTError:
    """A copy, since whoever catches an error may write into its details."""
    return OpenNGTError(error.code, error.message, dict(error.details), error.remedy)


TICKETS = Tickets()
"""Those of this process."""
