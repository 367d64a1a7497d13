# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSSH's known_hosts files: who vouches for a host's key, and recording one that is trusted on first use.

The format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT": patterns, hashed names, `[host]:port`, `@revoked`. A
`@cert-authority` vouches for host certificates alone, which are not read here, so its lines vouch for nobody.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import fcntl
import hashlib
import hmac
import os
import re
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ...effects import file_errors
from ...errors import OpenNGTError

__all__ = ["Entry", "HostKey", "Standing", "find", "judge", "parse", "read", "record"]

MAX_FILE_BYTES = 64 << 20
LOCK_SECONDS = 10.0
LOCK_POLL_SECONDS = 0.01


class HostKey(NamedTuple):
    """A host's public key."""

    kind: str
    """As in `ssh-ed25519`."""
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


class Entry(NamedTuple):
    """A line of a file."""

    marker: str
    """Empty, `@revoked` or `@cert-authority`."""
    hosts: str
    key: HostKey
    where: str
    """File and line, for people."""


class Standing(NamedTuple):
    """What the files say about one host and port."""

    trusted: Sequence[Entry]
    """Under this very name."""
    elsewhere: Sequence[Entry]
    """Under the host's name without the port. As with OpenSSH such a line vouches for its key, and accuses no other."""
    revoked: Sequence[Entry]


def parse(text: str, name: str) -> list[Entry]:
    """The lines that can be used; what ssh skips (comments, damaged lines) is skipped here."""
    entries = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#") or marker not in ("", "@revoked", "@cert-authority"):
            continue
        key = _key(words[1], words[2])
        if key is not None:
            entries.append(Entry(marker, words[0], key, f"{name}:{number}"))
    return entries


def _key(kind: str, encoded: str) -> HostKey | None:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    # A key's first field is its kind again: a line that was torn or mixed up is no key.
    if blob[: 4 + len(kind)] != struct.pack(">I", len(kind)) + kind.encode("utf-8", "replace"):
        return None
    return HostKey(kind, blob)


def read(files: Sequence[str]) -> list[Entry]:
    """All files' lines, in order; a missing file is skipped. Raises what `file_errors` does."""
    entries = []
    for name in files:
        path = Path(name).expanduser()
        with file_errors(str(path)), contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
            entries += parse(_text(stream), str(path))
    return entries


def _text(stream: BinaryIO) -> str:
    """OSError for a file that is too large to be one of known hosts, as a device is."""
    data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return data.decode("utf-8", "replace")


def names_line(hosts: str, name: str) -> bool:
    """Whether the first field of a line, hashed or a list of patterns, speaks of this name (lower case)."""
    if hosts.startswith("|"):
        return _is_hash_of(hosts, name)
    named = False
    for pattern in hosts.lower().split(","):
        negated = pattern.startswith("!")
        if _fits(pattern[negated:], name):
            if negated:
                return False
            named = True
    return named


def _is_hash_of(hosts: str, name: str) -> bool:
    parts = hosts.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return False
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in parts[2:])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)  # the format's own choice of hash


def _fits(pattern: str, name: str) -> bool:
    # Each of a fleet's guests is looked for in every line of the file: what is no pattern must cost nothing.
    if "*" not in pattern and "?" not in pattern:
        return pattern == name
    # Not fnmatch: brackets are no class here, they stand around a host with a port.
    expression = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    return re.fullmatch(expression, name, re.DOTALL) is not None


def written(host: str, port: int) -> str:
    """The name under which a host stands in the file."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def find(entries: Sequence[Entry], host: str, port: int) -> Standing:
    """What is said about this host and port."""
    named = [entry for entry in entries if names_line(entry.hosts, written(host, port))]
    plain = [] if port == 22 else [entry for entry in entries if names_line(entry.hosts, host.lower())]
    return Standing(
        trusted=[entry for entry in named if not entry.marker],
        elsewhere=[entry for entry in plain if not entry.marker],
        revoked=[entry for entry in [*named, *plain] if entry.marker == "@revoked"],
    )


def judge(standing: Standing, key: HostKey, host: str, port: int) -> bool:
    """True: the key is vouched for. False: nothing is known about the host.

    HOST_KEY_CHANGED when the host is known by another key, of whatever kind: a server that hides the known one is not
    trusted on first use. The same for a revoked key.
    """
    details = {"host": host, "port": port, "key_type": key.kind, "fingerprint": key.fingerprint}
    for entry in standing.revoked:
        if entry.key == key:
            raise OpenNGTError(
                "HOST_KEY_CHANGED",
                f"the host key {key.fingerprint} of {written(host, port)} is revoked in {entry.where}",
                details,
                remedy="give the guest a new host key; a revoked one is in the hands of somebody else",
            )
    if any(entry.key == key for entry in (*standing.trusted, *standing.elsewhere)):
        return True
    if standing.trusted:
        known = [f"{entry.key.fingerprint} ({entry.where})" for entry in standing.trusted]
        raise OpenNGTError(
            "HOST_KEY_CHANGED",
            f"{written(host, port)} shows the host key {key.fingerprint} ({key.kind}), known is {', '.join(known)}",
            {**details, "known": known},
        )
    return False


def record(file: str, key: HostKey, host: str, port: int) -> None:
    """Trust this key from now on, durably; threads and processes may do so at the same time.

    The file is only ever appended to, by one write under a lock, so lines of others, OpenSSH included, stay. A new file
    is 0600, its folder 0700. HOST_KEY_CHANGED when another key was recorded meanwhile, and what `file_errors` raises.
    """
    path = Path(file).expanduser()
    if path.exists() and not path.is_file():  # /dev/null: each use would be the first
        raise OpenNGTError("FILE_UNUSABLE", f"{path} is no regular file, so it remembers no host key")
    with file_errors(str(path)):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(path) as number:
            text = _read_all(number)
            if judge(find(parse(text, str(path)), host, port), key, host, port):
                return
            line = f"{written(host, port)} {key.kind} {base64.b64encode(key.blob).decode()}\n".encode()
            torn = b"\n" if text and not text.endswith("\n") else b""
            if os.write(number, torn + line) != len(torn + line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(number)


def _read_all(number: int) -> str:
    os.lseek(number, 0, os.SEEK_SET)
    with os.fdopen(os.dup(number), "rb") as stream:
        return _text(stream)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open and locked; still the one of that name, as `ssh-keygen -R` puts another in its place."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        number = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(number, deadline)
            if _is_at(number, path):
                yield number
                return
        finally:
            os.close(number)


def _lock(number: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
        time.sleep(LOCK_POLL_SECONDS)


def _is_at(number: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False
