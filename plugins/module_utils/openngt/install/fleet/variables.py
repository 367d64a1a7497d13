# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's variables of a connection, one row for each setting: what a fleet install makes of it.

The page docs/credentials.md repeats the table. Where a setting has several variables a later one wins, as in Ansible.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from .credential_fields import HOST, thumbprint_of

__all__ = ["FACT", "FAMILIES", "ROWS", "Connection", "Form", "Row"]

Connection = Literal["ssh", "winrm", "psrp"]

SSH: tuple[Connection, ...] = ("ssh",)
WINRM: tuple[Connection, ...] = ("winrm",)
PSRP: tuple[Connection, ...] = ("psrp",)
WINDOWS: tuple[Connection, ...] = ("winrm", "psrp")
ALL: tuple[Connection, ...] = ("ssh", "winrm", "psrp")

FAMILIES: dict[Connection, tuple[str, ...]] = {
    "ssh": ("ansible_ssh_", "ansible_paramiko_", "ansible_become_", "ansible_sudo_", "ansible_private_key"),
    "winrm": ("ansible_winrm_", "ansible_become_", "openngt_winrm_"),
    "psrp": ("ansible_psrp_", "ansible_become_", "openngt_winrm_"),
}
"""How variables of a connection begin: one that is in no row is told, as it may be a slip or newer than this table."""
FACT = re.compile(r"ansible_ssh_host_key_[a-z0-9]+_public(_keytype)?")
"""What `setup` has found in the guest; no settings."""


class Form(NamedTuple):
    wanted: str
    """What belongs there, for people."""
    read: Callable[[Any], Any]
    """The value in our form; None when it is none that is honoured."""
    secret: bool = False


class Row(NamedTuple):
    setting: str
    connections: tuple[Connection, ...]
    variables: tuple[str, ...]
    means: str
    """For the page: what it does, or why it means nothing here."""
    form: Form | None
    """None: it has no meaning for a fleet install, whatever its value."""


def _text(value: Any) -> str | None:
    """Numbers are text to Ansible, too: a password of digits alone, a user named 1001."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value)
    usable = text and "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
    return text if usable else None


def _line(value: Any) -> str | None:
    text = _text(value)
    return text if text is not None and "\n" not in text and "\r" not in text else None


def _boolean(value: Any) -> bool | None:
    word = str(value).strip().lower() if isinstance(value, (bool, int, str)) else ""
    if word in ("yes", "y", "true", "t", "on", "1"):
        return True
    return False if word in ("no", "n", "false", "f", "off", "0") else None


def _port(value: Any) -> int | None:
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) < 65536 else None


def _host(value: Any) -> str | None:
    text = _text(value)
    return text if text is not None and HOST.fullmatch(text) else None


def _words(value: Any) -> tuple[str, ...] | None:
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(word, str) for word in found):
        return None
    return tuple(word.strip().lower() for word in found if word.strip()) or None


def _only(*allowed: str) -> Form:
    """Of a choice, those words alone that are honoured."""
    spelt = " or ".join(allowed)
    return Form(spelt, lambda value: value.lower() if isinstance(value, str) and value.lower() in allowed else None)


def _flag(wanted: bool) -> Form:
    word = "true" if wanted else "false"
    return Form("{0} alone".format(word), lambda value: word if _boolean(value) is wanted else None)


def _sudo_flags(value: Any) -> str | None:
    return value if isinstance(value, str) and set(value.split()) <= {"-H", "-S", "-n", "-k", "-E"} else None


def _interpreter(value: Any) -> str | None:
    text = _line(value)
    return text if text is not None and (text.startswith("/") or text.startswith("auto")) else None


TEXT = Form("text in one line", _line)
PATH = Form("a path", _line)
HOST_NAME = Form("a host name or an address", _host)
PORT = Form("a port", _port)
BOOLEAN = Form("true or false", _boolean)
SECRET = Form("text in one line", _line, secret=True)
UNSET = Form("nothing: it is not known to a fleet install", lambda value: None)
KEY_TEXT = Form("nothing: give the key as a file (ansible_ssh_private_key_file) or by an SSH agent", lambda value: None)

_OURS = [
    Row("vm", ALL, ("openngt_vm",), "the VM on the hypervisor, by UUID or name; the host's name otherwise", TEXT),
    Row(
        "thumbprint",
        WINDOWS,
        ("openngt_winrm_thumbprint",),
        "SHA-256 of the listener's certificate, as `winrm_prep` prints it: this certificate and no other is trusted",
        Form("a SHA-256 of 64 hex digits (40 are SHA-1)", thumbprint_of),
    ),
]

_SSH = [
    Row("host", SSH, ("ansible_host", "ansible_ssh_host", "ansible_paramiko_host"), "where the guest is", HOST_NAME),
    Row("port", SSH, ("ansible_port", "ansible_ssh_port", "ansible_paramiko_port"), "its port", PORT),
    Row(
        "user",
        SSH,
        ("ansible_user", "ansible_ssh_user", "ansible_paramiko_user"),
        "who logs in; the user who runs this otherwise, as with `ssh`",
        TEXT,
    ),
    Row(
        "password",
        SSH,
        (
            "ansible_password", "ansible_ssh_pass", "ansible_ssh_password", "ansible_paramiko_pass",
            "ansible_paramiko_password",
        ),
        "tried after the keys",
        SECRET,
    ),
    Row(
        "private_key_file",
        SSH,
        ("ansible_private_key_file", "ansible_ssh_private_key_file", "ansible_paramiko_private_key_file"),
        "tried first",
        PATH,
    ),
    Row(
        "passphrase",
        SSH,
        ("ansible_private_key_passphrase", "ansible_ssh_private_key_passphrase"),
        "of that key",
        SECRET,
    ),
    Row("private_key", SSH, ("ansible_private_key", "ansible_ssh_private_key"), "a key's own text", KEY_TEXT),
    Row(
        "host_key_checking",
        SSH,
        ("ansible_host_key_checking", "ansible_ssh_host_key_checking", "ansible_paramiko_host_key_checking"),
        "host keys are verified; `false` needs `trust_new_host_keys`, which trusts on first use",
        BOOLEAN,
    ),
    Row(
        "ssh_arguments",
        SSH,
        ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"),
        "see below which options; all three are read, in this order",
        TEXT,
    ),
    Row("proxy_command", SSH, ("ansible_paramiko_proxy_command",), "`ssh … -W %h:%p … HOST`", TEXT),
    Row("become", SSH, ("ansible_become",), "`false`: the login is root already; sudo otherwise", BOOLEAN),
    Row("become_method", SSH, ("ansible_become_method",), "sudo", _only("sudo", "ansible.builtin.sudo")),
    Row("become_user", SSH, ("ansible_become_user", "ansible_sudo_user"), "root", _only("root")),
    Row("become_exe", SSH, ("ansible_become_exe", "ansible_sudo_exe"), "sudo as found on PATH", _only("sudo")),
    Row(
        "become_flags",
        SSH,
        ("ansible_become_flags", "ansible_sudo_flags"),
        "the ordinary ones",
        Form("none but -H -S -n -k -E", _sudo_flags),
    ),
    Row(
        "become_password",
        SSH,
        ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"),
        "sudo's",
        SECRET,
    ),
    Row(
        "python",
        SSH,
        ("ansible_python_interpreter",),
        "the guest's Python; `auto…`: looked for",
        Form("a path from the root, or auto", _interpreter),
    ),
    Row("pkcs11", SSH, ("ansible_ssh_pkcs11_provider",), "keys on a smartcard, other than by an SSH agent", UNSET),
    Row("shell_type", SSH, ("ansible_shell_type",), "Windows takes WinRM", _only("sh", "csh", "fish")),
    Row("ssh_executable", SSH, ("ansible_ssh_executable",), "our own client connects", _only("ssh", "/usr/bin/ssh")),
    Row("rsa_sha2", SSH, ("ansible_paramiko_use_rsa_sha2_algorithms",), "are used", _flag(True)),
    Row("pipelining", SSH, ("ansible_pipelining", "ansible_ssh_pipelining"), "nothing is copied to the guest", None),
    Row(
        "copying",
        SSH,
        (
            "ansible_sftp_executable", "ansible_scp_executable", "ansible_scp_extra_args", "ansible_sftp_extra_args",
            "ansible_sftp_batch_mode", "ansible_ssh_transfer_method",
        ),
        "nothing is copied to the guest",
        None,
    ),
    Row(
        "one_connection",
        SSH,
        ("ansible_control_path", "ansible_control_path_dir", "ansible_ssh_retries", "ansible_ssh_use_tty",
         "ansible_ssh_verbosity"),
        "one connection without a terminal; who is refused runs it again",
        None,
    ),
    Row(
        "prompts",
        SSH,
        ("ansible_ssh_password_mechanism", "ansible_sshpass_prompt"),
        "no prompt is answered",
        None,
    ),
    Row("timeout", SSH, ("ansible_timeout", "ansible_ssh_timeout", "ansible_paramiko_timeout"), "`host_seconds`", None),
    Row("chdir", SSH, ("ansible_sudo_chdir",), "the installer depends on no folder", None),
]  # fmt: skip

_AUTH = "one of ntlm, kerberos, basic, certificate"
_WINRM = [
    Row("host", WINRM, ("ansible_host", "ansible_winrm_host"), "where the guest is", HOST_NAME),
    Row("port", WINRM, ("ansible_port", "ansible_winrm_port"), "its port; 5986 otherwise", PORT),
    Row("user", WINRM, ("ansible_user", "ansible_winrm_user"), "who logs in", TEXT),
    Row("password", WINRM, ("ansible_password", "ansible_winrm_pass", "ansible_winrm_password"), "of the user", SECRET),
    Row("scheme", WINRM, ("ansible_winrm_scheme",), "HTTPS alone", _only("https")),
    Row("path", WINRM, ("ansible_winrm_path",), "the ordinary one", _only("/wsman", "wsman")),
    Row(
        "auth",
        WINRM,
        ("ansible_winrm_transport",),
        "`ssl` and `plaintext` are Basic; otherwise Kerberos for user@REALM, else NTLM",
        Form(_AUTH, _words),
    ),
    Row(
        "validation",
        WINRM,
        ("ansible_winrm_server_cert_validation",),
        "`ignore` only with a thumbprint or `trust_new_host_keys`",
        _only("validate", "ignore"),
    ),
    Row("ca_file", WINRM, ("ansible_winrm_ca_trust_path",), "who vouches for the guest", PATH),
    Row("certificate_file", WINRM, ("ansible_winrm_cert_pem",), "of the user, for `certificate`", PATH),
    Row("certificate_key_file", WINRM, ("ansible_winrm_cert_key_pem",), "its key", PATH),
    Row(
        "kinit_mode",
        WINRM,
        ("ansible_winrm_kinit_mode",),
        "`manual`: the ticket that `kinit` has got before, whatever the password",
        _only("managed", "manual"),
    ),
    Row(
        "kinit",
        WINRM,
        ("ansible_winrm_kinit_cmd", "ansible_winrm_kinit_args", "ansible_winrm_kinit_env_vars"),
        "the `kinit` of PATH, for a ticket that is not passed on to the guest",
        None,
    ),
    Row("spn", WINRM, ("ansible_winrm_kerberos_hostname_override",), "the principal is the host's", UNSET),
    Row("delegation", WINRM, ("ansible_winrm_kerberos_delegation",), "no ticket is left in the guest", _flag(False)),
    Row("realm", WINRM, ("ansible_winrm_realm",), "the user names it: user@REALM", UNSET),
    Row("service", WINRM, ("ansible_winrm_service",), "the ordinary principal", _only("http")),
    Row("binding", WINRM, ("ansible_winrm_send_cbt",), "channel binding is sent", _flag(True)),
    Row("proxy", WINRM, ("ansible_winrm_proxy",), "WinRM through a proxy", UNSET),
    Row(
        "timeouts",
        WINRM,
        ("ansible_winrm_connection_timeout", "ansible_winrm_operation_timeout_sec", "ansible_winrm_read_timeout_sec"),
        "`host_seconds`",
        None,
    ),
    Row("encryption", WINRM, ("ansible_winrm_message_encryption",), "HTTPS encrypts", None),
    Row(
        "credssp",
        WINRM,
        (
            "ansible_winrm_credssp_auth_mechanism", "ansible_winrm_credssp_disable_tlsv1_2",
            "ansible_winrm_credssp_minimum_version",
        ),
        "CredSSP is not used: it would leave the password in the guest",
        None,
    ),
]  # fmt: skip

_PSRP = [
    Row("host", PSRP, ("ansible_host", "ansible_psrp_host"), "where the guest is", HOST_NAME),
    Row("port", PSRP, ("ansible_port", "ansible_psrp_port"), "its port; 5986 otherwise", PORT),
    Row("user", PSRP, ("ansible_user", "ansible_psrp_user"), "who logs in", TEXT),
    Row(
        "password",
        PSRP,
        ("ansible_password", "ansible_winrm_pass", "ansible_winrm_password", "ansible_psrp_password"),
        "of the user",
        SECRET,
    ),
    Row("scheme", PSRP, ("ansible_psrp_protocol",), "HTTPS alone", _only("https")),
    Row("path", PSRP, ("ansible_psrp_path",), "the ordinary one", _only("/wsman", "wsman")),
    Row(
        "auth",
        PSRP,
        ("ansible_psrp_auth",),
        "`negotiate` is Kerberos for user@REALM, else NTLM",
        Form(_AUTH + ", negotiate", _words),
    ),
    Row(
        "validation",
        PSRP,
        ("ansible_psrp_cert_validation",),
        "`ignore` only with a thumbprint or `trust_new_host_keys`",
        _only("validate", "ignore"),
    ),
    Row(
        "ca_file", PSRP, ("ansible_psrp_cert_trust_path", "ansible_psrp_ca_cert"), "who vouches for the guest", PATH
    ),
    Row("certificate_file", PSRP, ("ansible_psrp_certificate_pem",), "of the user, for `certificate`", PATH),
    Row("certificate_key_file", PSRP, ("ansible_psrp_certificate_key_pem",), "its key", PATH),
    Row("delegation", PSRP, ("ansible_psrp_negotiate_delegate",), "no ticket is left in the guest", _flag(False)),
    Row("binding", PSRP, ("ansible_psrp_negotiate_send_cbt",), "channel binding is sent", _flag(True)),
    Row("service", PSRP, ("ansible_psrp_negotiate_service",), "the ordinary principals", _only("wsman", "http")),
    Row("spn", PSRP, ("ansible_psrp_negotiate_hostname_override",), "the principal is the host's", UNSET),
    Row("proxy", PSRP, ("ansible_psrp_proxy",), "WinRM through a proxy", UNSET),
    Row("no_proxy", PSRP, ("ansible_psrp_ignore_proxy",), "no proxy is used", None),
    Row(
        "configuration",
        PSRP,
        ("ansible_psrp_configuration_name",),
        "the ordinary one",
        _only("microsoft.powershell"),
    ),
    Row(
        "timeouts",
        PSRP,
        (
            "ansible_psrp_connection_timeout", "ansible_psrp_read_timeout", "ansible_psrp_operation_timeout",
            "ansible_psrp_reconnection_retries", "ansible_psrp_connection_backoff",
            "ansible_psrp_reconnection_backoff", "ansible_psrp_max_envelope_size",
        ),
        "`host_seconds`",
        None,
    ),
    Row("encryption", PSRP, ("ansible_psrp_message_encryption",), "HTTPS encrypts", None),
    Row(
        "credssp",
        PSRP,
        (
            "ansible_psrp_credssp_auth_mechanism", "ansible_psrp_credssp_disable_tlsv1_2",
            "ansible_psrp_credssp_minimum_version",
        ),
        "CredSSP is not used: it would leave the password in the guest",
        None,
    ),
]  # fmt: skip

_BOTH = [
    Row("become", WINDOWS, ("ansible_become",), "the login is an administrator's", _flag(False)),
    Row(
        "become_details",
        WINDOWS,
        (
            "ansible_become_method", "ansible_become_user", "ansible_become_exe", "ansible_become_flags",
            "ansible_become_password", "ansible_become_pass",
        ),
        "the login is an administrator's",
        None,
    ),
    Row(
        "windows_shell",
        WINDOWS,
        ("ansible_shell_type", "ansible_pipelining", "ansible_timeout", "ansible_python_interpreter"),
        "the installer is PowerShell and brings its Python; `host_seconds`",
        None,
    ),
    Row(
        "modules",
        ALL,
        (
            "ansible_module_compression", "ansible_shell_executable", "ansible_remote_tmp",
            "ansible_common_remote_group", "ansible_system_tmpdirs", "ansible_async_dir", "ansible_admin_users",
            "ansible_shell_allow_world_readable_temp",
        ),
        "no module of Ansible runs in the guest",
        None,
    ),
]  # fmt: skip

ROWS: tuple[Row, ...] = (*_OURS, *_SSH, *_WINRM, *_PSRP, *_BOTH)
