# SPDX-License-Identifier: GPL-3.0-or-later
"""From Ansible's variables to a login: each one is honoured, told, or stands in the table as meaning nothing."""

import ast
import json
import os
import pwd
from pathlib import Path
from typing import Any

import ansible
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from openngt.errors import OpenNGTError
from openngt.install.fleet.inventory import target_from_variables
from openngt.install.fleet.ssh_arguments import OPTIONS
from openngt.install.fleet.target import Become, HostKeys, Secret, SshLogin, Target, WinrmLogin
from openngt.install.fleet.variables import ROWS, Connection

ME = pwd.getpwuid(os.getuid()).pw_name
CANARY = "CANARY-b4d9/pässword"
PIN = "ab" * 32
PLUGINS = Path(ansible.__file__).parent / "plugins"
DOCUMENTED: dict[Connection, tuple[str, ...]] = {
    "ssh": ("connection/ssh", "connection/paramiko_ssh", "become/sudo"),
    "winrm": ("connection/winrm",),
    "psrp": ("connection/psrp",),
}
WINDOWS = {"ansible_connection": "winrm", "ansible_user": "Administrator", "ansible_password": CANARY}


def ssh(**variables: Any) -> SshLogin:
    login = target_from_variables("web1", variables).login
    assert isinstance(login, SshLogin)
    return login


def winrm(**variables: Any) -> WinrmLogin:
    login = target_from_variables("web1", {**WINDOWS, **variables}).login
    assert isinstance(login, WinrmLogin)
    return login


def refused(*, trust_new: bool = False, **variables: Any) -> OpenNGTError:
    with pytest.raises(OpenNGTError) as caught:
        target_from_variables("web1", variables, trust_new=trust_new)
    error = caught.value
    assert error.details["host"] == "web1" and error.message.startswith("web1: ")
    assert all(variable in error.message for variable in error.details["variables"])
    assert "CANARY" not in json.dumps(error.to_dict())
    return error


def documented(connection: Connection) -> set[str]:
    """The variables that ansible-core's own plugins document for a connection."""
    found = {"inventory_hostname"}
    for plugin in DOCUMENTED[connection]:
        path = PLUGINS / f"{plugin}.py"
        if not path.exists():  # paramiko_ssh leaves the core in 2.21
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
                options = yaml.safe_load(ast.literal_eval(node.value))["options"]
                found |= {each["name"] for option in options.values() for each in option.get("vars") or []}
    return {name for name in found - {"inventory_hostname"} if not name.startswith("delegated_vars")}


@pytest.mark.parametrize("connection", list(DOCUMENTED))
def test_each_variable_that_ansible_documents_is_in_the_table(connection: Connection) -> None:
    known = {variable for row in ROWS if connection in row.connections for variable in row.variables}
    assert documented(connection) <= known, documented(connection) - known


@pytest.mark.parametrize("connection", list(DOCUMENTED))
def test_no_variable_stands_in_two_rows_and_each_says_what_it_means(connection: Connection) -> None:
    rows = [row for row in ROWS if connection in row.connections]
    names = [variable for row in rows for variable in row.variables]
    assert len(names) == len(set(names)) and all(row.means for row in rows)


def test_a_host_without_variables_is_what_ssh_would_make_of_it() -> None:
    target = target_from_variables("web1.example.com", {})
    assert target == Target(
        "web1.example.com", "web1.example.com", SshLogin("web1.example.com", user=ME, default_keys=True)
    )
    assert target.login.host_keys == HostKeys() and target.login.become == Become("sudo")  # type: ignore[union-attr]


def test_the_variables_of_an_ssh_host_are_honoured() -> None:
    target = target_from_variables(
        "web1",
        {
            "openngt_vm": "4fd9", "ansible_connection": "ansible.builtin.ssh", "ansible_host": "198.51.100.11",
            "ansible_port": "2222", "ansible_user": "op", "ansible_password": CANARY,
            "ansible_ssh_private_key_file": "~/.ssh/fleet", "ansible_ssh_private_key_passphrase": "phrase",
            "ansible_become": "yes", "ansible_become_method": "sudo", "ansible_become_user": "root",
            "ansible_become_flags": "-H -S", "ansible_become_password": 1234,
            "ansible_python_interpreter": "/usr/bin/python3.9", "ansible_pipelining": True,
        },
    )  # fmt: skip
    assert target == Target(
        "web1",
        "4fd9",
        SshLogin(
            "198.51.100.11",
            2222,
            "op",
            Secret(CANARY),
            "~/.ssh/fleet",
            Secret("phrase"),
            default_keys=True,
            become=Become("sudo", "root", Secret("1234")),
        ),
        "/usr/bin/python3.9",
    )


@pytest.mark.parametrize(
    ("variables", "field", "value"),
    [
        ({"ansible_host": "a", "ansible_ssh_host": "b"}, "host", "b"),
        ({"ansible_user": "a", "ansible_ssh_user": "b"}, "user", "b"),
        ({"ansible_password": "a", "ansible_ssh_pass": "b"}, "password", Secret("b")),
        ({"ansible_ssh_pass": "b", "ansible_ssh_password": "c"}, "password", Secret("c")),
        ({"ansible_port": 1, "ansible_ssh_port": 2}, "port", 2),
        ({"ansible_user": 1001}, "user", "1001"),
        ({"ansible_user": None, "ansible_password": "", "ansible_port": None}, "user", ME),
        ({"ansible_user": "op@example.com"}, "user", "op@example.com"),
        ({"ansible_host": "2001:db8::1"}, "host", "2001:db8::1"),
        ({"ansible_become": False}, "become", Become("none")),
        ({"ansible_become_pass": "a", "ansible_sudo_pass": "b"}, "become", Become(password=Secret("b"))),
    ],
)
def test_of_two_variables_the_one_wins_that_wins_in_ansible(variables: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(ssh(**variables), field) == value


@pytest.mark.parametrize("interpreter", ["auto", "auto_silent", "auto_legacy"])
def test_an_interpreter_that_ansible_would_look_for_is_looked_for(interpreter: str) -> None:
    assert target_from_variables("web1", {"ansible_python_interpreter": interpreter}).python is None


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"ansible_connection": "local"}, "ansible_connection", "is local; honoured are: ssh, paramiko_ssh, winrm, psrp"),
    ({"ansible_connection": "community.docker.docker"}, "ansible_connection", "honoured are"),
    ({"ansible_connection": ["ssh"]}, "ansible_connection", "is a list of 1"),
    ({"ansible_become_method": "su"}, "ansible_become_method", "is su; honoured is: sudo"),
    ({"ansible_become_method": "community.general.doas"}, "ansible_become_method", "honoured is: sudo"),
    ({"ansible_become_user": "deploy"}, "ansible_become_user", "is deploy; honoured is: root"),
    ({"ansible_become_exe": "/opt/sudo"}, "ansible_become_exe", "is /opt/sudo"),
    ({"ansible_become_flags": "-H -i"}, "ansible_become_flags", "none but -H -S -n"),
    ({"ansible_become": "perhaps"}, "ansible_become", "true or false"),
    ({"ansible_ssh_private_key": CANARY}, "ansible_ssh_private_key", "give the key as a file"),
    ({"ansible_ssh_pkcs11_provider": "/usr/lib/p11.so"}, "ansible_ssh_pkcs11_provider", "not known to a fleet install"),
    ({"ansible_shell_type": "powershell"}, "ansible_shell_type", "honoured is: sh"),
    ({"ansible_ssh_executable": "/opt/tsh"}, "ansible_ssh_executable", "honoured is: ssh"),
    ({"ansible_port": "twenty"}, "ansible_port", "is twenty; honoured is: a port"),
    ({"ansible_port": 0}, "ansible_port", "a port"),
    ({"ansible_port": True}, "ansible_port", "is true"),
    ({"ansible_host": "-oProxyCommand=reboot"}, "ansible_host", "a host name or an address"),
    ({"ansible_user": True}, "ansible_user", "is true"),
    ({"ansible_password": {"a": CANARY}}, "ansible_password", "is an object of 1 key; honoured is: text in one line"),
    ({"ansible_password": CANARY + "\n"}, "ansible_password", "is text; honoured is: text in one line"),
    ({"ansible_become_password": [CANARY]}, "ansible_become_password", "is a list of 1"),
    ({"ansible_python_interpreter": "python3"}, "ansible_python_interpreter", "a path from the root, or auto"),
    ({"ansible_ssh_passs": CANARY}, "ansible_ssh_passs", "is ansible_ssh_pass meant?"),
    ({"ansible_become_paswword": CANARY}, "ansible_become_paswword", "is ansible_become_password meant?"),
    ({"ansible_host_key_checking": False}, "ansible_host_key_checking", "host keys are verified"),
    ({"ansible_ssh_common_args": "-o StrictHostKeyChecking=no"}, "ansible_ssh_common_args", "accept-new"),
    ({"ansible_ssh_extra_args": "-oUserKnownHostsFile=/dev/null"}, "ansible_ssh_extra_args", "keeps nothing"),
    ({"ansible_ssh_common_args": "-o Ciphers=none"}, "ansible_ssh_common_args", "ciphers is not known"),
    ({"ansible_ssh_common_args": "-F /etc/other"}, "ansible_ssh_common_args", "-F is not known"),
    ({"ansible_ssh_common_args": "-o"}, "ansible_ssh_common_args", "-o has no value"),
    ({"ansible_ssh_common_args": "'open"}, "ansible_ssh_common_args", "cannot be read"),
    ({"ansible_ssh_common_args": "word"}, "ansible_ssh_common_args", "words that are no option"),
    ({"ansible_ssh_common_args": ["-C"]}, "ansible_ssh_common_args", "is a list of 1"),
    ({"ansible_ssh_common_args": "-o ProxyCommand='nc %h %p'"}, "ansible_ssh_common_args", "ssh -W %h:%p HOST"),
    ({"ansible_ssh_common_args": "-J a,,b"}, "ansible_ssh_common_args", "ProxyJump is not of the form"),
    ({"ansible_ssh_common_args": "-o GSSAPIAuthentication=yes"}, "ansible_ssh_common_args", "GSSAPIAuthentication"),
    ({"ansible_ssh_common_args": "-o IdentityFile=~/%r"}, "ansible_ssh_common_args", "IdentityFile has a value"),
    ({"ansible_paramiko_proxy_command": "nc %h %p"}, "ansible_paramiko_proxy_command", "ssh -W %h:%p HOST"),
    ({**WINDOWS, "ansible_winrm_server_cert_validation": "ignore"}, "ansible_winrm_server_cert_validation", "pin"),
    ({**WINDOWS, "ansible_winrm_scheme": "http"}, "ansible_winrm_scheme", "is http; honoured is: https"),
    ({**WINDOWS, "ansible_port": 5985}, "ansible_port", "over HTTP"),
    ({**WINDOWS, "ansible_winrm_transport": "credssp"}, "ansible_winrm_transport", "is credssp"),
    ({**WINDOWS, "ansible_winrm_transport": ["kerberos", "ntlm"]}, "ansible_winrm_transport", "several ways"),
    ({**WINDOWS, "ansible_winrm_transport": "certificate"}, "ansible_winrm_cert_pem", "is not set"),
    ({**WINDOWS, "ansible_become": True}, "ansible_become", "is true; honoured is: false alone"),
    ({**WINDOWS, "openngt_winrm_thumbprint": "ab" * 20}, "openngt_winrm_thumbprint", "64 hex digits"),
    ({**WINDOWS, "ansible_winrm_proxy": "http://proxy"}, "ansible_winrm_proxy", "not known to a fleet install"),
    ({**WINDOWS, "ansible_winrm_kerberos_delegation": True}, "ansible_winrm_kerberos_delegation", "false alone"),
    ({**WINDOWS, "ansible_winrm_passwd": CANARY}, "ansible_winrm_passwd", "is ansible_winrm_pass"),
    ({**WINDOWS, "openngt_winrm_thumprint": PIN}, "openngt_winrm_thumprint", "is openngt_winrm_thumbprint meant?"),
    ({"ansible_connection": "winrm", "ansible_password": CANARY}, "ansible_user", "is not set"),
    ({**WINDOWS, "ansible_connection": "psrp", "ansible_psrp_cert_validation": "ignore"},
     "ansible_psrp_cert_validation", "pin"),
    ({**WINDOWS, "ansible_connection": "psrp", "ansible_psrp_protocol": "http"}, "ansible_psrp_protocol", "https"),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "variable", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_honoured_is_named(variables: dict[str, Any], variable: str, words: str) -> None:
    error = refused(**variables)
    assert error.code == "GUEST_LOGIN_UNSUPPORTED"
    assert variable in error.details["variables"] and words in error.message, error.message


def test_all_that_cannot_be_honoured_is_named_at_once() -> None:
    error = refused(ansible_become_method="su", ansible_port="x", ansible_ssh_common_args="-o Ciphers=a -F b")
    assert error.details["variables"] == ["ansible_become_method", "ansible_port", "ansible_ssh_common_args"]
    assert len(error.details["problems"]) == 4


def test_what_is_another_connection_s_or_a_fact_is_nothing_to_this_one() -> None:
    facts = {"ansible_ssh_host_key_ed25519_public": "AAAA", "ansible_ssh_host_key_rsa_public_keytype": "ssh-rsa"}
    assert ssh(ansible_winrm_server_cert_validation="ignore", ansible_distribution="Debian", **facts).host == "web1"
    assert winrm(ansible_ssh_common_args="-F x", ansible_ssh_private_key_file="x", **facts).host == "web1"


@pytest.mark.parametrize(
    "variables",
    [
        {"ansible_host_key_checking": False},
        {"ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"},
        {"ansible_ssh_common_args": "-o StrictHostKeyChecking=accept-new"},
    ],
)
def test_whoever_asks_for_trust_on_first_use_gets_it_recorded(variables: dict[str, Any]) -> None:
    login = target_from_variables("web1", variables, trust_new=True).login
    assert isinstance(login, SshLogin) and login.host_keys == HostKeys(trust_new=True)


def test_accept_new_is_asking_for_it() -> None:
    login = ssh(ansible_ssh_common_args="-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/k/a -C -v")
    assert login.host_keys == HostKeys(("/k/a", "/etc/ssh/ssh_known_hosts"), trust_new=True)


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ("-p 2022 -l op -i /k/id", {"port": 2022, "user": "op", "private_key_file": "/k/id"}),
        ("-o Port=2022 -oUser=op -o 'IdentityFile /k/id'", {"port": 2022, "user": "op", "private_key_file": "/k/id"}),
        ("-o HostName=198.51.100.7 -p 22 -p 23", {"host": "198.51.100.7", "port": 22}),
        ("-o IdentitiesOnly=yes", {"use_agent": False}),
        ("-o PreferredAuthentications=password", {"use_agent": False, "private_key_file": None, "default_keys": False}),
        ("-o PasswordAuthentication=no -Cqo ControlMaster=auto -o ControlPersist=60s", {"password": None}),
        ("-o GlobalKnownHostsFile=/g", {"host_keys": HostKeys(("~/.ssh/known_hosts", "/g"))}),
        ("-o HostKeyAlgorithms=+ssh-rsa -o serveraliveinterval=5", {"host": "web1"}),
    ],
)
def test_arguments_of_ssh_are_honoured(arguments: str, fields: dict[str, Any]) -> None:
    login = ssh(ansible_ssh_extra_args=arguments, ansible_password="p")
    assert {name: getattr(login, name) for name in fields} == fields


def test_a_variable_wins_over_an_argument() -> None:
    login = ssh(ansible_port=2222, ansible_user="op", ansible_ssh_common_args="-p 22 -l root")
    assert (login.port, login.user) == (2222, "op")


JUMPS: list[tuple[str, list[tuple[str, int, str]]]] = [
    ("-J gate", [("gate", 22, ME)]),
    ("-Jop@gate:2022", [("gate", 2022, "op")]),
    ("-o ProxyJump=a,op@[2001:db8::1]:23,ssh://c:24", [("a", 22, ME), ("2001:db8::1", 23, "op"), ("c", 24, ME)]),
    ("-o ProxyJump=none", []),
    ("-J first -J second", [("first", 22, ME)]),
    ('-o ProxyCommand="ssh -W %h:%p -q op@gate"', [("gate", 22, "op")]),
    ("-o ProxyCommand='/usr/bin/ssh -p 2022 -l op -W [%h]:%p gate'", [("gate", 2022, "op")]),
    ('-o ProxyCommand="ssh -J outer -W %h:%p op@gate"', [("outer", 22, ME), ("gate", 22, "op")]),
    ("-o ProxyCommand=none -J gate", []),
]


@pytest.mark.parametrize(("arguments", "hosts"), JUMPS)
def test_jump_hosts_are_gone_through_in_their_order(arguments: str, hosts: list[tuple[str, int, str]]) -> None:
    login = ssh(ansible_user="root", ansible_password="p", ansible_ssh_common_args=arguments)
    found = []
    jump = login.jump
    while jump is not None:
        assert jump.password is None and jump.private_key_file is None, "the guest's credentials are the guest's"
        found.insert(0, (jump.host, jump.port, jump.user))
        jump = jump.jump
    assert found == hosts


def test_a_proxy_command_has_options_of_its_own_and_a_proxy_jump_has_not_the_guest_s() -> None:
    command = "ssh -i /k/gate -o UserKnownHostsFile=/k/hosts -W %h:%p gate"
    jump = ssh(ansible_ssh_common_args=f"-o UserKnownHostsFile=/g -o ProxyCommand='{command}'").jump
    assert jump is not None and jump.private_key_file == "/k/gate" and jump.host_keys.files[0] == "/k/hosts"
    jump = ssh(ansible_ssh_common_args="-o UserKnownHostsFile=/g -i /k/guest -J gate").jump
    assert jump is not None and jump.private_key_file is None and jump.host_keys == HostKeys()
    assert ssh(ansible_paramiko_proxy_command=command).jump is not None


def test_a_jump_host_is_verified_as_the_guest_is() -> None:
    error = refused(ansible_ssh_common_args="-o ProxyCommand='ssh -o StrictHostKeyChecking=no -W %h:%p gate'")
    assert "ProxyCommand: StrictHostKeyChecking=no is refused" in error.message


def test_each_option_of_ssh_that_is_honoured_says_what_it_does() -> None:
    assert all(option.means for option in OPTIONS.values() if option.takes is not None)


def test_the_variables_of_a_windows_host_are_honoured() -> None:
    login = winrm(
        ansible_host="198.51.100.21", ansible_port=15986, ansible_user=".\\op", ansible_winrm_transport="basic",
        ansible_winrm_scheme="https", ansible_winrm_server_cert_validation="validate",
        ansible_winrm_ca_trust_path="/ca.pem", ansible_become_method="runas", ansible_shell_type="powershell",
    )  # fmt: skip
    assert login == WinrmLogin("198.51.100.21", 15986, "op", Secret(CANARY), "basic", "/ca.pem")


def test_a_pinned_certificate_needs_no_other_validation() -> None:
    login = winrm(openngt_winrm_thumbprint=PIN.upper(), ansible_winrm_server_cert_validation="ignore")
    assert (login.thumbprint, login.ca_file, login.trust_new) == (PIN, None, None)


def test_a_listener_is_trusted_on_first_use_when_asked() -> None:
    variables = {**WINDOWS, "ansible_winrm_server_cert_validation": "ignore"}
    login = target_from_variables("web1", variables, trust_new=True).login
    assert isinstance(login, WinrmLogin) and (login.trust_new or "").startswith("/")


@pytest.mark.parametrize(
    ("variables", "auth"),
    [
        ({}, "ntlm"),
        ({"ansible_winrm_transport": ["ntlm"]}, "ntlm"),
        ({"ansible_winrm_transport": "ssl"}, "basic"),
        ({"ansible_user": "op@EXAMPLE.COM"}, "kerberos"),
        ({"ansible_winrm_transport": "kerberos", "ansible_user": "EXAMPLE\\op"}, "kerberos"),
        ({"ansible_connection": "psrp", "ansible_psrp_auth": "negotiate"}, "ntlm"),
        ({"ansible_connection": "psrp", "ansible_psrp_auth": "basic"}, "basic"),
    ],
)
def test_the_way_to_log_in_to_windows(variables: dict[str, Any], auth: str) -> None:
    assert winrm(**variables).auth == auth


def test_a_ticket_is_got_with_the_password_unless_that_is_done_by_hand() -> None:
    domain = {"ansible_user": "op@EXAMPLE.COM", "ansible_password": CANARY}
    managed = winrm(**domain, ansible_winrm_kinit_mode="managed").password
    assert managed is not None and managed.reveal() == CANARY
    assert winrm(**domain, ansible_winrm_kinit_mode="manual").password is None


@pytest.mark.parametrize("user", ["EXAMPLE\\op", "op@EXAMPLE.COM"])
def test_a_domain_user_takes_kerberos(user: str) -> None:
    error = refused(**{**WINDOWS, "ansible_user": user, "ansible_winrm_transport": "ntlm"})
    assert error.code == "DOMAIN_USER_UNSUPPORTED" and "kerberos" in error.remedy


def test_a_certificate_logs_in_without_a_user() -> None:
    login = winrm(
        ansible_user=None, ansible_winrm_transport="certificate", ansible_winrm_cert_pem="/c",
        ansible_winrm_cert_key_pem="/k",
    )  # fmt: skip
    assert (login.auth, login.certificate_file, login.certificate_key_file) == ("certificate", "/c", "/k")


SECRETS = sorted({name for row in ROWS if row.form is not None and row.form.secret for name in row.variables})
NAMES = sorted({name for row in ROWS for name in row.variables} - set(SECRETS))
ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
HIDDEN = st.text(max_size=8).map(lambda text: f"S3kr{text}")


@settings(max_examples=500, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), ANY | st.lists(ANY, max_size=2), max_size=6),
    st.dictionaries(st.sampled_from(SECRETS), HIDDEN | st.lists(HIDDEN) | st.dictionaries(HIDDEN, HIDDEN), max_size=4),
    st.sampled_from(["ssh", "winrm", "psrp"]),
    st.booleans(),
)
def test_any_variables_are_a_login_or_an_error_that_holds_no_secret(
    variables: dict[str, Any], secrets: dict[str, Any], connection: str, trust_new: bool
) -> None:
    """T30."""
    try:
        told = repr(target_from_variables("web1", {**variables, **secrets, "ansible_connection": connection},
                                          trust_new=trust_new))  # fmt: skip
    except OpenNGTError as error:
        assert error.code in ("GUEST_LOGIN_UNSUPPORTED", "DOMAIN_USER_UNSUPPORTED") and error.details["variables"]
        told = json.dumps(error.to_dict())
    assert "S3kr" not in told


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("-oJWilp =,:@%h[]'\"ProxyJumpCommandssh/none \\")))
def test_any_arguments_are_read_or_told(text: str) -> None:
    try:
        target_from_variables("web1", {"ansible_ssh_common_args": text})
    except OpenNGTError as error:
        assert error.code == "GUEST_LOGIN_UNSUPPORTED"
