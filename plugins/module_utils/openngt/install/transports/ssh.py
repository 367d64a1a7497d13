# SPDX-License-Identifier: GPL-3.0-or-later
"""The way into a guest over SSH: connect, verify the host's key, log in, start programs."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import NamedTuple

from ...errors import OpenNGTError
from ..fleet.target import Secret, SshLogin
from . import _paramiko, known_hosts, ssh_elevation
from ._paramiko import Session
from .lines import printable
from .ssh_program import SshProgram
from .ssh_wire import Stream, Wire, dial

__all__ = ["SshTransport", "connect"]

BACKOFF_BASE = 0.25
BACKOFF_CAP = 4.0
# A server that is not told otherwise takes six failures (MaxAuthTries); the key file and the password need theirs.
AGENT_KEYS = 4
# Where ssh looks by itself, in its order. A key that the agent has is not worth a second of the server's attempts.
DEFAULT_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
# What a server says instead of its version when it takes no more connections now: MaxStartups, PerSourcePenalties.
BUSY_WORDS = (b"Exceeded MaxStartups", b"Not allowed at this time")


class Limits(NamedTuple):
    """Seconds."""

    answer: float
    silence: float


def connect(
    login: SshLogin, *, connect_seconds: float = 30.0, answer_seconds: float = 60.0, silence_seconds: float = 45.0
) -> SshTransport:
    """Connect, verify the host's key, log in; through the jump hosts first, where there are any.

    `connect_seconds` is for all of it, with the attempts that are repeated because a server took no more connections in
    this moment (MaxStartups). `answer_seconds`: for a shell and sudo to answer, and for the guest to take input.
    `silence_seconds`: the connection is lost when the guest's sshd answers nothing for so long, also while a program
    that says nothing runs. Beside the codes of base.py: CREDENTIALS_EXPOSED (a key file that others can read),
    LIBRARY_MISSING, PROTOCOL_ERROR (it breaks the rules of SSH) and, about the files named in the login, what
    `file_errors` raises. `details` has `host` and `port`, and for host keys `fingerprint` and `key_type`.
    """
    if _paramiko.MISSING is not None:
        what = f"the Python library paramiko 3.4 or newer is needed: {_paramiko.MISSING}"
        raise OpenNGTError("LIBRARY_MISSING", what) from _paramiko.MISSING
    return _connect(login, time.monotonic() + connect_seconds, Limits(answer_seconds, silence_seconds))


def _connect(login: SshLogin, deadline: float, limits: Limits) -> SshTransport:
    _check(login)
    keys = [] if login.private_key_file is None else _paramiko.read_keys(login.private_key_file, login.passphrase)
    standing = known_hosts.find(known_hosts.read(login.host_keys.files), login.host, login.port)
    with contextlib.ExitStack() as undo:
        jump = None
        if login.jump is not None:
            jump = undo.enter_context(_connect(login.jump, deadline, limits))
        transport = SshTransport(login, _handshake(login, jump, standing, deadline), jump, limits)
        undo.callback(transport.close)
        with transport.session.wire.until(deadline):
            _verify_host(transport.session, login, standing)
            _log_in(transport.session, login, keys)
        transport.session.watch(limits.silence)
        undo.pop_all()
        return transport


def _check(login: SshLogin) -> None:
    """INVALID_INPUT for what can be in no login: a line end would end sudo's password early, the rest become input."""
    secrets = {"password": login.password, "passphrase": login.passphrase, "become password": login.become.password}
    values = {name: secret.reveal() for name, secret in secrets.items() if secret is not None}
    for name, value in {"host": login.host, "user": login.user, "become user": login.become.user, **values}.items():
        if any(each in "\0\r\n" or "\ud800" <= each <= "\udfff" for each in value):
            what = f"the {name} for {login.host!r} holds a line end, a NUL or half a character"
            raise OpenNGTError("INVALID_INPUT", what)
    if not 0 < login.port < 65536:
        raise OpenNGTError("INVALID_INPUT", f"the port for {login.host!r} is not between 1 and 65535: {login.port}")


def _name(login: SshLogin) -> str:
    """`host:port`, with the way to it."""
    host = f"[{login.host}]" if ":" in login.host else login.host
    return f"{host}:{login.port}" + (f" (through {_name(login.jump)})" if login.jump else "")


def _failure(
    code: str, login: SshLogin, what: str, details: Mapping[str, object] | None = None, remedy: str | None = None
) -> OpenNGTError:
    where = {"host": login.host, "port": login.port}
    return OpenNGTError(code, f"{_name(login)} {what}", {**where, **(details or {})}, remedy)


class SshTransport:
    """A Transport."""

    def __init__(self, login: SshLogin, session: Session, jump: SshTransport | None, limits: Limits) -> None:
        self.session = session
        self._login = login
        self._jump = jump
        self._limits = limits

    def __enter__(self) -> SshTransport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, command: str, *, elevated: bool = True) -> SshProgram:
        """Returns when the command has begun. Beside sudo's codes: SHELL_MISSING, GUEST_REFUSED (no session)."""
        marks = ssh_elevation.Marks.fresh()
        become = self._login.become if elevated else None
        with self._guard("does not open a session", self._limits.answer):
            channel = self._open()
            program = SshProgram(
                channel, guard=self._guard, fail=self._fail, user=self._login.user, answer_seconds=self._limits.answer
            )
        program.begin(ssh_elevation.script(command, marks, become), marks, become)
        return program

    def _open(self) -> _paramiko.Channel:
        try:
            channel = self.session.open_session(timeout=self._limits.answer)
        except _paramiko.ChannelException as exc:
            raise self._fail("GUEST_REFUSED", f"opens no further session ({exc.text}; MaxSessions)") from exc
        try:
            channel.exec_command(ssh_elevation.LOGIN_COMMAND)
        except _paramiko.SSHException as exc:
            if not self.session.is_active():
                raise
            raise self._fail("SHELL_MISSING", f"runs no command for {self._login.user}") from exc
        return channel

    def close(self) -> None:
        # The outermost first: an inner one has nothing left to wait for then.
        if self._jump is not None:
            self._jump.close()
        self.session.end()

    def _fail(
        self, code: str, what: str, details: Mapping[str, object] | None = None, remedy: str | None = None, /
    ) -> OpenNGTError:
        return _failure(code, self._login, what, details, remedy)

    @contextlib.contextmanager
    def _guard(self, what: str, seconds: float, /) -> Iterator[None]:
        wire = self.session.wire
        try:
            with wire.until(time.monotonic() + seconds):
                yield
        except _paramiko.FAILURES as exc:
            if wire.late:
                raise self._fail("GUEST_TIMED_OUT", f"{what} within {seconds:g} s") from exc
            why = self.session.farewell or wire.fate or exc
            raise self._fail("GUEST_CONNECTION_LOST", f"{what}, the connection is lost: {why}") from exc


def _handshake(login: SshLogin, jump: SshTransport | None, standing: known_hosts.Standing, deadline: float) -> Session:
    """A session with an agreed key, not yet trusted. Repeated with pauses while the server has no room for more."""
    attempts = 0
    why = ""
    while True:
        try:
            reached = _try(login, jump, standing, deadline)
        except OpenNGTError as exc:
            if why and time.monotonic() >= deadline:  # the last attempt was only short of time
                raise _full(login, why, attempts) from exc
            raise
        if isinstance(reached, Session):
            return reached
        why = reached
        pause = random.uniform(0.5, 1) * min(BACKOFF_CAP, BACKOFF_BASE * 2**attempts)  # noqa: S311  spreads load
        attempts += 1
        if time.monotonic() + pause >= deadline:
            raise _full(login, why, attempts)
        time.sleep(pause)


def _full(login: SshLogin, why: str, attempts: int) -> OpenNGTError:
    what = (
        f"drops connections before the login ({why}), {attempts} times: its sshd has no room for more (MaxStartups) "
        "or keeps this address out (PerSourcePenalties, hosts.deny)"
    )
    return _failure("GUEST_REFUSED", login, what, {"attempts": attempts})


def _try(login: SshLogin, jump: SshTransport | None, standing: known_hosts.Standing, deadline: float) -> Session | str:
    """One attempt; the words are why the server has dropped it."""
    session = Session(Wire(_stream(login, jump, deadline)), _name(login))
    try:
        _agree(session, standing, deadline)
    except _paramiko.FAILURES as exc:
        session.end()
        return _judge_handshake(session, login, exc)
    return session


def _agree(session: Session, standing: known_hosts.Standing, deadline: float) -> None:
    kinds = {entry.key.kind for entry in (*standing.trusted, *standing.elsewhere)}
    options = session.get_security_options()
    # As OpenSSH does: ask for a kind of key that is known, or a good server would seem to have changed its own.
    options.key_types = sorted(options.key_types, key=lambda each: _kind(each) not in kinds)
    with session.wire.until(deadline):
        session.start_client()


def _kind(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _judge_handshake(session: Session, login: SshLogin, exc: Exception) -> str:
    """Why the server dropped this attempt; what does not pass by itself is raised."""
    wire = session.wire
    heard = printable(wire.first.partition(b"\n")[0])
    if wire.late:
        phase = "ends no key exchange" if wire.first.startswith(b"SSH-") else "takes connections and says nothing"
        raise _failure("GUEST_TIMED_OUT", login, f"{phase} in the time for connecting") from exc
    if isinstance(exc, _paramiko.IncompatiblePeer):
        what = f"has no algorithm in common with this side: {exc}"
        raise _failure("GUEST_LOGIN_UNSUPPORTED", login, what, {"version": heard}) from exc
    spoke_ssh = not wire.first or wire.first.startswith(b"SSH-") or any(word in wire.first for word in BUSY_WORDS)
    if not spoke_ssh:
        raise _failure("GUEST_REFUSED", login, f"is no SSH server, it says: {heard}", {"heard": heard}) from exc
    if not wire.fate:
        raise _failure("PROTOCOL_ERROR", login, f"breaks the rules of SSH: {exc}", {"version": heard}) from exc
    return session.farewell or ("" if wire.first.startswith(b"SSH-") else heard) or wire.fate


def _stream(login: SshLogin, jump: SshTransport | None, deadline: float) -> Stream:
    return _socket(login, deadline) if jump is None else _channel(login, jump, deadline)


def _socket(login: SshLogin, deadline: float) -> socket.socket:
    """GUEST_UNREACHABLE, GUEST_REFUSED."""
    try:
        return dial(login.host, login.port, deadline)
    except ConnectionRefusedError as exc:
        raise _failure("GUEST_REFUSED", login, "refuses the connection: nothing listens there") from exc
    except (OSError, UnicodeError) as exc:
        reason = "nobody answers" if isinstance(exc, TimeoutError) else getattr(exc, "strerror", None) or exc
        raise _failure("GUEST_UNREACHABLE", login, f"cannot be reached: {reason}") from exc


def _channel(login: SshLogin, jump: SshTransport, deadline: float) -> _paramiko.Channel:
    """A connection from the jump host."""
    patience = max(0.01, deadline - time.monotonic())
    try:
        return jump.session.open_channel("direct-tcpip", (login.host, login.port), ("127.0.0.1", 0), timeout=patience)
    except _paramiko.ChannelException as exc:
        if exc.code == 2:
            what = "cannot be reached from the jump host, or refuses it"
            raise _failure("GUEST_UNREACHABLE", login, what) from exc
        what = f"cannot be had: the jump host forwards no connection ({exc.text}; AllowTcpForwarding, PermitOpen)"
        raise _failure("GUEST_LOGIN_UNSUPPORTED", login, what) from exc
    except _paramiko.FAILURES as exc:
        if jump.session.is_active():
            raise _failure("GUEST_UNREACHABLE", login, "cannot be reached: nobody answers the jump host") from exc
        what = f"is out of reach, the connection to the jump host is lost: {jump.session.wire.fate}"
        raise _failure("GUEST_CONNECTION_LOST", login, what) from exc


def _verify_host(session: Session, login: SshLogin, standing: known_hosts.Standing) -> None:
    """HOST_KEY_UNKNOWN, HOST_KEY_CHANGED; before anything secret is sent."""
    shown = session.get_remote_server_key()
    key = known_hosts.HostKey(shown.get_name(), shown.asbytes())
    files = login.host_keys.files
    if known_hosts.judge(standing, key, login.host, login.port):
        return
    if login.host_keys.trust_new and files:
        known_hosts.record(files[0], key, login.host, login.port)
        return
    raise _failure(
        "HOST_KEY_UNKNOWN",
        login,
        f"shows the host key {key.fingerprint} ({key.kind}), which none of {', '.join(files) or 'no file'} knows",
        {"fingerprint": key.fingerprint, "key_type": key.kind, "files": list(files)},
    )


class Attempt(NamedTuple):
    """A way to log in."""

    method: str
    name: str
    """For people."""
    run: Callable[[Session], Sequence[str]]
    """Returns which methods the server wants beside it; none: logged in."""


def _log_in(session: Session, login: SshLogin, keys: Sequence[_paramiko.PKey]) -> None:
    tried: list[str] = []
    if login.private_key_file is not None and not keys:
        tried.append(f"not the key {login.private_key_file}, as it is encrypted and no passphrase is given")
    allowed = _offered(session, login)
    if session.is_authenticated():
        return
    with contextlib.closing(_attempts(login, keys)) as attempts:
        for attempt in attempts:
            if attempt.method not in allowed or session.is_authenticated():
                continue
            if attempt.method == "keyboard-interactive" and "password" in tried:
                continue  # the same password, which would be one more failure on the account's count
            tried.append(attempt.name)
            try:
                allowed = attempt.run(session) or allowed
            except _paramiko.BadAuthenticationType as exc:
                allowed = exc.allowed_types
            except _paramiko.FAILURES as exc:
                if not session.is_active():
                    raise _cut_login(session, login, tried, exc) from exc
    if login.password is not None and not any(name.startswith("password") for name in tried):
        tried.append("not the password, which it does not take")
    if not session.is_authenticated():
        what = f"does not let {login.user} in: tried {', '.join(tried) or 'nothing, as there is nothing to try'}"
        offers = {"tried": tried, "offered": list(allowed)}
        raise _failure("GUEST_LOGIN_FAILED", login, f"{what}; it takes {', '.join(allowed) or 'nothing'}", offers)


def _offered(session: Session, login: SshLogin) -> Sequence[str]:
    """The methods that the server takes for this user; asking may already be enough to be let in."""
    try:
        return session.auth_none(login.user)
    except _paramiko.BadAuthenticationType as exc:
        return exc.allowed_types
    except _paramiko.FAILURES as exc:
        raise _cut_login(session, login, [], exc) from exc


def _cut_login(session: Session, login: SshLogin, tried: list[str], exc: Exception) -> OpenNGTError:
    """The connection has ended during the login."""
    if session.wire.late:
        return _failure("GUEST_TIMED_OUT", login, "does not answer the login in the time for connecting")
    if session.farewell:
        what = f"ends the login of {login.user} (tried {', '.join(tried)}): {session.farewell}"
        return _failure("GUEST_LOGIN_FAILED", login, what, {"tried": tried})
    if tried and tried[-1].startswith("agent") and not session.wire.fate:
        return _failure("GUEST_LOGIN_FAILED", login, f"{tried[-1]}: the ssh-agent does not sign: {exc}")
    return _failure("GUEST_CONNECTION_LOST", login, f"is lost during the login: {session.wire.fate or exc}")


def _attempts(login: SshLogin, keys: Sequence[_paramiko.PKey]) -> Generator[Attempt]:
    """In the order that SshLogin promises. The agent is asked only when it is its turn."""
    user = login.user
    file = login.private_key_file
    for key in keys:
        name = f"key {file}" if key.public_blob is None else f"certificate of key {file}"
        yield Attempt("publickey", name, functools.partial(_with_key, user, key))
    offered: list[bytes] = []
    if login.use_agent:
        wanted = None if file is None else _paramiko.public_half(file)
        with _paramiko.agent_keys() as held:
            for each in sorted(held, key=lambda one: one.blob != wanted)[:AGENT_KEYS]:
                offered.append(each.blob)
                name = f"agent's key {printable(each.comment.encode()) or each.get_name()}"
                yield Attempt("publickey", name, functools.partial(_with_key, user, each))
    if login.default_keys and file is None:
        yield from itertools.islice(_default_keys(user, offered), AGENT_KEYS - len(offered))
    if login.password is not None:
        secret = login.password
        yield Attempt(
            "password", "password", lambda session: session.auth_password(user, secret.reveal(), fallback=False)
        )
        yield Attempt(
            "keyboard-interactive",
            "password (keyboard-interactive)",
            lambda session: session.auth_interactive(user, _answers(secret)),
        )


def _default_keys(user: str, offered: Sequence[bytes]) -> Generator[Attempt]:
    """Those that lie where `ssh` looks for them, can be used without a passphrase, and have not been offered."""
    for file in DEFAULT_KEYS:
        with contextlib.suppress(OpenNGTError):
            for key in _paramiko.read_keys(file, None):
                if key.asbytes() in offered:
                    continue
                yield Attempt("publickey", f"key {file}", functools.partial(_with_key, user, key))


def _with_key(user: str, key: _paramiko.PKey, session: Session) -> Sequence[str]:
    return session.auth_publickey(user, key)


def _answers(secret: Secret) -> Callable[[str, str, list[tuple[str, bool]]], list[str]]:
    """Answer the first hidden question alone: the next one may ask for a new password, and is no business of ours."""
    asked = False

    def answer(_title: str, _instructions: str, questions: list[tuple[str, bool]]) -> list[str]:
        nonlocal asked
        answers = []
        for _text, echoed in questions:
            answers.append("" if asked or echoed else secret.reveal())
            asked = asked or not echoed
        return answers

    return answer
