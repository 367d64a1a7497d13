# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of OpenSSH's client, as inventories hold them, to what our own client does. Pure.

An option that changes which machine is reached, or who vouches for it, is honoured or told; nothing is passed over
in silence. As with `ssh`, the first value that an option gets is the one that counts.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .credential_fields import HOST
from .target import HostKeys, SshLogin

__all__ = ["OPTIONS", "Jump", "SshArguments", "read_arguments", "read_proxy_command"]

MOST_JUMPS = 8
NOWHERE = ("/dev/null", "none")
TO_GUEST = ("%h:%p", "[%h]:%p")
JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@\s]+)@)?(?P<host>\[[^\]\s]+\]|[^:@\[\]\s]+)(?::(?P<port>[0-9]{1,5}))?/?")
IDLE_FLAGS = frozenset("ACKNTXYaknqtvx")
"""Forwarding, terminals, compression, words: nothing of it changes how our one command reaches the guest."""
VALUE_FLAGS = frozenset("BbcDEeFILmOQRSwW")
"""The others of `ssh` that take a value."""
FLAG_OPTIONS = {"i": "identityfile", "J": "proxyjump", "l": "user", "p": "port"}


class Option(NamedTuple):
    """What becomes of an `-o NAME=VALUE`."""

    name: str
    takes: Callable[[str], bool] | None
    """Which values are honoured; None: it means nothing to us, whatever its value."""
    means: str


def _any(_value: str) -> bool:
    return True


def _words(*allowed: str) -> Callable[[str], bool]:
    return lambda value: value.lower() in allowed


def _path(value: str) -> bool:
    return "%" not in value and "${" not in value


_RSA = _words("+ssh-rsa")
_HONOURED = [
    Option("HostName", lambda value: HOST.fullmatch(value) is not None, "where the guest is"),
    Option("Port", lambda value: value.isdecimal() and 0 < int(value) < 65536, "its port"),
    Option("User", _any, "who logs in"),
    Option("IdentityFile", _path, "the key; one"),
    Option("IdentitiesOnly", _words("yes", "no"), "`yes`: no key of the SSH agent"),
    Option("IdentityAgent", _words("none", "ssh_auth_sock"), "`none`: no key of the SSH agent"),
    Option("PreferredAuthentications", _any, "what it does not name is not tried"),
    Option("PubkeyAuthentication", _words("yes", "no"), "`no`: no key"),
    Option("PasswordAuthentication", _words("yes", "no"), "`no`: no password"),
    Option("ProxyJump", _any, "jump hosts, also several and `none`"),
    Option("ProxyCommand", _any, "`ssh … -W %h:%p … HOST` and `none`"),
    Option(
        "StrictHostKeyChecking", _words("yes", "ask", "accept-new", "no", "off"), "`accept-new`: trust on first use"
    ),
    Option("UserKnownHostsFile", _path, "files of host keys"),
    Option("GlobalKnownHostsFile", _path, "files of host keys"),
    Option("HostKeyAlgorithms", _RSA, "`+ssh-rsa`, which is offered"),
    Option("PubkeyAcceptedAlgorithms", _RSA, "`+ssh-rsa`, which is offered"),
    Option("PubkeyAcceptedKeyTypes", _RSA, "`+ssh-rsa`, which is offered"),
    Option("GSSAPIAuthentication", _words("no"), "`no`"),
    Option("HostbasedAuthentication", _words("no"), "`no`"),
    Option("VerifyHostKeyDNS", _words("no"), "`no`"),
    Option("AddressFamily", _words("any"), "`any`"),
    Option("PermitLocalCommand", _words("no"), "`no`"),
]
_IDLE = (
    "AddKeysToAgent BatchMode ChallengeResponseAuthentication CheckHostIP ClearAllForwardings Compression"
    " ConnectTimeout ConnectionAttempts ControlMaster ControlPath ControlPersist EscapeChar ExitOnForwardFailure"
    " ForwardAgent ForwardX11 ForwardX11Trusted GSSAPIDelegateCredentials HashKnownHosts IPQoS"
    " KbdInteractiveAuthentication LogLevel NumberOfPasswordPrompts RequestTTY SendEnv ServerAliveCountMax"
    " ServerAliveInterval SetEnv TCPKeepAlive UpdateHostKeys VisualHostKey"
)
OPTIONS: Mapping[str, Option] = {
    option.name.lower(): option for option in [*_HONOURED, *(Option(name, None, "") for name in _IDLE.split())]
}


@dataclass(frozen=True)
class Jump:
    """A host to go through, and what was said of the way to it."""

    host: str
    port: int = 22
    user: str | None = None
    arguments: SshArguments | None = None
    """Of its own `ssh` in a ProxyCommand; a ProxyJump has none, as the guest's options do not apply to it."""


@dataclass(frozen=True)
class SshArguments:
    values: Mapping[str, str] = field(default_factory=dict)
    """Lower-case option to its first value."""
    jumps: tuple[Jump, ...] = ()
    """In the order in which they are gone through."""
    problems: tuple[str, ...] = ()

    def get(self, option: str) -> str | None:
        return self.values.get(option)

    def apply(self, login: SshLogin, *, trust_new: bool, user: str) -> SshLogin:
        """The login with what the arguments say; `user` is who logs in to a jump host that names nobody."""
        login = replace(
            self._keys(login),
            host_keys=self._host_keys(trust_new),
            jump=self._jump(trust_new, user),
        )
        methods = (self.get("preferredauthentications") or "publickey,password").lower().split(",")
        if "publickey" not in methods or self.get("pubkeyauthentication") == "no":
            login = replace(login, private_key_file=None, passphrase=None, use_agent=False, default_keys=False)
        if not {"password", "keyboard-interactive"} & set(methods) or self.get("passwordauthentication") == "no":
            login = replace(login, password=None)
        return login

    def _keys(self, login: SshLogin) -> SshLogin:
        alone = self.get("identitiesonly") == "yes" or (self.get("identityagent") or "").lower() == "none"
        key = login.private_key_file or self.get("identityfile")
        return replace(login, private_key_file=key, use_agent=login.use_agent and not alone)

    def _host_keys(self, trust_new: bool) -> HostKeys:
        default = HostKeys()
        user_file, *system = default.files
        files = [path for path in (self.get("userknownhostsfile") or user_file).split() if path not in NOWHERE]
        other = self.get("globalknownhostsfile")
        system = system if other is None else [path for path in other.split() if path not in NOWHERE]
        asked = (self.get("stricthostkeychecking") or "").lower() == "accept-new"
        return HostKeys((*(files or [user_file]), *system), trust_new or asked)

    def _jump(self, trust_new: bool, user: str) -> SshLogin | None:
        """The last one before the guest, which knows the one before it."""
        before: SshLogin | None = None
        for jump in self.jumps:
            plain = SshLogin(jump.host, jump.port, jump.user or user, default_keys=True)
            login = (jump.arguments or SshArguments()).apply(plain, trust_new=trust_new, user=user)
            before = login if before is None else replace(login, jump=before)
        return before


def read_arguments(texts: Iterable[str], *, trust_new: bool = False) -> SshArguments:
    """What the texts say, one after the other. What cannot be honoured stands in `problems`, for people.

    With `trust_new` a host key that nobody is to check is trusted on first use instead, and recorded.
    """
    words: list[str] = []
    problems: list[str] = []
    for text in texts:
        try:
            words += shlex.split(text)
        except ValueError as exc:
            problems.append("cannot be read: {0}".format(str(exc).lower()))
    values, positional, unknown = _split(words)
    problems += unknown + ["holds words that are no option"] * bool(positional)
    return _judged(values, problems, trust_new)


def read_proxy_command(command: str, *, trust_new: bool = False) -> tuple[tuple[Jump, ...], tuple[str, ...]]:
    """The jump hosts of `ssh … -W %h:%p … HOST`, and what cannot be honoured."""
    form = "is a command other than: ssh -W %h:%p HOST"
    try:
        program, *words = shlex.split(command)
    except ValueError:
        return (), (form,)
    if program.rpartition("/")[2] != "ssh":
        return (), (form,)
    values, positional, unknown = _split(words, forwards=True)
    match = JUMP.fullmatch(positional[0]) if len(positional) == 1 else None
    if values.pop("-W", None) not in TO_GUEST or match is None:
        return (), (form,)
    own = _judged(values, unknown, trust_new)
    jump = _jump_of(match)
    jump = replace(
        jump,
        host=own.get("hostname") or jump.host,
        port=int(own.get("port") or jump.port) if match["port"] is None else jump.port,
        user=jump.user or own.get("user"),
        arguments=replace(own, jumps=()),
    )
    return (*own.jumps, jump), own.problems


def _split(words: Sequence[str], *, forwards: bool = False) -> tuple[dict[str, str], list[str], list[str]]:
    """(lower-case option -> first value, words that are no option, problems). `-W` is one where it `forwards`."""
    values: dict[str, str] = {}
    positional: list[str] = []
    problems: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            positional.append(word)
            continue
        letters = word[1:]
        while letters and letters[0] in IDLE_FLAGS:
            letters = letters[1:]
        if not letters:
            continue
        letter, value = letters[0], letters[1:]
        if letter not in FLAG_OPTIONS and letter != "o" and not (letter == "W" and forwards):
            problems.append("-{0} is not known to a fleet install".format(letter))
            if letter in VALUE_FLAGS and not value:
                del rest[:1]
            continue
        if not value and not rest:
            problems.append("-{0} has no value".format(letter))
            continue
        value = value or rest.pop(0)
        name, value = _assignment(value) if letter == "o" else (FLAG_OPTIONS.get(letter, "-W"), value)
        if name in ("proxyjump", "proxycommand") and {"proxyjump", "proxycommand"} & values.keys():
            continue
        values.setdefault(name, value)
    return values, positional, problems


def _assignment(text: str) -> tuple[str, str]:
    name, _equals, value = re.sub(r"\s*=\s*|\s+", "=", text.strip(), count=1).partition("=")
    return name.lower(), value.strip().strip('"')


def _judged(values: dict[str, str], problems: list[str], trust_new: bool) -> SshArguments:
    problems = list(problems)
    for name, value in values.items():
        option = OPTIONS.get(name)
        if option is None:
            known = re.fullmatch("[a-z0-9]{1,40}", name)
            problems.append("{0} is not known to a fleet install".format(name if known else "an option"))
        elif option.takes is not None and not option.takes(value):
            problems.append("{0} has a value that is not honoured; what is: {1}".format(option.name, option.means))
    if not trust_new:
        problems += _unsafe(values)
    jumps, more = _jumps(values, trust_new)
    return SshArguments(values, jumps, (*problems, *more))


def _unsafe(values: Mapping[str, str]) -> list[str]:
    """Host keys are verified: what would switch that off is told, with what to have instead."""
    problems = []
    if (values.get("stricthostkeychecking") or "").lower() in ("no", "off"):
        problems.append("StrictHostKeyChecking=no is refused; accept-new trusts on first use and refuses a changed key")
    if any(path in NOWHERE for path in (values.get("userknownhostsfile") or "").split()):
        problems.append("UserKnownHostsFile names a file that keeps nothing; name one that does")
    return problems


def _jumps(values: Mapping[str, str], trust_new: bool) -> tuple[tuple[Jump, ...], tuple[str, ...]]:
    if "proxycommand" in values:
        command = values["proxycommand"]
        if command.lower() == "none":
            return (), ()
        jumps, problems = read_proxy_command(command, trust_new=trust_new)
        return jumps, tuple("ProxyCommand: {0}".format(problem) for problem in problems)
    chain = values.get("proxyjump") or "none"
    if chain.lower() == "none":
        return (), ()
    matches = [JUMP.fullmatch(text.strip()) for text in chain.split(",")]
    if len(matches) > MOST_JUMPS or not all(matches):
        return (), ("ProxyJump is not of the form [USER@]HOST[:PORT], with commas between (at most 8)",)
    return tuple(_jump_of(match) for match in matches if match), ()


def _jump_of(match: re.Match[str]) -> Jump:
    return Jump(match["host"].strip("[]"), int(match["port"] or 22), match["user"])
