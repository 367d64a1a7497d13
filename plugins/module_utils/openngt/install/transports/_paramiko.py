# SPDX-License-Identifier: GPL-3.0-or-later
"""The one file of the library that imports `paramiko`: a connection with what it lacks, private keys, the ssh-agent.

Where the package is missing, importing this file still works, so that `connect` can answer with LIBRARY_MISSING.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import logging
import os
import socket
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...effects import file_errors
from ...errors import OpenNGTError
from ..fleet.target import Secret
from .lines import printable
from .ssh_wire import Wire

try:
    import paramiko
    from paramiko import Agent as _Agent
    from paramiko import Transport as _Transport
except ImportError as exc:
    MISSING: ImportError | None = exc
    if not TYPE_CHECKING:
        _Agent = _Transport = object
else:
    MISSING = None
if TYPE_CHECKING or MISSING is None:
    from paramiko import BadAuthenticationType, Channel, ChannelException, PKey, SSHException
    from paramiko.ssh_exception import IncompatiblePeer

    # Whatever it raises about a connection.
    FAILURES = (SSHException, EOFError, OSError)

__all__ = [
    "FAILURES",
    "MISSING",
    "BadAuthenticationType",
    "Channel",
    "ChannelException",
    "IncompatiblePeer",
    "PKey",
    "SSHException",
    "Session",
    "agent_keys",
    "public_half",
    "read_keys",
]

AGENT_SECONDS = 10.0
CLOSE_SECONDS = 2.0
GLOBAL_REQUEST = 80
"""SSH_MSG_GLOBAL_REQUEST of RFC 4254."""
DISCONNECT_TEXT = 200
READING = threading.Lock()
LOG = "openngt.ssh"
"""Where the library logs, tracebacks included. All of it that matters is in the errors, so it is quiet until asked."""

if logging.getLogger(LOG).level == logging.NOTSET:
    logging.getLogger(LOG).setLevel(logging.CRITICAL)


class Session(_Transport):
    """paramiko's connection, with what it lacks: a wire with limits, questions that want an answer, the last words."""

    def __init__(self, wire: Wire, name: str) -> None:
        super().__init__(wire)  # type: ignore[arg-type]  # all that it asks of a socket
        self.set_log_channel(LOG)
        self.name = f"ssh {name}"
        self.wire = wire
        self.farewell = ""
        """Why the server ended it, in its own words."""
        # The wire's deadline is for all of it.
        self.banner_timeout = self.handshake_timeout = self.auth_timeout = 86400

    def watch(self, seconds: float) -> None:
        """Ask the server for a sign of life in each third of `seconds`; the wire breaks when none has come in all."""
        self.packetizer.set_keepalive(max(1, int(seconds / 3)), self._ask)
        self.wire.watch(seconds)

    def _ask(self) -> None:
        # The library's own keepalive wants no answer: a guest that is gone without a word would never be missed.
        question = paramiko.Message()
        question.add_byte(bytes([GLOBAL_REQUEST]))
        question.add_string("keepalive@openssh.com")
        question.add_boolean(True)
        self._send_user_message(question)  # type: ignore[attr-defined]

    def _parse_disconnect(self, m: paramiko.Message) -> None:
        m.get_int()
        self.farewell = printable(m.get_string())[:DISCONNECT_TEXT]

    @property
    def saved_exception(self) -> Exception | None:
        """What went wrong in the library's thread, as one of the kinds that callers expect."""
        return self._saved

    @saved_exception.setter
    def saved_exception(self, exc: Exception | None) -> None:
        known = exc is None or isinstance(exc, paramiko.SSHException | EOFError | OSError)
        self._saved = exc if known else paramiko.SSHException(f"{type(exc).__name__}: {exc}")

    def end(self) -> None:
        """At once, whatever the network does; its thread ends too."""
        self.wire.close()
        self.close()
        if self.is_alive() and self is not threading.current_thread():
            self.join(CLOSE_SECONDS)


class Agent(_Agent):
    """The user's ssh-agent, which may hang as anything else."""

    def _connect(self, conn: socket.socket) -> None:
        conn.settimeout(AGENT_SECONDS)
        super()._connect(conn)  # type: ignore[misc]


@contextlib.contextmanager
def agent_keys() -> Iterator[Sequence[paramiko.AgentKey]]:
    """The keys that the user's ssh-agent has, to be used while this lasts. One that is broken has none."""
    agent = None
    with contextlib.suppress(paramiko.SSHException, OSError, ValueError):
        agent = Agent()
    try:
        yield () if agent is None else agent.get_keys()
    finally:
        if agent is not None:
            agent.close()


def read_keys(file: str, passphrase: Secret | None) -> list[paramiko.PKey]:
    """What a private key file offers to log in with: the key with the certificate beside it (`-cert.pub`), then alone.

    Empty when it is encrypted and no passphrase is given: the ssh-agent may have it. CREDENTIALS_EXPOSED,
    GUEST_LOGIN_FAILED (wrong passphrase), GUEST_LOGIN_UNSUPPORTED (kind of key), and what `file_errors` raises.
    """
    path = Path(file).expanduser()
    with file_errors(str(path)):
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise OpenNGTError("FILE_UNUSABLE", f"private key file {path} is no regular file")
        if info.st_uid == os.geteuid() and stat.S_IMODE(info.st_mode) & 0o077:
            raise OpenNGTError(
                "CREDENTIALS_EXPOSED", f"others may read the private key file {path}; ssh refuses it too"
            )
        with READING:  # the first of many threads reads it for all: a passphrase costs a second of computing
            found = _load(str(path), (info.st_mtime_ns, info.st_size, info.st_ino), passphrase)
    if found is None:
        return []
    if isinstance(found, Unusable):
        raise OpenNGTError(*found)
    certificate = Path(f"{path}-cert.pub")
    return [_certified(found, certificate), found] if certificate.exists() else [found]


class Unusable(NamedTuple):
    """Remembered too: each try costs as much as a key that can be used."""

    code: str
    message: str


@functools.lru_cache(maxsize=16)
def _load(path: str, _version: tuple[int, int, int], passphrase: Secret | None) -> paramiko.PKey | Unusable | None:
    try:
        key = _parse(path, None)
    except paramiko.PasswordRequiredException:
        if passphrase is None:
            return None
        key = _parse(path, passphrase.reveal())
        what = f"the passphrase of the private key file {path} is wrong, or its kind of key cannot be used"
        return key or Unusable("GUEST_LOGIN_FAILED", what)
    what = f"private key file {path} holds no key that can be used (Ed25519, ECDSA and RSA can)"
    return key or Unusable("GUEST_LOGIN_UNSUPPORTED", what)


def _parse(path: str, passphrase: str | None) -> paramiko.PKey | None:
    """None: no kind of key that the library knows, or not with this passphrase."""
    encrypted: paramiko.PasswordRequiredException | None = None
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key_file(path, passphrase)
        except paramiko.PasswordRequiredException as exc:
            encrypted = exc
        except (paramiko.SSHException, ValueError, IndexError, TypeError):
            continue  # of another kind, each of which says so in its own way
    if encrypted is not None:
        raise encrypted
    return None


def _certified(key: paramiko.PKey, certificate: Path) -> paramiko.PKey:
    certified = copy.copy(key)
    try:
        with file_errors(str(certificate)):
            certified.load_certificate(str(certificate))
    except (paramiko.SSHException, ValueError) as exc:
        raise OpenNGTError("FILE_UNUSABLE", f"certificate {certificate} does not belong to its key: {exc}") from exc
    return certified


def public_half(private_key_file: str) -> bytes | None:
    """As it stands in the `.pub` file beside it; None where that cannot be had."""
    try:
        words = Path(f"{private_key_file}.pub").expanduser().read_text(encoding="utf-8", errors="replace").split()
        return base64.b64decode(words[1], validate=True)
    except (OSError, IndexError, ValueError):
        return None
