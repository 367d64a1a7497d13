# SPDX-License-Identifier: GPL-3.0-or-later
"""The one file of the library that imports `winrm` (pywinrm) and what it brings: WS-Management's messages.

Where the package is missing, importing this file still works, so that a caller can answer with LIBRARY_MISSING instead
of a traceback.
"""

from __future__ import annotations

import email.utils
import ssl
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NamedTuple

from ...errors import OpenNGTError
from ..fleet.target import WinrmLogin
from ._pykerberos import using
from .lines import printable
from .winrm_kerberos import TICKETS, Ticket, refusal
from .winrm_login import account
from .winrm_trust import not_reached, thumbprint_seen, untrusted

try:
    import requests
    from requests.adapters import HTTPAdapter
    from spnego.exceptions import SpnegoError
    from urllib3.exceptions import HTTPError, ReadTimeoutError
    from winrm import transport as pywinrm_transport
    from winrm.exceptions import (
        InvalidCredentialsError,
        WinRMError,
        WinRMOperationTimeoutError,
        WinRMTransportError,
        WSManFaultError,
    )
    from winrm.protocol import Protocol
except ImportError as exc:
    MISSING: ImportError | None = exc
    HTTPAdapter = object  # type: ignore[assignment, misc]
else:
    MISSING = None

__all__ = ["Listener", "Received", "require"]

MAX_ANSWER_BYTES = 16 * 1024 * 1024
ANSWER_SECONDS = 20
"""How long one operation may take that does not wait for the program."""
GRACE_SECONDS = 10
"""How much longer than its operation an answer may take to arrive."""
CLOSING_SECONDS = 3
IDLE_TIMEOUT = "PT900S"
"""After this long without a message the guest itself ends a shell, and what runs in it: a controller was killed."""
UTF_8 = 65001
SEND_SECONDS = 60
"""For input: a program that takes none holds the message up in the guest."""
BUSY_ATTEMPTS = 4
BUSY_PAUSE_SECONDS = 2.0
ACCESS_DENIED = 5
BUSY = 170
SKEW_SECONDS = 300
"""More than this between two clocks, and Kerberos refuses: its default everywhere."""
SHELL_NOT_FOUND = 2150858843
"""wsmerror.h: ERROR_WSMAN_INVALID_SELECTORS, what a shell that is gone answers."""


class Received(NamedTuple):
    """What a program has said since it was asked last."""

    stdout: bytes
    stderr: bytes
    exit_status: int | None
    """Known once it has ended; nothing comes after it."""


def require(auth: str) -> None:
    """LIBRARY_MISSING where pywinrm, or what it needs for this way to log in, cannot be imported."""
    if MISSING is not None:
        message = f"the Python library pywinrm 0.5 or newer is needed: {MISSING}"
        raise OpenNGTError("LIBRARY_MISSING", message) from MISSING
    if auth == "kerberos" and not pywinrm_transport.HAVE_KERBEROS:
        message = "the Python library pykerberos is needed for Kerberos: pip install 'pywinrm[kerberos]'"
        raise OpenNGTError("LIBRARY_MISSING", message)
    if auth == "ntlm" and not pywinrm_transport.HAVE_NTLM:
        raise OpenNGTError("LIBRARY_MISSING", "the Python library requests_ntlm is needed for NTLM")


class Listener:
    """The messages of one login to one listener. Each raises OpenNGTError alone, and has a time limit.

    Before the first answer, a failure says why nothing came about; after it, GUEST_CONNECTION_LOST or GUEST_TIMED_OUT.
    """

    def __init__(self, login: WinrmLogin, context: ssl.SSLContext, connect_seconds: float) -> None:
        self._login = login
        self._adapter = _VerifyingAdapter(context, connect_seconds, self._note)
        self._answered = False
        self._deadline = 0.0
        self.lost = False
        """The guest does not answer any more, or the connection broke."""
        self._offered: str | None = None
        self._ahead = 0.0
        """Seconds by which the guest's clock was before this host's when it refused."""
        self._ticket: Ticket | None = None
        with self._failures("log in"):
            self._protocol = _protocol(login)
            self._session = self._protocol.transport.build_session()
        # Nothing of the environment: no proxy, no .netrc, no other CAs. And nobody sends us elsewhere.
        self._session.trust_env = False
        self._session.max_redirects = 0
        self._session.mount("https://", self._adapter)
        self._session.hooks["response"].append(self._read)
        if login.auth == "kerberos" and login.password is not None:
            self._ticket = TICKETS.open(account(login), login.password.reveal())
            _take_ticket(self._session.auth, self._ticket)

    def open_shell(self) -> str:
        """GUEST_LOGIN_FAILED, GUEST_REFUSED (a quota too), and what stands in the way of a first connection."""
        with self._failures("open a shell"):
            self._limit(ANSWER_SECONDS)
            return str(self._protocol.open_shell(codepage=UTF_8, noprofile=False, idle_timeout=IDLE_TIMEOUT))

    def run(self, shell: str, command: str) -> str:
        """Start a command line; the name of what runs."""
        with self._failures("start a program"):
            self._limit(ANSWER_SECONDS)
            # Not a console's input: bytes arrive as they are sent.
            return str(self._protocol.run_command(shell, command, console_mode_stdin=False))

    def send(self, shell: str, command: str, data: bytes, *, end: bool = False) -> None:
        """Write to its standard input."""
        with self._failures("send input"):
            self._limit(SEND_SECONDS)
            for _attempt in range(BUSY_ATTEMPTS):
                try:
                    self._protocol.send_command_input(shell, command, data, end=end)
                    return
                except WSManFaultError as exc:
                    # It still takes in what came before; this was not taken, so it may be sent again.
                    if exc.wsman_fault_code != BUSY:
                        raise
                    refused = exc
                time.sleep(BUSY_PAUSE_SECONDS)
            raise refused

    def receive(self, shell: str, command: str, seconds: float) -> Received | None:
        """Wait for its output, at least one second; None when it said nothing."""
        with self._failures("read output"):
            self._limit(max(1, round(seconds)))
            try:
                stdout, stderr, status, ended = self._protocol.get_command_output_raw(shell, command)
            except WinRMOperationTimeoutError:
                return None
        return Received(stdout, stderr, status if ended else None)

    def terminate(self, shell: str, command: str) -> None:
        """End it, or say that its end was seen: until then the guest keeps what belongs to it."""
        with self._failures("end a program"):
            self._limit(CLOSING_SECONDS)
            self._protocol.cleanup_command(shell, command)

    def delete(self, shell: str) -> None:
        with self._failures("close the shell"):
            self._limit(CLOSING_SECONDS)
            self._adapter.connect_seconds = CLOSING_SECONDS
            self._protocol.close_shell(shell, close_session=False)

    def close(self) -> None:
        """A message of another thread's fails, or goes over a connection that is verified as the first was."""
        self._session.close()
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.close()

    def _limit(self, seconds: int) -> None:
        within = seconds + min(seconds, GRACE_SECONDS)
        self._protocol.operation_timeout_sec = seconds
        self._protocol.transport.read_timeout_sec = within
        self._deadline = time.monotonic() + self._adapter.connect_seconds + 3 * within  # NTLM takes three messages

    def _note(self, response: requests.Response) -> None:
        """Called for each answer, those of a handshake included."""
        self._answered = True
        if response.status_code == requests.codes.unauthorized and self._offered is None:
            # The first says what there is; a later one holds NTLM's challenge.
            offered = {part.split(" ")[0] for part in response.headers.get("WWW-Authenticate", "").split(", ") if part}
            self._offered = printable(", ".join(sorted(offered)).encode()) or None
            self._ahead = _ahead(response.headers.get("Date"))

    def _read(self, response: requests.Response, **_: object) -> None:
        """Called for the last answer, after NTLM and Kerberos have taken the certificate from its open connection."""
        content = bytearray()
        for piece in _pieces(response):
            content += piece
            if len(content) > MAX_ANSWER_BYTES:
                response.close()
                message = f"{self._place} gave an answer of more than {MAX_ANSWER_BYTES} bytes"
                raise OpenNGTError("PROTOCOL_ERROR", message, self._details())
            if time.monotonic() > self._deadline:
                response.close()
                raise requests.exceptions.ReadTimeout("the answer does not end")
        response._content = bytes(content)

    @contextmanager
    def _failures(self, doing: str) -> Iterator[None]:
        try:
            yield
        except InvalidCredentialsError as exc:
            raise self._login_failed() from exc
        except WinRMOperationTimeoutError as exc:
            message = f"{self._place} could not {doing} within the time that it had for it"
            raise OpenNGTError("GUEST_TIMED_OUT", message, self._details()) from exc
        except WSManFaultError as exc:
            raise self._fault(doing, exc) from exc
        except WinRMTransportError as exc:
            raise self._no_wsman(doing, exc) from exc
        except (requests.exceptions.RequestException, OSError, SpnegoError) as exc:
            raise self._wire(doing, exc) from exc
        except (WinRMError, ET.ParseError, StopIteration, AssertionError, LookupError, TypeError, ValueError) as exc:
            # What pywinrm meets in an answer that is not of the protocol.
            message = f"{self._place} gave an answer that is no WS-Management: could not {doing} ({type(exc).__name__})"
            raise OpenNGTError("PROTOCOL_ERROR", message, self._details()) from exc

    @property
    def _place(self) -> str:
        return f"{self._login.host}:{self._login.port}"

    def _details(self, **more: object) -> dict[str, object]:
        return {"host": self._login.host, "port": self._login.port, **more}

    def _login_failed(self) -> OpenNGTError:
        auth, offered = self._login.auth, self._offered
        scheme = {"ntlm": ("negotiate", "ntlm"), "kerberos": ("kerberos", "negotiate"), "basic": ("basic",)}.get(
            auth, ()
        )
        if offered is not None and scheme and not any(name in offered.lower() for name in scheme):
            return OpenNGTError(
                "GUEST_LOGIN_UNSUPPORTED",
                f"{self._place} does not take {auth}; it offers {offered}",
                self._details(auth=auth, offered=offered),
                "choose one that is offered (ansible_winrm_transport), or allow this one in the guest: role winrm_prep",
            )
        remedy = None
        if auth == "kerberos":
            if abs(self._ahead) > SKEW_SECONDS:
                message = (
                    f"the clock of {self._place} is {self._ahead:+.0f} s from this host's, and Kerberos wants one time"
                )
                return OpenNGTError("KERBEROS_CLOCK_SKEW", message, self._details(seconds=round(self._ahead)))
            remedy = "see that the guest is still a member of its domain, and called by the name that it has there"
        return OpenNGTError(
            "GUEST_LOGIN_FAILED",
            f"{self._place} does not take this login ({auth})",
            self._details(auth=auth, offered=offered),
            remedy,
        )

    def _fault(self, doing: str, exc: WSManFaultError) -> OpenNGTError:
        """The guest understood and says no."""
        text = printable(" ".join(str(exc.reason).split()).encode())
        numbers = (exc.wsman_fault_code, exc.wmierror_code)
        details = self._details(fault=text, wsman_fault_code=exc.wsman_fault_code, wmi_error_code=exc.wmierror_code)
        if ACCESS_DENIED in numbers:
            message = f"{self._place} knows this user and does not let it in: {text}"
            remedy = (
                "log in as a member of the guest's Administrators; a local one needs LocalAccountTokenFilterPolicy = 1"
            )
            return OpenNGTError("GUEST_LOGIN_FAILED", message, details, remedy)
        if SHELL_NOT_FOUND in numbers:
            return OpenNGTError("GUEST_CONNECTION_LOST", f"the shell at {self._place} is gone: {text}", details)
        return OpenNGTError("GUEST_REFUSED", f"{self._place} refuses to {doing}: {text}", details)

    def _no_wsman(self, doing: str, exc: WinRMTransportError) -> OpenNGTError:
        message = f"{self._place} answers with HTTP status {exc.code}, where a WinRM listener was to {doing}"
        return OpenNGTError("GUEST_REFUSED", message, self._details(status=exc.code))

    def _wire(self, doing: str, exc: Exception) -> OpenNGTError:
        """No answer, or not all of it."""
        found = list(_causes(exc))
        refused = next((cause for cause in found if isinstance(cause, ssl.SSLError)), None)
        if refused is not None and (error := self._not_verified(refused)):
            return error
        if isinstance(exc, PermissionError | SpnegoError) or "kerberos" in type(exc).__module__:
            return self._no_token(exc)
        if isinstance(exc, requests.exceptions.TooManyRedirects):
            message = f"{self._place} sends the login elsewhere, where it does not go"
            return OpenNGTError("GUEST_REFUSED", message, self._details())
        self.lost = True
        if isinstance(exc, requests.exceptions.ConnectTimeout) and not self._answered:
            return not_reached(self._login, TimeoutError())
        if isinstance(exc, requests.exceptions.Timeout):
            message = f"{self._place} does not answer in time: could not {doing}"
            return OpenNGTError("GUEST_TIMED_OUT", message, self._details())
        reasons = [
            cause for cause in found if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException)
        ]
        if not self._answered and reasons and self._login.auth == "certificate" and _was_cut(reasons[-1]):
            # In TLS 1.3 the client's certificate is judged after its handshake, and the alert may be lost.
            return self._certificate_refused("it ends the connection")
        if not self._answered and reasons:
            return not_reached(self._login, reasons[-1])
        why = str(reasons[-1]) if reasons else type(exc).__name__
        message = f"the connection to {self._place} ended half-way: could not {doing} ({why})"
        return OpenNGTError("GUEST_CONNECTION_LOST", message, self._details())

    def _not_verified(self, exc: ssl.SSLError) -> OpenNGTError | None:
        """One side does not take the other's certificate; None where TLS failed for another reason."""
        if isinstance(exc, ssl.SSLCertVerificationError):
            return untrusted(
                self._login, exc.verify_message, thumbprint_seen(self._login, self._adapter.connect_seconds)
            )
        if self._login.auth == "certificate" and "ALERT" in (exc.reason or ""):
            return self._certificate_refused(str(exc.reason).replace("_", " ").lower())
        return None

    def _certificate_refused(self, how: str) -> OpenNGTError:
        message = f"{self._place} does not take the certificate of the login: {how}"
        return OpenNGTError("GUEST_LOGIN_FAILED", message, self._details(auth=self._login.auth))

    def _no_token(self, exc: Exception) -> OpenNGTError:
        """The two sides could not agree who they are."""
        said = printable(" ".join(str(exc).split()).encode())
        code, remedy = refusal(said) if self._login.auth == "kerberos" else ("GUEST_LOGIN_FAILED", None)
        message = f"{self._place}: no {self._login.auth} session came about for {account(self._login)}: {said}"
        return OpenNGTError(code, message, self._details(auth=self._login.auth), remedy)


class _VerifyingAdapter(HTTPAdapter):
    """Connects with the context it is given, whatever `verify` says."""

    def __init__(
        self, context: ssl.SSLContext, connect_seconds: float, note: Callable[[requests.Response], None]
    ) -> None:
        self._context = context
        self.connect_seconds = connect_seconds
        self._note = note
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Not requests' own, which would add its bundle of CAs to the context."""

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Host and port alone: the rest would overrule the context."""
        host, _pool = super().build_connection_pool_key_attributes(request, True, None)
        return host, {}

    def send(
        self,
        request: Any,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        response = super().send(request, True, (self.connect_seconds, timeout), verify, cert, proxies)
        self._note(response)
        return response


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """The body as it arrives: requests' own reading waits for whole pieces, however slowly their bytes come."""
    if not hasattr(response.raw, "read1"):  # urllib3 1.26: within the time limit for an answer that comes at all
        yield from response.iter_content(1024)
        return
    try:
        while piece := response.raw.read1(65536, decode_content=True):
            yield piece
    except ReadTimeoutError as exc:
        raise requests.exceptions.ReadTimeout(exc) from exc
    except HTTPError as exc:
        raise requests.exceptions.ConnectionError(exc) from exc


def _protocol(login: WinrmLogin) -> Protocol:
    host = f"[{login.host}]" if ":" in login.host else login.host
    return Protocol(
        f"https://{host}:{login.port}/wsman",
        transport=login.auth,
        username=account(login),
        password=login.password.reveal() if login.password is not None else None,
        cert_pem=login.certificate_file,
        cert_key_pem=login.certificate_key_file,
        server_cert_validation="validate",
        ca_trust_path=None,  # type: ignore[arg-type]  # None, as its documentation has it: nothing of the environment
        # TLS encrypts the messages; NTLM's own encryption is for plain HTTP, which is not spoken here.
        message_encryption="auto",
        proxy=None,
    )


def _take_ticket(auth: Any, ticket: Ticket) -> None:
    """Have pywinrm's Kerberos log in with this ticket, in whichever thread and however often it does."""
    generate = auth.generate_request_header

    @wraps(generate)
    def with_ticket(*args: Any, **kwargs: Any) -> Any:
        with using(ticket.cache):
            return generate(*args, **kwargs)

    auth.generate_request_header = with_ticket


def _ahead(date: str | None) -> float:
    """By how many seconds an answer's Date is before this host's clock; 0 without one."""
    try:
        return email.utils.parsedate_to_datetime(date or "").timestamp() - time.time()
    except ValueError:
        return 0.0


def _was_cut(exc: OSError) -> bool:
    return isinstance(exc, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError | BrokenPipeError)


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """An exception and those that led to it, wherever requests and urllib3 have put them."""
    waiting, seen = [exc], set()
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
        waiting += [one for one in inner if isinstance(one, BaseException)]
