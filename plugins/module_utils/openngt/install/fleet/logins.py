# SPDX-License-Identifier: GPL-3.0-or-later
"""From an entry of a list of credentials, whose form is right, to a login. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from .credential_fields import HOST, thumbprint_of
from .known_guests import KnownGuest
from .target import Become, HostKeys, Secret, SshLogin, WinrmLogin

__all__ = ["Entry", "Unfit", "is_domain_user", "known_listeners", "local_user", "login_of"]

LOCAL = ".\\"
DOMAIN_USER = (
    "is a user of a domain; give auth: kerberos, a local user (.\\name), or os: linux where the guest is a Linux"
)


class Unfit(NamedTuple):
    """Why an entry gives no login, though each of its fields is right."""

    field: str
    what: str
    code: str = "INVALID_INPUT"


class Entry:
    """An entry with its defaults."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found = found
        self.credentials: Mapping[str, Any] = found["credentials"]
        self.user: str = self.credentials["username"]

    @property
    def vm(self) -> str:
        """The UUID, which is unique, before the name."""
        return str(self.found["uuid"]).lower() if self.found.get("uuid") else str(self.found["vmname"])

    @property
    def name(self) -> str:
        return str(self.found.get("vmname") or self.vm)

    def get(self, field: str) -> Any:
        return self.found.get(field)

    def secret(self, field: str) -> Secret | None:
        value = self.credentials.get(field)
        return None if value is None else Secret(value)


def is_domain_user(user: str) -> bool:
    """`DOMAIN\\user` or `user@domain`, but not `.\\user`."""
    return "@" in user or ("\\" in user and not user.startswith(LOCAL))


def local_user(user: str) -> str:
    """Without the `.\\` by which Windows names a user of its own."""
    return user[len(LOCAL) :] if user.startswith(LOCAL) else user


def known_listeners() -> str:
    """Where the certificates of WinRM listeners are recorded that were trusted on first use."""
    return os.path.expanduser("~/.ssh/openngt_known_listeners")


def login_of(entry: Entry, known: KnownGuest, trust_new: bool) -> SshLogin | WinrmLogin | Unfit:
    """`known` is what the service knows of the guest; `trust_new`: trust on first use, recorded."""
    connection = _connection(entry, known)
    if isinstance(connection, Unfit):
        return connection
    host = entry.get("host") or known.address or (entry.get("vmname") or "")
    if not HOST.fullmatch(host):
        return Unfit("host", "is missing: the service does not know the guest's address, and vmname is no host name")
    return _winrm(entry, host, trust_new) if connection == "winrm" else _ssh(entry, host, trust_new)


def _connection(entry: Entry, known: KnownGuest) -> Literal["ssh", "winrm"] | Unfit:
    """What the entry says; else what its user's name shows, then what the service knows, then SSH."""
    asked, kind = entry.get("connection"), entry.get("os")
    if (asked, kind) in (("ssh", "windows"), ("winrm", "linux")):
        return Unfit("os", "does not go with connection: Linux guests take SSH, Windows guests WinRM")
    if asked == "ssh" or kind == "linux":
        if "\\" in entry.user:
            return Unfit("credentials.username", "is a user of Windows, and the entry says that the guest is a Linux")
        return "ssh"
    if asked == "winrm" or kind == "windows" or is_domain_user(entry.user) or entry.user.startswith(LOCAL):
        return "winrm"
    return "winrm" if known.os == "windows" else "ssh"


def _ssh(entry: Entry, host: str, trust_new: bool) -> SshLogin | Unfit:
    for field in ("auth", "ca_file", "thumbprint"):
        if entry.get(field) is not None:
            return Unfit(field, "is for WinRM, and this guest takes SSH; give connection: winrm, or leave it out")
    if not entry.credentials.keys() & {"password", "private_key_file"}:
        return Unfit("credentials.password", "is missing; give password or private_key_file")
    return SshLogin(
        host=host,
        port=entry.get("port") or 22,
        user=entry.user,
        password=entry.secret("password"),
        private_key_file=entry.credentials.get("private_key_file"),
        passphrase=entry.secret("private_key_passphrase"),
        # A list names a key or a password for each guest; an agent's keys would be counted as failed attempts before.
        use_agent=False,
        host_keys=HostKeys(trust_new=trust_new),
        # As with Ansible's --ask-become-pass, whose default is the login's password.
        become=Become(password=entry.secret("become_password") or entry.secret("password")),
    )


def _winrm(entry: Entry, host: str, trust_new: bool) -> WinrmLogin | Unfit:
    auth: Literal["ntlm", "kerberos", "basic"] = entry.get("auth") or "ntlm"
    if is_domain_user(entry.user) and auth != "kerberos":
        return Unfit("credentials.username", DOMAIN_USER, "DOMAIN_USER_UNSUPPORTED")
    for field in ("private_key_file", "private_key_passphrase", "become_password"):
        if entry.credentials.get(field) is not None:
            return Unfit("credentials." + field, "is for SSH, and this guest takes WinRM")
    if entry.get("python") is not None:
        return Unfit("python", "is for Linux guests; a Windows guest gets its own from the disc")
    if auth != "kerberos" and "password" not in entry.credentials:
        return Unfit("credentials.password", "is missing")
    if entry.get("thumbprint") and entry.get("ca_file"):
        return Unfit("thumbprint", "stands beside ca_file; one of them vouches for the guest")
    return WinrmLogin(
        host=host,
        port=entry.get("port") or 5986,
        user=local_user(entry.user),
        password=entry.secret("password"),
        auth=auth,
        ca_file=entry.get("ca_file"),
        thumbprint=thumbprint_of(entry.get("thumbprint")),
        trust_new=known_listeners() if trust_new and not (entry.get("thumbprint") or entry.get("ca_file")) else None,
    )
