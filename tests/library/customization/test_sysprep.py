# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer files of Windows and their discs, read by libxml2. No real Windows is met here."""

import base64
import json
from typing import Any

import pytest
from lxml import etree
from tests.fakes import powershell
from tests.library.customization.answer_file_cases import CASES, FOLDER, PASSWORD, VM, answer_file

from openngt.customization.media import build
from openngt.customization.model import Customization, GuestFile, Script
from openngt.customization.preview import preview
from openngt.customization.sysprep import build_sysprep
from openngt.customization.unattend import hidden_password
from openngt.customization.unattend_reference import COMPONENTS, NAMESPACE, PASSES, SETTINGS, WCM
from openngt.customization.windows_options import OPTIONS
from openngt.customization.windows_scripts import SCRUB, SPECIALIZE, SPECIALIZE_COMMAND, winrm_script
from openngt.errors import OpenNGTError

NAMES = {"u": NAMESPACE}
GIVEN = (FOLDER / "autologon-count.xml").read_bytes()

CARD = {"match": {"macaddress": "52:54:00:12:34:56"}}
NETWORK = {"version": 2, "ethernets": {"lan": CARD}}


def read(content: bytes) -> Any:
    return etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True))


def texts(content: bytes, path: str) -> list[str]:
    """Of elements, by a path without prefixes."""
    return [found.text for found in read(content).iterfind("/".join(f"u:{name}" for name in path.split("/")), NAMES)]


def built(**options: Any) -> bytes:
    return build_sysprep(Customization(format="sysprep", options=options), VM).files[0].content


def refused(**how: Any) -> str:
    """What a customization is refused with."""
    with pytest.raises(OpenNGTError) as caught:
        build_sysprep(Customization(format="sysprep", **how), VM)
    assert caught.value.code == "INVALID_INPUT"
    assert PASSWORD not in caught.value.message
    return caught.value.message


# -- The answer file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_an_option_stands_where_it_stood(name: str) -> None:
    assert answer_file(CASES[name]).decode() == (FOLDER / f"{name}.xml").read_text(encoding="utf-8")


def test_each_option_has_a_golden_file() -> None:
    shown = {option for case in CASES.values() for option in case.options}
    assert shown == {name for name, option in OPTIONS.items() if "sysprep" in option.formats}
    assert {path.stem for path in FOLDER.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_passes_components_and_namespaces_are_those_of_the_reference(name: str) -> None:
    root = read((FOLDER / f"{name}.xml").read_bytes())
    assert root.tag == f"{{{NAMESPACE}}}unattend"
    passes = [settings.get("pass") for settings in root]
    assert passes == sorted(passes, key=PASSES.index) and len(set(passes)) == len(passes)
    assert ("windowsPE" in passes) == name.startswith("fresh-")
    for component in root.iterfind("u:settings/u:component", NAMES):
        assert component.get("publicKeyToken") == "31bf3856ad364e35"
        assert (component.get("language"), component.get("versionScope")) == ("neutral", "nonSxS")
        name_of, in_pass = component.get("name"), component.getparent().get("pass")
        assert in_pass in COMPONENTS[name_of].passes
        for setting in component:
            assert in_pass in SETTINGS.get((name_of, etree.QName(setting).localname), COMPONENTS[name_of].passes)
    for element in root.iter():
        assert etree.QName(element).namespace == NAMESPACE
        assert all(etree.QName(key).namespace in (None, WCM) for key in element.attrib)


@pytest.mark.parametrize("name", CASES)
def test_lists_are_marked_as_such_and_commands_are_numbered(name: str) -> None:
    root = read((FOLDER / f"{name}.xml").read_bytes())
    for parent in root.iter():
        orders = [child.findtext("u:Order", None, NAMES) for child in parent]
        if any(orders):
            assert orders == [str(number) for number in range(1, len(orders) + 1)]
            assert all(child.get(f"{{{WCM}}}action") == "add" for child in parent)


def test_text_comes_back_as_it_was_given() -> None:
    content = answer_file(CASES["local_accounts"])
    account = "settings/component/UserAccounts/LocalAccounts/LocalAccount"
    assert texts(content, f"{account}/Name") == ["ops", "Läufer"]
    assert texts(content, f"{account}/DisplayName") == ["Läufer & Co"]
    assert texts(content, f"{account}/Description") == ["<runs>"]
    assert texts(content, f"{account}/Group") == ["Administrators;Remote Desktop Users", "Users"]


# -- Passwords --------------------------------------------------------------------------------------------------------


def test_the_hidden_form_is_that_of_the_reference_and_whoever_has_it_has_the_password() -> None:
    """T35: the samples are those of Microsoft's pages of AdministratorPassword and LocalAccount."""
    sample = "cAB3AEEAZABtAGkAbgBpAHMAdAByAGEAdABvAHIAUABhAHMAcwB3AG8AcgBkAA=="
    assert hidden_password("pw", "AdministratorPassword") == sample
    assert hidden_password("password", "Password") == "cABhAHMAcwB3AG8AcgBkAFAAYQBzAHMAdwBvAHIAZAA="
    content = answer_file(CASES["password_form"])
    for path in ("UserAccounts/AdministratorPassword", "AutoLogon/Password"):
        [value] = texts(content, f"settings/component/{path}/Value")
        assert texts(content, f"settings/component/{path}/PlainText") == ["false"]
        assert base64.b64decode(value).decode("utf-16-le") == PASSWORD + path.rpartition("/")[2]


def test_a_refusal_never_repeats_a_password() -> None:
    """T35."""
    assert refused(options={"administrator_password": PASSWORD + "\n"}).startswith("options.administrator_password ")
    accounts = [{"name": "ops", "password": PASSWORD * 20}]
    assert refused(options={"local_accounts": accounts}).startswith("options.local_accounts[0].password ")
    assert "options has a key that is not known" in refused(options={f"{PASSWORD}=": "x"})


@pytest.mark.parametrize("name", CASES)
def test_no_password_and_no_key_is_shown_of_a_disc(name: str) -> None:
    """T35."""
    shown = preview(build(CASES[name].customization, VM))
    assert "openngt" in shown or "unattend.xml" in shown
    assert PASSWORD not in shown and "AAAAA-" not in shown
    hidden = [hidden_password(PASSWORD, element) for element in ("AdministratorPassword", "Password")]
    assert not any(value in shown for value in hidden)


def test_copies_of_the_answer_file_are_deleted_last_unless_told_not_to() -> None:
    """T35."""
    path = "settings/component/FirstLogonCommands/SynchronousCommand/CommandLine"
    commands = texts(built(administrator_password=PASSWORD, winrm_prep=True, first_logon_commands=["mine.exe"]), path)
    assert commands[0] == "mine.exe"
    assert "winrm_prep.ps1" in commands[-2] and "scrub.ps1" in commands[-1]
    assert texts(built(computer_name="WEB1", scrub=False), path) == []


def test_autologon_of_one_is_one() -> None:
    """Windows makes two of a LogonCount of 1, and lets it be set to 0 by a command (page of LogonCount)."""
    path = "settings/component/AutoLogon/LogonCount"
    assert texts(built(administrator_password=PASSWORD, autologon={"count": 1}), path) == ["1"]
    assert texts(built(administrator_password=PASSWORD, autologon={"count": 5}), path) == ["4"]
    [command] = texts(
        answer_file(CASES["autologon"]), "settings/component/FirstLogonCommands/SynchronousCommand/CommandLine"
    )
    assert "AutoLogonCount /t REG_DWORD /d 0" in command


# -- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"computer_name": "a-name-of-16-cha"}, "options.computer_name is text of another form"),
        ({"computer_name": "12345"}, "options.computer_name"),
        ({"computer_name": "web 1"}, "options.computer_name"),
        ({"computer_name": "web1-"}, "options.computer_name"),
        ({"computer_name": 7}, "options.computer_name is a number; text is wanted"),
        ({"computername": "WEB1"}, "options.computername is not known; did you mean computer_name?"),
        ({"time_zone": "Europe/Berlin"}, "give Windows' name: W. Europe Standard Time"),
        ({"input_locale": "german"}, "options.input_locale"),
        ({"autologon": {}}, "options.autologon.password is missing"),
        ({"autologon": {"count": 0, "password": "x"}}, "options.autologon.count is out of bounds"),
        ({"autologon": {"usr_name": "x"}}, "options.autologon.usr_name is not known; did you mean username?"),
        ({"local_accounts": [{"name": "a/b", "password": "x"}]}, "options.local_accounts[0].name"),
        ({"local_accounts": [{"name": "none", "password": "x"}]}, "options.local_accounts[0].name"),
        ({"local_accounts": [{"name": "a"}]}, "options.local_accounts[0].password is missing"),
        ({"local_accounts": [{"name": "Administrator", "password": "x"}]}, "use administrator_password"),
        ({"local_accounts": [{"name": n, "password": "x"} for n in ("ops", "OPS")]}, "[1].name is there twice"),
        ({"first_logon_commands": "reboot"}, "give a list, also for one"),
        ({"first_logon_commands": ["x" * 1025]}, "options.first_logon_commands[0]"),
        ({"first_logon_commands": ["a\nb"]}, "options.first_logon_commands[0]"),
        ({"domain": {"name": "corp"}}, "options.domain.username is missing"),
        ({"domain": {"name": "c", "username": "u", "password": "p"}, "workgroup": "LAB"}, "given beside domain"),
        ({"product_key": "AAAAA"}, "options.product_key"),
        ({"disk": {}}, "set install_type: fresh"),
        ({"skip_oobe": "yes"}, "give true or false"),
        ({"winrm_prep": {"names": ["a' -Basic '"]}}, "options.winrm_prep.names[0]"),
        ({"winrm_prep": {"allowed_addresses": ["10.0.0.0/8'); evil"]}}, "options.winrm_prep.allowed_addresses[0]"),
        ({"password_form": "rot13"}, "give one of plain, base64"),
        ({"owner": "a\x00b"}, "options.owner"),
        ({"owner": "\ud800"}, "options.owner"),
        ({"interfaces": {}}, "; a list is wanted; give a list, also for one"),
        ({"interfaces": [{"addresses": ["192.0.2.1/24"]}]}, "options.interfaces[0].mac is missing"),
        ({"interfaces": [{"mac": "52:54:00:12:34:56", "mtu": 9000}]}, "has no option 'mtu'"),
        ({"interfaces": [{"mac": "52:54:00:12:34:56"}] * 2}, "options.interfaces[1].mac was given to an earlier"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(options: dict[str, Any], said: str) -> None:
    assert said in refused(options=options)


def test_setup_is_not_left_waiting_for_the_license_terms() -> None:
    assert "options.accept_eula is not true" in refused(options={"computer_name": "WEB1"}, install_type="fresh")
    said = refused(options={"accept_eula": True, "image": {}}, install_type="fresh")
    assert "options.image needs one of index and name" in said


def test_what_cannot_be_is_refused_by_its_field() -> None:
    one = Script(GIVEN)
    assert "holds 2 answer files" in refused(scripts=(one, one))
    assert "has no answer file" in refused()
    assert refused(scripts=(one,), options={"computer_name": "WEB1"}).startswith("options cannot be put into")
    assert refused(scripts=(one,), network=NETWORK).startswith("network cannot be put into an answer file")
    both = {"interfaces": [{"mac": "52:54:00:12:34:56"}]}
    assert refused(options=both, network=NETWORK).startswith("options.interfaces is given beside network")
    large = [{"command": "x" * 1000}] * 40
    assert "at most 32000 are taken" in refused(options={"first_logon_commands": large})


@pytest.mark.parametrize(
    "path",
    [
        "/etc/motd", "motd.txt", "C:motd.txt", "\\\\server\\share\\x", "C:\\a\\..\\b", "C:\\a\\\\b", "C:\\a.", "C:\\a ",
        "C:\\a:stream", "C:\\nul", "C:\\Con.txt", "C:\\a\\COM1\\b", "C:\\a?", "C:\\a\x01", "C:\\" + "a" * 260, "C:\\",
    ],
)  # fmt: skip
def test_a_path_that_windows_would_take_for_another_is_refused(path: str) -> None:
    assert refused(options={"computer_name": "WEB1"}, files=(GuestFile(path, b""),)).startswith("files[0].path ")


UNSAYABLE: dict[str, tuple[dict[str, Any], str]] = {
    "version 1": ({"version": 1, "config": []}, "network.config cannot be told"),
    "no version": ({"ethernets": {}}, "network.version must be 2"),
    "bonds": ({"version": 2, "bonds": {}}, "network.bonds cannot be told by an answer file"),
    "mtu": ({**NETWORK, "ethernets": {"lan": {**CARD, "mtu": 9000}}}, "network.ethernets.lan.mtu cannot be told"),
    "no MAC": ({**NETWORK, "ethernets": {"lan": {"match": {"name": "en*"}}}}, "network.ethernets.lan.match must name"),
    "no prefix": ({**NETWORK, "ethernets": {"lan": {**CARD, "addresses": ["192.0.2.1"]}}}, "lan.addresses must hold"),
    "a route that windows does not take": (
        {**NETWORK, "ethernets": {"lan": {**CARD, "routes": [{"to": "2001:db8::/48", "via": "2001:db8::1"}]}}},
        "another prefix length than 64",
    ),
}


@pytest.mark.parametrize("case", UNSAYABLE.values(), ids=UNSAYABLE.keys())
def test_a_network_that_no_answer_file_can_tell_is_refused_by_its_field(case: tuple[dict[str, Any], str]) -> None:
    network, said = case
    assert said in refused(options={"computer_name": "WEB1"}, network=network)


def test_a_network_by_itself_makes_an_answer_file() -> None:
    content = build_sysprep(Customization(format="sysprep", network=NETWORK), VM).files[0].content
    path = "settings/component/Interfaces/Interface/Identifier"
    assert texts(content, path) == ["52-54-00-12-34-56"]


def test_the_settings_of_an_interface_stand_in_the_order_that_their_pages_want() -> None:
    root = read((FOLDER / "interfaces.xml").read_bytes())
    orders = {
        "Interface": [
            "Ipv4Settings",
            "Ipv6Settings",
            "Identifier",
            "UnicastIpAddresses",
            "Routes",
            "DNSServerSearchOrder",
        ],
        "Route": ["Identifier", "Metric", "NextHopAddress", "Prefix"],
    }
    for name, order in orders.items():
        found = list(root.iter(f"{{{NAMESPACE}}}{name}"))
        assert found
        for element in found:
            names = [etree.QName(inner).localname for inner in element]
            assert names == sorted(names, key=order.index)
    assert [found.text for found in root.iterfind(".//u:Interface/u:Identifier", NAMES)] == [
        *("52-54-00-12-34-56", "52-54-00-AB-CD-EF"),
        "52-54-00-12-34-56",
    ]


# -- The disc ---------------------------------------------------------------------------------------------------------


def test_windows_finds_the_answer_file_by_its_name_at_the_root() -> None:
    for install_type, name in (("prepared", "unattend.xml"), ("fresh", "Autounattend.xml")):
        media = build_sysprep(Customization("sysprep", (Script(GIVEN),), install_type=install_type), VM)
        assert [(file.path, file.content) for file in media.files] == [(name, GIVEN)], "byte for byte"


def test_files_are_carried_and_listed_for_the_guest() -> None:
    files = (GuestFile("C:\\Tools\\motd.txt", b"a\r\n"), GuestFile("D:/Läufer/'x'.bin", b"\x00\xff"))
    media = build_sysprep(Customization("sysprep", options={"computer_name": "WEB1"}, files=files), VM)
    disc = {file.path: file.content for file in media.files}
    assert disc["openngt/files/0"] == b"a\r\n" and disc["openngt/files/1"] == b"\x00\xff"
    assert disc["openngt/files.json"].isascii()
    listed = json.loads(disc["openngt/files.json"])["files"]
    assert listed[1] == {"source": "files\\1", "path": "D:\\Läufer\\'x'.bin"}
    assert SPECIALIZE_COMMAND in texts(
        disc["unattend.xml"], "settings/component/RunSynchronous/RunSynchronousCommand/Path"
    )


def test_commands_come_behind_those_of_an_answer_file_that_is_given() -> None:
    how = {"options": {"winrm_prep": True, "scrub": True}, "files": (GuestFile("C:\\motd.txt", b""),)}
    media = build_sysprep(Customization("sysprep", (Script(GIVEN),), **how), VM)
    content = media.files[0].content
    assert texts(content, "settings/component/AutoLogon/Username") == ["ops"], "its own is kept"
    assert len(texts(content, "settings/component/FirstLogonCommands/SynchronousCommand/Order")) == 2
    assert texts(content, "settings/component/RunSynchronous/RunSynchronousCommand/Order") == ["1"]
    assert [settings.get("pass") for settings in read(content)] == ["specialize", "oobeSystem"]
    again = build_sysprep(Customization("sysprep", (Script(content),), **how), VM).files[0].content
    assert texts(again, "settings/component/RunSynchronous/RunSynchronousCommand/Order") == ["1", "2"]


def test_an_answer_file_that_cannot_be_extended_is_refused() -> None:
    """T29."""
    files = (GuestFile("C:\\motd.txt", b""),)
    for content in (b"<unattend/>", b"no xml", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"\xff\xfe\x00", b""):
        said = refused(scripts=(Script(content),), files=files)
        assert said.startswith("scripts[0].content cannot be extended by commands: it ")


# -- What the guest runs ----------------------------------------------------------------------------------------------


def test_the_scripts_are_of_powershell_3() -> None:
    winrm = winrm_script({"basic": True, "allowed_addresses": ["192.0.2.10"]}, ["web1"])
    for script in (SPECIALIZE, SCRUB, winrm, SPECIALIZE_COMMAND.partition("-Command ")[2].strip('"')):
        assert script.isascii()
        assert powershell.foreign_to_powershell_3(script) == []


def test_command_lines_are_as_short_as_their_settings_want_them() -> None:
    assert len(SPECIALIZE_COMMAND) <= 259
    for name in CASES:
        lines = texts(
            (FOLDER / f"{name}.xml").read_bytes(),
            "settings/component/FirstLogonCommands/SynchronousCommand/CommandLine",
        )
        assert all(len(line) <= 1024 for line in lines)
