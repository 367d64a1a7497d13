# SPDX-License-Identifier: GPL-3.0-or-later
"""One guest of a fleet and how to reach it, wherever that was read: inventory variables or a list of credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Become", "HostKeys", "Secret", "SshLogin", "Target", "WinrmLogin"]


class Secret:
    """A value that shows itself to nobody by accident: not in a message, a traceback's locals, a diff or a log."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value, for the one call that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(****)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialised")


@dataclass(frozen=True)
class HostKeys:
    """Who vouches for an SSH server."""

    files: tuple[str, ...] = ("~/.ssh/known_hosts", "/etc/ssh/ssh_known_hosts")
    """OpenSSH's own format, read in this order; missing ones are skipped."""
    trust_new: bool = False
    """Trust on first use, which is recorded in the first of the files. A changed key is refused all the same."""


@dataclass(frozen=True)
class Become:
    """How the login becomes root; a login of uid 0 needs nothing."""

    method: Literal["none", "sudo"] = "sudo"
    user: str = "root"
    password: Secret | None = None


@dataclass(frozen=True)
class SshLogin:
    """SSH: host, port and what is tried, in this order: the key, the agent's keys, the password."""

    host: str
    port: int = 22
    user: str = "root"
    password: Secret | None = None
    private_key_file: str | None = None
    passphrase: Secret | None = None
    use_agent: bool = True
    default_keys: bool = False
    """Without a `private_key_file`: after the agent's keys also those in ~/.ssh that `ssh` tries by itself."""
    host_keys: HostKeys = field(default_factory=HostKeys)
    become: Become = field(default_factory=Become)
    jump: SshLogin | None = None
    """The host to go through, which may have one of its own."""


@dataclass(frozen=True)
class WinrmLogin:
    """WinRM over HTTPS. Exactly one of `ca_file`, `thumbprint` and `trust_new` may replace the system's CAs."""

    host: str
    port: int = 5986
    user: str = "Administrator"
    password: Secret | None = None
    auth: Literal["ntlm", "kerberos", "basic", "certificate"] = "ntlm"
    ca_file: str | None = None
    thumbprint: str | None = None
    """SHA-256 of the listener's certificate, 64 lower-case hex digits."""
    trust_new: str | None = None
    """A file of `host:port sha256` lines: trust on first use, recorded there. A changed one is refused all the same."""
    certificate_file: str | None = None
    certificate_key_file: str | None = None


@dataclass(frozen=True)
class Target:
    """A guest to install in."""

    name: str
    """In the inventory or in the list; the row's name, and what a `--limit` file holds."""
    vm: str
    """UUID or name on the hypervisor."""
    login: SshLogin | WinrmLogin
    python: str | None = None
    """A Linux guest's interpreter, where the user names one."""

    @property
    def platform(self) -> Literal["linux", "windows"]:
        return "windows" if isinstance(self.login, WinrmLogin) else "linux"
