# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said about answer files and options before anything is written."""

from typing import Any

import pytest
from tests.library.customization.answer_file_cases import CASES, FOLDER, PASSWORD

from openngt.customization.findings import CODES
from openngt.customization.model import Customization, Finding, GuestFile, Script
from openngt.customization.unattend import hidden_password
from openngt.customization.unattend_validation import validate_unattend
from openngt.customization.windows_validation import (
    validate_windows,
    validate_windows_files,
    validate_windows_options,
)

SHELL = "Microsoft-Windows-Shell-Setup"
HEAD = '<unattend xmlns="urn:schemas-microsoft-com:unattend" xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State">'
ATTRIBUTES = 'processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"'


def component(inner: str = "", name: str = SHELL, attributes: str = ATTRIBUTES) -> str:
    return f'<component name="{name}" {attributes}>{inner}</component>'


def answer(inner: str, of: str = "specialize") -> str:
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n{HEAD}\n<settings pass="{of}">\n{inner}\n</settings>\n</unattend>\n'
    )


GOOD = answer(component("<ComputerName>WEB1</ComputerName>"))


def findings(content: str | bytes) -> list[Finding]:
    data = content if isinstance(content, bytes) else content.encode()
    return validate_unattend(Script(data), "scripts[0]")


def only(content: str | bytes) -> Finding:
    [one] = findings(content)
    return one


@pytest.mark.parametrize("name", CASES)
def test_what_is_built_from_options_is_right(name: str) -> None:
    content = Script((FOLDER / f"{name}.xml").read_bytes())
    found = validate_unattend(content, "scripts[0]", install_type=CASES[name].install_type)
    assert {one.code for one in found} <= {"SECRET_IN_CLEAR"}


# Each beside the one that is wrong, a twin that is right stands in the next table.
WRONG = {
    "nothing": ("", "EMPTY"),
    "blank": (" \r\n", "EMPTY"),
    "too large": (GOOD.replace("WEB1", "W" * 32_000), "TOO_LARGE"),
    "billion laughs": (
        '<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;">]>' + GOOD.partition("\n")[2].replace("WEB1", "&c;"),
        "XML_DOCTYPE",
    ),
    "outside file": ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "XML_DOCTYPE"),
    "outside document type": ('<!DOCTYPE a SYSTEM "http://192.0.2.1/a.dtd"><a/>', "XML_DOCTYPE"),
    "parameter entity": ('<!DOCTYPE a [<!ENTITY % b SYSTEM "http://192.0.2.1/b"> %b;]><a/>', "XML_DOCTYPE"),
    "style sheet": (GOOD.replace("\n<", '\n<?xml-stylesheet href="http://192.0.2.1/"?><', 1), "XML_INSTRUCTION"),
    "unclosed": (GOOD.replace("</settings>", ""), "BAD_XML"),
    "entity of nobody": (GOOD.replace("WEB1", "&nbsp;"), "BAD_XML"),
    "two roots": (GOOD + "<more/>", "BAD_XML"),
    "no xml": ("computer_name: WEB1\n", "BAD_XML"),
    "NUL": (GOOD.replace("WEB1", "WEB\0"), "NUL_BYTE"),
    "UTF-16 that says UTF-8": (GOOD.encode("utf-16"), "WRONG_ENCODING"),
    "UTF-8 that says UTF-16": (GOOD.replace("utf-8", "utf-16"), "WRONG_ENCODING"),
    "Latin-1": (GOOD.replace("utf-8", "iso-8859-1"), "WRONG_ENCODING"),
    "Latin-1 that says UTF-8": (GOOD.replace("WEB1", "WÄB1").encode("latin-1"), "WRONG_ENCODING"),
    "UTF-32": (GOOD.encode("utf-32"), "WRONG_ENCODING"),
    "half of a character": (GOOD.encode("utf-16")[:-1], "WRONG_ENCODING"),
    "deep": (answer(component("<a>" * 40 + "</a>" * 40)), "TOO_DEEP"),
    "no namespace": (GOOD.replace(' xmlns="urn:schemas-microsoft-com:unattend"', ""), "NOT_AN_ANSWER_FILE"),
    "another root": (GOOD.replace("unattend>", "answers>").replace("<unattend ", "<answers "), "NOT_AN_ANSWER_FILE"),
    "misspelt pass": (GOOD.replace('pass="specialize"', 'pass="specialise"'), "UNKNOWN_PASS"),
    "two of a pass": (GOOD.replace("</unattend>", '<settings pass="specialize"/></unattend>'), "DUPLICATE_PASS"),
    "two of a component": (answer(component() + component()), "DUPLICATE_COMPONENT"),
    "no architecture": (answer(component(attributes=ATTRIBUTES.partition(" ")[2])), "BAD_ATTRIBUTE"),
    "another token": (GOOD.replace("31bf3856ad364e35", "31bf3856ad364e36"), "BAD_ATTRIBUTE"),
    "another scope": (GOOD.replace("nonSxS", "nonSxs"), "BAD_ATTRIBUTE"),
    "misspelt component": (GOOD.replace(SHELL, "Microsoft-Windows-Shel-Setup"), "UNKNOWN_COMPONENT"),
    "component in a wrong pass": (answer(component(name="Microsoft-Windows-Setup")), "WRONG_PASS"),
    "setting in a wrong pass": (answer(component("<FirstLogonCommands/>")), "WRONG_PASS"),
    "name too long": (GOOD.replace("WEB1", "W" * 16), "BAD_COMPUTER_NAME"),
    "name of bytes too long": (GOOD.replace("WEB1", "Ä" * 8), "BAD_COMPUTER_NAME"),
    "name with a blank": (GOOD.replace("WEB1", "WEB 1"), "BAD_COMPUTER_NAME"),
    "name of digits": (GOOD.replace("WEB1", "2024"), "BAD_COMPUTER_NAME"),
    "skipped OOBE": (
        answer(component("<OOBE><SkipMachineOOBE>true</SkipMachineOOBE></OOBE>"), "oobeSystem"),
        "DEPRECATED_KEY",
    ),
    "item without its action": (
        answer(component("<FirstLogonCommands><SynchronousCommand/></FirstLogonCommands>"), "oobeSystem"),
        "MISSING_ACTION",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_has_its_code(name: str) -> None:
    """T29."""
    content, code = WRONG[name]
    one = only(content)
    assert (one.code, one.part) == (code, "scripts[0]")
    assert one.code in CODES and one.remedy


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.partition("\n")[2],
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace("utf-8", "utf-16").encode("utf-16"),
        GOOD.replace("utf-8", "UTF-16").encode("utf-16-le"),
        GOOD.replace("utf-8", "utf-16").encode("utf-16-be"),
        GOOD.replace("\n", "\n<!-- <!DOCTYPE is a word in a comment -->\n", 1),
        GOOD.replace("WEB1", "*"),
        GOOD.replace("WEB1", "<![CDATA[WEB1]]>"),
        GOOD.replace("WEB1", "WEB&#49;"),
        GOOD.replace("WEB1", "Ä" * 7),
        answer(component("<a>" * 20 + "</a>" * 20)),
        answer(component() + component(attributes=ATTRIBUTES.replace("amd64", "x86"))),
        answer(component("<FirstLogonCommands/>"), "oobeSystem"),
        answer(component(name="Microsoft-Windows-Setup"), "windowsPE"),
    ],
)
def test_its_twin_is_right(content: str | bytes) -> None:
    assert findings(content) == []


def test_the_line_and_the_right_pass_are_told() -> None:
    one = only(answer("\n" + component("\n<UserAccounts/>")))
    assert (one.line, one.key) == (6, f"settings[specialize]/component[{SHELL}]/UserAccounts")
    assert one.message == "is not valid in specialize"
    assert one.remedy.startswith("move it to auditSystem, oobeSystem: https://learn.microsoft.com/")
    assert only(GOOD.replace("</settings>", "")).line == 6
    assert only(GOOD.replace('pass="specialize"', 'pass="Specialize"')).remedy == "did you mean specialize?"


def test_a_pass_that_does_not_run_in_a_prepared_image_is_told() -> None:
    script = Script(answer(component(name="Microsoft-Windows-Setup"), "windowsPE").encode())
    [one] = validate_unattend(script, "scripts[0]", install_type="prepared")
    assert (one.severity, one.code) == ("warning", "WRONG_PASS")
    assert validate_unattend(script, "scripts[0]", install_type="fresh") == []


def test_a_password_is_told_and_never_repeated() -> None:
    """T35: also one in the hidden form, which Windows refuses without a word when it is not as it wants it."""

    def accounts(value: str, plain: str) -> str:
        inner = f"<AdministratorPassword><Value>{value}</Value><PlainText>{plain}</PlainText></AdministratorPassword>"
        return answer(component(f"<UserAccounts>{inner}</UserAccounts>"), "oobeSystem")

    hidden = hidden_password(PASSWORD, "AdministratorPassword")
    for content in (accounts(PASSWORD, "true"), accounts(hidden, "false")):
        assert [(one.severity, one.code) for one in findings(content)] == [("warning", "SECRET_IN_CLEAR")]
    for wrong in (PASSWORD, hidden_password(PASSWORD, "Password")):
        found = findings(accounts(wrong, "false"))
        assert [one.code for one in found] == ["BAD_HIDDEN_PASSWORD", "SECRET_IN_CLEAR"]
        assert wrong not in str(found)


def test_what_a_parser_complains_of_is_not_quoted() -> None:
    assert "canary" not in str(only(GOOD.replace("WEB1", "Pa55&canary;")))


def test_many_mistakes_come_to_a_hundred_findings_at_most() -> None:
    assert len(findings(answer("<component/>" * 400))) == 100


def test_a_name_that_is_none_is_not_repeated() -> None:
    assert "evil" not in str(findings(answer(component(name="evil&#10;name"))))


# -- Options and files ------------------------------------------------------------------------------------------------


def codes(found: list[Finding]) -> list[str]:
    assert all(one.code in CODES for one in found)
    return [one.code for one in found]


def test_all_wrong_options_are_told_at_once_and_no_value() -> None:
    options = {"computer_name": PASSWORD * 3, "administrator_password": PASSWORD + "\n", "colour": PASSWORD}
    found = validate_windows_options(options)
    assert [one.key for one in found if one.severity == "error"] == [
        "colour",
        "computer_name",
        "administrator_password",
    ]
    assert PASSWORD not in str(found)


def test_commands_that_wait_for_somebody_are_told() -> None:
    assert codes(validate_windows_options({"winrm_prep": True})) == ["LOGON_NEEDED"]
    logon = {"autologon": {"username": "ops", "password": "x"}}
    assert codes(validate_windows_options({"winrm_prep": True, **logon})) == ["SECRET_IN_CLEAR"]
    assert codes(validate_windows_options({"winrm_prep": True}, format="cloudbase_init")) == []


def test_paths_are_judged_by_windows_rules() -> None:
    good = GuestFile("C:\\Tools\\motd.txt", b"")
    assert codes(validate_windows_files([good])) == []
    assert codes(validate_windows_files([good, GuestFile("c:/tools/MOTD.txt", b"")])) == ["DUPLICATE_PATH"]
    assert codes(validate_windows_files([GuestFile("/etc/motd", b"")])) == ["BAD_FILE_PATH"]
    assert codes(validate_windows_files([GuestFile(good.path, b"", mode="0600")])) == ["NOT_ON_WINDOWS"]


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ({"format": "sysprep", "scripts": (Script(GOOD.encode()),)}, []),
        ({"format": "sysprep"}, ["BAD_OPTION"]),
        ({"format": "sysprep", "scripts": (Script(GOOD.encode()),), "network": {}}, ["BAD_OPTION"]),
        ({"format": "sysprep", "scripts": (Script(b""), Script(b""))}, ["EMPTY", "EMPTY", "BAD_OPTION"]),
        ({"format": "sysprep", "options": {"computer_name": "*"}, "install_type": "fresh"}, ["BAD_OPTION"]),
        ({"format": "sysprep", "options": {"computer_name": "*"}, "files": (GuestFile("x", b""),)}, ["BAD_FILE_PATH"]),
        ({"format": "cloudbase_init", "scripts": (Script(b"#ps1_sysnative\n"),)}, []),
        ({"format": "cloudbase_init", "scripts": (Script(b"Get-Date\n"),)}, ["UNKNOWN_KIND"]),
        ({"format": "cloudbase_init", "scripts": (Script(b"#cloud-config\npackages: [a]\n"),)}, ["BAD_KEY"]),
        ({"format": "cloudbase_init", "scripts": (Script(b"\xff\xfe#\0p\0"),)}, ["NOT_UTF8"]),
    ],
)
def test_the_whole_of_a_customization_is_judged(how: dict[str, Any], wanted: list[str]) -> None:
    assert codes(validate_windows(Customization(**how))) == wanted
