# SPDX-License-Identifier: GPL-3.0-or-later
"""From a host of an Ansible inventory and its variables to a guest to install in. Pure but for the user's own name."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ...errors import OpenNGTError
from .credential_fields import HOST
from .logins import is_domain_user, known_listeners, local_user
from .shapes import nearest, shape_of
from .ssh_arguments import SshArguments, read_arguments, read_proxy_command
from .target import Become, Secret, SshLogin, Target, WinrmLogin
from .variables import FACT, FAMILIES, ROWS, Connection, Form, Row

__all__ = ["target_from_variables"]

CONNECTIONS: Mapping[str, Connection] = {
    "ssh": "ssh",
    "smart": "ssh",
    "paramiko": "ssh",
    "paramiko_ssh": "ssh",
    "winrm": "winrm",
    "psrp": "psrp",
}
AUTHS: Mapping[str, Literal["ntlm", "kerberos", "basic", "certificate", "negotiate"]] = {
    "ntlm": "ntlm",
    "kerberos": "kerberos",
    "basic": "basic",
    "ssl": "basic",
    "plaintext": "basic",
    "certificate": "certificate",
    "negotiate": "negotiate",
}
HTTP_PORTS = (80, 5985)
WORD = re.compile("[A-Za-z0-9._/-]{1,40}")
PIN = "pin the guest's certificate: openngt_winrm_thumbprint, as winrm_prep prints it, or the CA's file"


class Problem(NamedTuple):
    variable: str
    what: str
    code: str = "GUEST_LOGIN_UNSUPPORTED"


class Found:
    """The settings of one host, and what is wrong with them."""

    def __init__(self, connection: Connection, variables: Mapping[str, Any]) -> None:
        self.values: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.problems: list[Problem] = []
        for row in ROWS:
            if connection in row.connections:
                self._read(row, variables)
        self.problems += _strangers(connection, variables)

    def get(self, setting: str) -> Any:
        return self.values.get(setting)

    def secret(self, setting: str) -> Secret | None:
        value = self.values.get(setting)
        return None if value is None else Secret(value)

    def tell(self, setting: str, what: str, code: str = "GUEST_LOGIN_UNSUPPORTED") -> None:
        """A problem with a setting, by the variable that stands for it."""
        self.problems.append(Problem(self.names.get(setting, setting), what, code))

    def _read(self, row: Row, variables: Mapping[str, Any]) -> None:
        given = [name for name in row.variables if variables.get(name) not in (None, "")]
        if row.form is None or not given:
            return
        if row.setting == "ssh_arguments":
            self._read_texts(row.setting, row.form, {name: variables[name] for name in given})
            return
        name = given[-1]
        self.names[row.setting] = name
        value = row.form.read(variables[name])
        if value is None:
            what = "is {0}; honoured is: {1}".format(_shown(variables[name], secret=row.form.secret), row.form.wanted)
            self.tell(row.setting, what)
        else:
            self.values[row.setting] = value

    def _read_texts(self, setting: str, form: Form, texts: Mapping[str, Any]) -> None:
        self.names[setting] = "ansible_ssh_common_args"
        usable = self.values[setting] = {}
        for name, value in texts.items():
            text = form.read(value) if isinstance(value, str) else None
            if text is None:
                self.problems.append(Problem(name, "is {0}; honoured is: {1}".format(shape_of(value), form.wanted)))
            else:
                usable[name] = text


def target_from_variables(name: str, variables: Mapping[str, Any], *, trust_new: bool = False) -> Target:
    """The guest of an inventory's host; `variables` are evaluated (no templates, no vaults).

    `trust_new`: host keys and certificates are trusted on first use, and recorded.

    What cannot be honoured is told, all of it at once, in GUEST_LOGIN_UNSUPPORTED: `details` holds the `host`, the
    `variables` and `problems`, a `{"variable", "problem"}` each. DOMAIN_USER_UNSUPPORTED when it is only that.
    """
    asked = variables.get("ansible_connection") or "ssh"
    short = asked.removeprefix("ansible.builtin.") if isinstance(asked, str) else ""
    connection = CONNECTIONS.get(short)
    if connection is None:
        what = "is {0}; honoured are: ssh, paramiko_ssh, winrm, psrp".format(_shown(asked))
        raise _refusal(name, [Problem("ansible_connection", what)])
    found = Found(connection, variables)
    login = _ssh(name, found, trust_new) if connection == "ssh" else _winrm(name, found, trust_new)
    if found.problems:
        raise _refusal(name, found.problems)
    python = found.get("python")
    python = None if python is None or python.startswith("auto") else python
    return Target(name=name, vm=found.get("vm") or name, login=login, python=python)


def _ssh(name: str, found: Found, trust_new: bool) -> SshLogin:
    arguments = _arguments(found, trust_new)
    if found.get("host_key_checking") is False and not trust_new:
        what = "is false, and host keys are verified; trust_new_host_keys trusts on first use and refuses changed ones"
        found.tell("host_key_checking", what)
    me = _me()
    user = found.get("user") or arguments.get("user") or me
    if user is None:
        found.tell("ansible_user", "is not set, and the user who runs this has no name")
    port = arguments.get("port") or "22"
    login = SshLogin(
        host=_host(name, found, arguments.get("hostname")),
        port=found.get("port") or (int(port) if port.isdecimal() else 22),
        user=user or "",
        password=found.secret("password"),
        private_key_file=found.get("private_key_file"),
        passphrase=found.secret("passphrase"),
        default_keys=True,
        become=_become(found),
    )
    return arguments.apply(login, trust_new=trust_new, user=me or "")


def _arguments(found: Found, trust_new: bool) -> SshArguments:
    texts = found.get("ssh_arguments") or {}
    arguments = read_arguments(texts.values(), trust_new=trust_new)
    for what in arguments.problems:
        found.problems.append(Problem(_blamed(texts, what, trust_new), what))
    command = found.get("proxy_command")
    if command is not None and not arguments.jumps:
        jumps, problems = read_proxy_command(command, trust_new=trust_new)
        for what in problems:
            found.tell("proxy_command", what)
        return SshArguments(arguments.values, jumps)
    return arguments


def _blamed(texts: Mapping[str, str], what: str, trust_new: bool) -> str:
    """Which of the variables of arguments says it."""
    for name, text in texts.items():
        if what in read_arguments([text], trust_new=trust_new).problems:
            return name
    return next(iter(texts))


def _become(found: Found) -> Become:
    """The installer needs root: sudo unless the inventory says that none is needed."""
    method: Literal["none", "sudo"] = "none" if found.get("become") is False else "sudo"
    return Become(method, password=found.secret("become_password") if method == "sudo" else None)


def _winrm(name: str, found: Found, trust_new: bool) -> WinrmLogin:
    if found.get("port") in HTTP_PORTS and found.get("scheme") is None:
        found.tell("port", "is WinRM's over HTTP, where a password could be read; give an HTTPS listener's: 5986")
    user = found.get("user") or ""
    auth = _auth(found, user)
    if auth == "certificate":
        for setting, variable in (("certificate_file", "cert_pem"), ("certificate_key_file", "cert_key_pem")):
            if found.get(setting) is None:
                found.tell("ansible_winrm_{0}".format(variable), "is not set, and the login is by certificate")
    elif not user:
        found.tell("ansible_user", "is not set, and a Windows guest has no user of that name")
    elif is_domain_user(user) and auth != "kerberos":
        found.tell("user", "is a user of a domain, and the login is not by Kerberos", "DOMAIN_USER_UNSUPPORTED")
    pinned = found.get("thumbprint") is not None
    if found.get("validation") == "ignore" and not pinned and not trust_new:
        found.tell("validation", "is ignore, and certificates are verified; {0}".format(PIN))
    if pinned and found.get("ca_file") is not None:
        found.tell("thumbprint", "stands beside a CA's file; one of them vouches for the guest")
    return WinrmLogin(
        host=_host(name, found, None),
        port=found.get("port") or 5986,
        user=local_user(user),
        password=None if auth == "kerberos" and found.get("kinit_mode") == "manual" else found.secret("password"),
        auth=auth,
        ca_file=found.get("ca_file"),
        thumbprint=found.get("thumbprint"),
        trust_new=known_listeners() if trust_new and not pinned and found.get("ca_file") is None else None,
        certificate_file=found.get("certificate_file"),
        certificate_key_file=found.get("certificate_key_file"),
    )


def _auth(found: Found, user: str) -> Literal["ntlm", "kerberos", "basic", "certificate"]:
    words: Sequence[str] = found.get("auth") or ("negotiate",)
    auth = AUTHS.get(words[0]) if len(words) == 1 else None
    if auth is None:
        what = "names several ways" if len(words) > 1 else "is {0}".format(_shown(words[0]))
        found.tell("auth", "{0}; honoured is one of: ntlm, kerberos, basic, certificate".format(what))
    if auth is None or auth == "negotiate":
        return "kerberos" if "@" in user else "ntlm"
    return auth


def _host(name: str, found: Found, said: str | None) -> str:
    host = said or found.get("host") or name
    if not HOST.fullmatch(host):
        found.tell("ansible_host", "is not set, and the host's name is no host name or address of a guest")
    return str(host)


def _strangers(connection: Connection, variables: Mapping[str, Any]) -> list[Problem]:
    """Variables of this connection that no row knows."""
    known = {variable for row in ROWS for variable in row.variables if connection in row.connections}
    # A variable of another connection's row is Ansible's as well, and nothing to this one.
    elsewhere = {variable for row in ROWS for variable in row.variables}
    problems = []
    for variable in variables:
        if not isinstance(variable, str) or not variable.startswith(FAMILIES[connection]):
            continue
        if variable not in known | elsewhere and not FACT.fullmatch(variable):
            meant = nearest(variable, known)
            hint = "; is {0} meant?".format(meant) if meant else ""
            problems.append(Problem(variable, "is not known to a fleet install{0}".format(hint)))
    return problems


def _me() -> str | None:
    """Who runs this, as `ssh` sees it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None


def _shown(value: Any, *, secret: bool = False) -> str:
    """A short word of a setting that is no secret as it is; else its shape."""
    if secret:
        return shape_of(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and WORD.fullmatch(value):
        return value
    return shape_of(value)


def _refusal(name: str, problems: Sequence[Problem]) -> OpenNGTError:
    codes = {problem.code for problem in problems}
    details = {
        "host": name,
        "variables": sorted({problem.variable for problem in problems}),
        "problems": [{"variable": problem.variable, "problem": problem.what} for problem in problems],
    }
    told = "; ".join("{0} {1}".format(problem.variable, problem.what) for problem in problems)
    code = codes.pop() if len(codes) == 1 else "GUEST_LOGIN_UNSUPPORTED"
    return OpenNGTError(code, "{0}: {1}".format(name, told), details)
