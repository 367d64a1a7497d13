# SPDX-License-Identifier: GPL-3.0-or-later
"""A list of credentials: what is taken, and that whatever is wrong is told by entry and field, never by value (T30)."""

import io
import json
import traceback
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openngt.errors import OpenNGTError
from openngt.install.fleet.credentials import MOST_BYTES, read_stream, targets_from_list
from openngt.install.fleet.known_guests import KnownGuest, known_guests
from openngt.install.fleet.target import Secret, SshLogin, WinrmLogin

UUIDS = [f"0000000{number}-4f0e-4c7d-9a55-5b1f6c0d7e42" for number in range(1, 6)]
CANARY = "CANARY-b4d9/pässword"


def entry(number: int = 1, **more: Any) -> dict[str, Any]:
    """An entry that is right; `more` replaces a field, or one of its credentials, or takes it away (None)."""
    credentials: dict[str, Any] = {"username": "admin", "password": CANARY}
    found: dict[str, Any] = {"uuid": UUIDS[number - 1], "vmname": f"web{number}", "credentials": credentials}
    for name, value in more.items():
        place = credentials if name in ("username", "password") or name.startswith(("private_", "become_")) else found
        place[name] = value
        if value is None:
            del place[name]
    return found


def refused(source: Any, **more: Any) -> OpenNGTError:
    """The refusal, in no part of which a value of the list shows."""
    with pytest.raises(OpenNGTError) as caught:
        targets_from_list(source, **more)
    told = everything_told(caught.value)
    assert "CANARY" not in told and "b4d9" not in told, told
    return caught.value


def everything_told(error: OpenNGTError) -> str:
    """Also what a traceback and the errors behind this one would show."""
    behind = []
    each: BaseException | None = error
    while each is not None:
        behind += [str(each), repr(each), repr(vars(each)), repr(getattr(each, "args", ()))]
        each = each.__cause__ or each.__context__
    lines = traceback.format_exception(error)
    return "\n".join([json.dumps(error.to_dict()), *behind, *lines])


def test_the_original_s_own_example_is_taken() -> None:
    targets = targets_from_list(json.dumps([entry(1), entry(2)])).targets
    assert [(target.name, target.vm, target.platform) for target in targets] == [
        ("web1", UUIDS[0], "linux"),
        ("web2", UUIDS[1], "linux"),
    ]
    login = targets[0].login
    assert isinstance(login, SshLogin)
    assert (login.host, login.port, login.user, login.password) == ("web1", 22, "admin", Secret(CANARY))
    assert login.become.password == Secret(CANARY), "sudo asks for the login's password"
    assert not login.host_keys.trust_new and not login.use_agent


def test_a_vaulted_variable_is_a_list_already() -> None:
    assert targets_from_list([entry()]).targets[0].name == "web1"


def test_the_additions_of_a_linux_guest_are_taken() -> None:
    more = {
        "host": "198.51.100.11", "port": 2222, "connection": "ssh", "os": "linux", "python": "/usr/bin/python3.11",
        "password": None, "private_key_file": "/root/.ssh/fleet", "private_key_passphrase": "p", "become_password": "b",
    }  # fmt: skip
    (target,) = targets_from_list([entry(1, **more)]).targets
    login = target.login
    assert isinstance(login, SshLogin) and target.python == "/usr/bin/python3.11"
    assert (login.host, login.port, login.private_key_file) == ("198.51.100.11", 2222, "/root/.ssh/fleet")
    assert (login.password, login.passphrase, login.become.password) == (None, Secret("p"), Secret("b"))


@pytest.mark.parametrize(
    ("more", "user", "auth"),
    [
        ({"username": ".\\Administrator"}, "Administrator", "ntlm"),
        ({"username": "Administrator", "os": "windows"}, "Administrator", "ntlm"),
        ({"connection": "winrm", "auth": "basic"}, "admin", "basic"),
        ({"username": "op@EXAMPLE.COM", "auth": "kerberos"}, "op@EXAMPLE.COM", "kerberos"),
        ({"username": "EXAMPLE\\op", "auth": "kerberos"}, "EXAMPLE\\op", "kerberos"),
    ],
)
def test_a_windows_guest_is_known_by_its_user_or_named_as_one(more: dict[str, Any], user: str, auth: str) -> None:
    (target,) = targets_from_list([entry(1, **more)]).targets
    assert isinstance(target.login, WinrmLogin)
    assert (target.login.user, target.login.auth, target.login.port) == (user, auth, 5986)
    assert (target.login.ca_file, target.login.thumbprint, target.login.trust_new) == (None, None, None)


def test_a_thumbprint_is_taken_in_every_way_of_writing_it() -> None:
    written = ":".join(["AB"] * 32)
    (target,) = targets_from_list([entry(1, os="windows", thumbprint=written)], trust_new=True).targets
    assert isinstance(target.login, WinrmLogin)
    assert target.login.thumbprint == "ab" * 32 and target.login.trust_new is None


def test_trust_on_first_use_is_recorded() -> None:
    linux, windows = targets_from_list([entry(1), entry(2, os="windows")], trust_new=True).targets
    assert isinstance(linux.login, SshLogin) and linux.login.host_keys.trust_new
    assert isinstance(windows.login, WinrmLogin) and (windows.login.trust_new or "").startswith("/")


def test_a_user_of_a_directory_may_log_in_to_a_linux_guest_that_is_named_as_one() -> None:
    (target,) = targets_from_list([entry(1, username="op@example.com", os="linux")]).targets
    assert isinstance(target.login, SshLogin) and target.login.user == "op@example.com"


def test_the_guest_is_looked_for_where_the_service_has_seen_it() -> None:
    known = {UUIDS[0]: KnownGuest("198.51.100.11"), "web2": KnownGuest("198.51.100.12", "windows")}
    one, two, three, four = targets_from_list(
        [entry(1, uuid=UUIDS[0].upper()), entry(2, uuid=None), entry(3), entry(4, host="192.0.2.4")], known=known
    ).targets
    assert [each.login.host for each in (one, two, three, four)] == [
        "198.51.100.11", "198.51.100.12", "web3", "192.0.2.4",
    ]  # fmt: skip
    assert two.platform == "windows" and two.vm == "web2"


def test_what_the_service_knows_is_the_address_that_the_agent_calls_from() -> None:
    def record(uuid: str, name: str, peer: str | None, *addresses: str) -> dict[str, Any]:
        interfaces = [{"interface": "eth0", "ipv4": [{"ip_address": each} for each in addresses], "ipv6": []}]
        told = {"guest_os_type": "linux", "network_interfaces": interfaces}
        return {"vm_uuid": uuid, "vm_name": name, "link": {"peer": peer}, "vm_info": told}

    local = ("127.0.0.1", "169.254.1.1")
    known = known_guests(
        [
            record(UUIDS[0], "web1", "198.51.100.9:40000", *local, "10.0.0.9", "198.51.100.9"),
            record(UUIDS[1], "web2", "192.0.2.1:40000", *local, "10.0.0.9"),
            record(UUIDS[2], "twin", None, *local),
            {"vm_uuid": UUIDS[3], "vm_name": "twin", "link": None, "vm_info": None},
        ]
    )
    assert known[UUIDS[0]] == known["web1"] == KnownGuest("198.51.100.9", "linux")
    assert known["web2"].address == "10.0.0.9", "the peer is a router's address, not one of the guest's"
    assert known[UUIDS[2]].address is None and known[UUIDS[3]] == KnownGuest()
    assert "twin" not in known


WRONG_LISTS: list[tuple[Any, str]] = [
    (b"", "is empty"),
    (b" \n", "is empty"),
    (b"[]", "is empty"),
    (b"{}", "is an object of 0 keys, a list is wanted"),
    (b"null", "is null, a list is wanted"),
    (f'"{CANARY}"', "is text, a list is wanted"),
    (f'[{{"password": "{CANARY}"', "is not JSON: Expecting ',' delimiter at line 1"),
    (f'[\n"{CANARY}\\x"]', "is not JSON: Invalid \\escape at line 2"),
    (f"[{CANARY}]", "is not JSON: Expecting value at line 1, column 2"),
    (b'[\n{"password": "CANARY-\xff"}]', "is not UTF-8: byte 23, in line 2"),
    (json.dumps([CANARY]).encode("utf-16"), "is UTF-16; save it as UTF-8"),
    (json.dumps([CANARY]).encode("utf-16-le"), "holds a NUL byte"),
    (json.dumps([CANARY]).encode("utf-8-sig"), "begins with a byte order mark"),
    (b"[" * 100_000, "is nested too deeply"),
    (b'[{"a":' * 50_000, "is nested too deeply"),
    (b"[" + b" " * (10 << 20) + b"]", f"has more than {MOST_BYTES} bytes"),
]


@pytest.mark.parametrize(("source", "words"), WRONG_LISTS, ids=range(len(WRONG_LISTS)))
def test_what_is_no_list_is_told_without_a_word_of_it(source: Any, words: str) -> None:
    error = refused(source)
    assert error.code == "INVALID_INPUT" and words in error.message


def test_standard_input_ends_at_the_limit() -> None:
    assert read_stream(io.BytesIO(b"[]")) == b"[]"
    with pytest.raises(OpenNGTError, match="has more than") as caught:
        read_stream(io.BytesIO(b" " * (MOST_BYTES + 1)))
    assert caught.value.code == "INVALID_INPUT"


WRONG_ENTRIES: list[tuple[Any, str | None, str]] = [
    (CANARY, None, "is text, an object is wanted"),
    (None, None, "is null, an object is wanted"),
    ([CANARY], None, "is a list of 1, an object is wanted"),
    (entry(credentials=None), "credentials", "is missing"),
    (entry(credentials=CANARY), "credentials", "is text; an object is wanted"),
    (entry(credentials=[CANARY]), "credentials", "is a list of 1; an object is wanted"),
    (entry(username=None), "credentials.username", "is missing"),
    (entry(username=""), "credentials.username", "is empty text"),
    (entry(username=7), "credentials.username", "is a number"),
    (entry(username="a\nb"), "credentials.username", "is text; a name in one line is wanted"),
    (entry(password=None), "credentials.password", "is missing; give password or private_key_file"),
    (entry(password=""), "credentials.password", "is empty text"),
    (entry(password=12345678), "credentials.password", "is a number; text in one line is wanted"),
    (entry(password=True), "credentials.password", "is true or false"),
    (entry(password=[CANARY]), "credentials.password", "is a list of 1"),
    (entry(password=CANARY + "\n"), "credentials.password", "is text; text in one line is wanted"),
    (entry(password=CANARY + "\ud800"), "credentials.password", "is text"),
    (entry(uuid=CANARY), "uuid", "is text; a UUID is wanted"),
    (entry(uuid=3), "uuid", "is a number"),
    (entry(uuid=None, vmname=None), "uuid", "give uuid, vmname or both"),
    (entry(vmname=""), "vmname", "is empty text"),
    (entry(vmname="a\tb"), "vmname", "is text; a name in one line is wanted"),
    (entry(vmname="Web Server 1"), "host", "vmname is no host name"),
    (entry(host="-oProxyCommand=x"), "host", "a host name or an address is wanted"),
    (entry(port="22"), "port", "is text; a number from 1 to 65535"),
    (entry(port=0), "port", "is a number"),
    (entry(port=True), "port", "is true or false"),
    (entry(port=10**30), "port", "is a number"),
    (entry(connection="telnet"), "connection", "ssh or winrm is wanted"),
    (entry(os="windows", connection="ssh"), "os", "does not go with connection"),
    (entry(username=".\\op", os="linux"), "credentials.username", "is a user of Windows"),
    (entry(os="windows", thumbprint="ab" * 20), "thumbprint", "SHA-256 (64 hex digits)"),
    (entry(os="windows", thumbprint="ab" * 32, ca_file="/ca.pem"), "thumbprint", "stands beside ca_file"),
    (entry(thumbprint="ab" * 32), "thumbprint", "is for WinRM"),
    (entry(os="windows", private_key_file="/k"), "credentials.private_key_file", "is for SSH"),
    (entry(user="x"), None, "has an unknown key of 4 characters; known are uuid, vmname"),
    (entry(vm_name="web1"), None, "has an unknown key; is vmname meant?"),
    (entry(pasword=CANARY), None, "has an unknown key of 7 characters"),
    (entry(private_keyfile=CANARY), "credentials", "has an unknown key; is private_key_file meant?"),
    ({**entry(), "password": CANARY}, None, "has password, which belongs into credentials"),
    (entry(private_=CANARY), "credentials", "has an unknown key"),
    ({**entry(), CANARY: 1}, None, "has an unknown key of 20 characters"),
]


@pytest.mark.parametrize(("wrong", "field", "words"), WRONG_ENTRIES, ids=range(len(WRONG_ENTRIES)))
def test_what_is_wrong_is_told_by_entry_and_field(wrong: Any, field: str | None, words: str) -> None:
    error = refused([entry(2), wrong])
    assert error.code == "INVALID_INPUT"
    (problem,) = error.details["problems"]
    assert (problem["entry"], problem["field"]) == (2, field)
    assert words in problem["problem"] and words in error.message and "entry 2" in error.message


def test_a_misspelt_key_is_two_problems_the_missing_and_the_unknown() -> None:
    wrong = {"uuid": UUIDS[0], "vmname": "web1", "credentials": {"username": "op", "pasword": CANARY}}
    error = refused([wrong])
    assert "entry 1 (web1): credentials has an unknown key; is password meant?" in error.message


@pytest.mark.parametrize("username", ["EXAMPLE\\op", "op@example.com"])
def test_a_domain_user_is_refused_alone_and_told_the_ways_that_work(username: str) -> None:
    listed = targets_from_list([entry(1, username=username), entry(2)])
    assert [target.name for target in listed.targets] == ["web2"]
    ((name, vm, error),) = listed.refused
    assert (name, vm, error.code) == ("web1", UUIDS[0], "DOMAIN_USER_UNSUPPORTED")
    assert "credentials.username" in error.message and "auth: kerberos" in error.message
    assert "kerberos" in error.remedy and CANARY not in everything_told(error)


TWICE = [
    ('{"vmname": "web1", "vmname": "web1", "credentials": {"username": "u", "password": "p"}}', "vmname"),
    ('{"vmname": "web1", "credentials": {"username": "u", "password": "x", "password": "%s"}}', "credentials.password"),
]


@pytest.mark.parametrize(("text", "field"), TWICE)
def test_a_key_that_stands_twice_in_an_object_is_refused(text: str, field: str) -> None:
    (problem,) = refused(f"[{text.replace('%s', CANARY)}]").details["problems"]
    assert (problem["entry"], problem["field"], problem["problem"]) == (1, field, "stands there twice")


def test_a_vm_that_is_listed_twice_is_named_with_both_places() -> None:
    error = refused([entry(1), entry(2, uuid=UUIDS[0].upper()), entry(3), entry(4, vmname="web3")])
    told = [(each["entry"], each["field"], each["problem"]) for each in error.details["problems"]]
    assert told == [(2, "uuid", "is that of entry 1, too"), (4, "vmname", "is that of entry 3, too")]


def test_all_problems_are_told_at_once_up_to_twenty() -> None:
    error = refused([CANARY] * 30)
    assert error.message.startswith("30 problems in the list of credentials: entry 1 is text")
    assert error.message.endswith("; and 10 more")
    assert len(error.details["problems"]) == 20 and error.details["problems_total"] == 30


@pytest.mark.parametrize("name", [CANARY, f"vm-{CANARY}", "x" * 81, "a\x1b[31m"])
def test_a_name_that_may_be_a_secret_or_garble_the_terminal_is_not_shown(name: str) -> None:
    error = refused([entry(1, vmname=name, port="no")])
    assert {each["vmname"] for each in error.details["problems"]} == {None}


SECRETS = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=33), min_size=6, max_size=12).map(
    lambda text: "S3kr" + text
)
VALUES = st.recursive(
    SECRETS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SECRETS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["uuid", "vmname", "credentials", "host", "port", "os", "auth", "thumbprint", "password"])
FIELDS = st.sampled_from(["username", "password", "become_password", "private_key_file", "pasword", "user"]) | SECRETS


@st.composite
def odd_entries(draw: st.DrawFn) -> Any:
    """What a tired hand may write: any value anywhere but in the two names that errors may repeat."""
    found = draw(st.dictionaries(KEYS | SECRETS, VALUES, max_size=6))
    found.pop("vmname", None)
    if draw(st.booleans()):
        found["credentials"] = draw(st.dictionaries(FIELDS, VALUES, max_size=4))
    return draw(st.sampled_from([found, [found]]) | VALUES)


@settings(max_examples=300, deadline=None)
@given(st.lists(odd_entries(), min_size=1, max_size=4), st.integers(0, 400))
def test_no_value_shows_in_any_error_of_any_list(entries: list[Any], cut: int) -> None:
    """T30. Whole, and cut off in the middle."""
    text = json.dumps(entries, ensure_ascii=False)
    for source in (text, text[: max(1, len(text) - cut)]):
        try:
            errors = [error for _, _, error in targets_from_list(source).refused]
        except OpenNGTError as error:
            errors = [error]
        assert not any("S3kr" in everything_told(error) for error in errors)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_an_error_with_a_code(content: bytes) -> None:
    try:
        targets_from_list(content)
    except OpenNGTError as error:
        assert error.code == "INVALID_INPUT"
