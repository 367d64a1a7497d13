# SPDX-License-Identifier: GPL-3.0-or-later
"""Options -> an answer file of Windows, each setting in the pass and component that `unattend_reference` names.

Passwords stand in it as text, or in the base64 form that Windows' own tools write. That form is no encryption: whoever
has the file has the passwords.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from .answer_tree import AnswerFile, add_item, child, set_texts, tag
from .unattend_network import add_network
from .windows_options import account_password, check_options

__all__ = ["add_first_logon", "add_specialize", "build_unattend", "hidden_password"]

ADMINISTRATOR = "Administrator"
DEPLOYMENT = "Microsoft-Windows-Deployment"
SHELL = "Microsoft-Windows-Shell-Setup"
SETUP = "Microsoft-Windows-Setup"
NO_MORE_AUTOLOGON = (
    r'reg.exe add "HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon" /v AutoLogonCount /t REG_DWORD /d 0 /f'
)
"""The page of AutoLogon\\LogonCount: Windows adds one to any count above 0, and this makes exactly one logon of it."""
LOCALES = {
    "input_locale": "InputLocale",
    "system_locale": "SystemLocale",
    "ui_language": "UILanguage",
    "user_locale": "UserLocale",
}
PARTITIONS: Mapping[str, Sequence[tuple[str, int | None, str | None, str | None, str | None, Mapping[str, str]]]] = {
    # Type, size in MB (None: the rest), format, label, letter, more of its settings.
    "uefi": (
        ("EFI", 260, "FAT32", "System", None, {}),
        ("MSR", 16, None, None, None, {}),
        ("Primary", None, "NTFS", "Windows", "C", {}),
    ),
    "bios": (
        ("Primary", 500, "NTFS", "System", None, {"Active": "true"}),
        ("Primary", None, "NTFS", "Windows", "C", {}),
    ),
}
"""As "Configure UEFI/GPT-Based" and "BIOS/MBR-Based Hard Drive Partitions" on Microsoft Learn recommend; 260 MB also do
for disks with sectors of 4 KB. Windows goes onto the last one.
"""


def build_unattend(
    options: Mapping[str, Any],
    *,
    install_type: str = "prepared",
    network: Mapping[str, Any] | None = None,
    specialize: Sequence[str] = (),
    first_logon: Sequence[str] = (),
) -> bytes:
    """An answer file in UTF-8. INVALID_INPUT names the first option that is wrong, as `options.computer_name`, or
    what of the network an answer file cannot say.

    `specialize` are command lines of at most 259 characters that SYSTEM runs before the first logon; `first_logon`
    run after the options' own commands.
    """
    check_options(options, install_type=install_type)
    answers = AnswerFile(architecture=options.get("architecture") or "amd64")
    if install_type == "fresh":
        _windows_pe(answers, options)
    _specialize(answers, options, fresh=install_type == "fresh")
    if network is not None:
        add_network(answers, network)
    for line in specialize:
        add_specialize(answers, line)
    _oobe(answers, options)
    for line, description in (*_own_commands(options), *((line, None) for line in first_logon)):
        add_first_logon(answers, line, description)
    return answers.to_bytes()


def hidden_password(value: str, element: str) -> str:
    """What Windows' own tools write with PlainText=false: base64 of UTF-16 of the value and a suffix. It hides nothing.

    The suffix is the element's name, `AdministratorPassword` or `Password`: see the examples of both pages.
    """
    return base64.b64encode((value + element).encode("utf-16-le")).decode("ascii")


def add_specialize(answers: AnswerFile, command: str, description: str | None = None) -> None:
    """A command that SYSTEM runs after those that are there."""
    commands = child(answers.component(DEPLOYMENT, "specialize"), "RunSynchronous")
    added = _numbered(commands, "RunSynchronousCommand")
    set_texts(added, Path=command, Description=description, WillReboot="Never")


def add_first_logon(answers: AnswerFile, command: str, description: str | None = None) -> None:
    """A command that who logs on first runs, after those that are there."""
    commands = child(answers.component(SHELL, "oobeSystem"), "FirstLogonCommands")
    added = _numbered(commands, "SynchronousCommand")
    set_texts(added, CommandLine=command, Description=description, RequiresUserInput="false")


def _own_commands(options: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    for command in options.get("first_logon_commands") or ():
        yield (command, None) if isinstance(command, str) else (command["command"], command.get("description"))
    autologon = options.get("autologon")
    if autologon is not None and (autologon.get("count") or 1) == 1:
        yield NO_MORE_AUTOLOGON, None


def _windows_pe(answers: AnswerFile, options: Mapping[str, Any]) -> None:
    language = options.get("ui_language") or "en-US"
    international = answers.component("Microsoft-Windows-International-Core-WinPE", "windowsPE")
    set_texts(child(international, "SetupUILanguage"), UILanguage=language)
    given = {element: options.get(option) for option, element in LOCALES.items()}
    set_texts(international, **{**given, "UILanguage": language})
    if options.get("driver_paths"):
        paths = child(answers.component("Microsoft-Windows-PnpCustomizationsWinPE", "windowsPE"), "DriverPaths")
        for number, path in enumerate(options["driver_paths"], 1):
            set_texts(add_item(paths, "PathAndCredentials", str(number)), Path=path)
    setup = answers.component(SETUP, "windowsPE")
    _disk(setup, options.get("disk") or {})
    _image(setup, options)
    user_data = child(setup, "UserData")
    if options.get("product_key"):
        set_texts(child(user_data, "ProductKey"), Key=options["product_key"], WillShowUI="OnError")
    set_texts(user_data, AcceptEula="true", FullName=options.get("owner"), Organization=options.get("organization"))


def _disk(setup: ElementTree.Element, wanted: Mapping[str, Any]) -> None:
    configuration = child(setup, "DiskConfiguration")
    disk = add_item(configuration, "Disk")
    set_texts(disk, DiskID=wanted.get("number") or 0, WillWipeDisk="true")
    created, modified = child(disk, "CreatePartitions"), child(disk, "ModifyPartitions")
    for number, (kind, size, form, label, letter, more) in enumerate(_partitions(wanted), 1):
        room = {"Extend": "true"} if size is None else {"Size": size}
        set_texts(add_item(created, "CreatePartition"), Order=number, Type=kind, **room)
        rest = {"Format": form, "Label": label, "Letter": letter, **more}
        set_texts(add_item(modified, "ModifyPartition"), Order=number, PartitionID=number, **rest)
    set_texts(configuration, WillShowUI="OnError")


def _image(setup: ElementTree.Element, options: Mapping[str, Any]) -> None:
    wanted, disk = options.get("image") or {}, options.get("disk") or {}
    image = child(child(setup, "ImageInstall"), "OSImage")
    if wanted:
        key, value = ("INDEX", wanted["index"]) if wanted.get("index") is not None else ("NAME", wanted["name"])
        set_texts(add_item(child(image, "InstallFrom"), "MetaData"), Key=f"/IMAGE/{key}", Value=value)
    set_texts(child(image, "InstallTo"), DiskID=disk.get("number") or 0, PartitionID=len(_partitions(disk)))
    set_texts(image, WillShowUI="OnError")


def _partitions(disk: Mapping[str, Any]) -> Sequence[Any]:
    return PARTITIONS[disk.get("firmware") or "uefi"]


def _specialize(answers: AnswerFile, options: Mapping[str, Any], *, fresh: bool) -> None:
    given = {
        "ComputerName": options.get("computer_name"),
        # Of a fresh installation the key stands in UserData, where it chooses the edition as well.
        "ProductKey": None if fresh else options.get("product_key"),
        "RegisteredOrganization": options.get("organization"),
        "RegisteredOwner": options.get("owner"),
        "TimeZone": options.get("time_zone"),
    }
    if any(given.values()):
        set_texts(answers.component(SHELL, "specialize"), **given)
    domain = options.get("domain")
    if domain is not None:
        joined = child(answers.component("Microsoft-Windows-UnattendedJoin", "specialize"), "Identification")
        credentials = child(joined, "Credentials")
        set_texts(credentials, Domain=domain.get("account_domain") or domain["name"], Username=domain["username"])
        # This one has no hidden form.
        set_texts(credentials, Password=domain["password"])
        set_texts(joined, JoinDomain=domain["name"], MachineObjectOU=domain.get("ou"))
    elif options.get("workgroup"):
        joined = child(answers.component("Microsoft-Windows-UnattendedJoin", "specialize"), "Identification")
        set_texts(joined, JoinWorkgroup=options["workgroup"])


def _oobe(answers: AnswerFile, options: Mapping[str, Any]) -> None:
    given = {element: options.get(option) for option, element in LOCALES.items()}
    if any(given.values()):
        set_texts(answers.component("Microsoft-Windows-International-Core", "oobeSystem"), **given)
    if options.get("skip_oobe") is not False:
        pages = child(answers.component(SHELL, "oobeSystem"), "OOBE")
        hidden = ("EULAPage", "LocalAccountScreen", "OEMRegistrationScreen", "OnlineAccountScreens")
        set_texts(pages, **{f"Hide{page}": "true" for page in hidden}, HideWirelessSetupInOOBE="true", ProtectYourPC=3)
    _accounts(answers, options)
    if options.get("autologon") is not None:
        _autologon(answers, options)


def _accounts(answers: AnswerFile, options: Mapping[str, Any]) -> None:
    administrator, accounts = options.get("administrator_password"), options.get("local_accounts") or ()
    if not administrator and not accounts:
        return
    parent = child(answers.component(SHELL, "oobeSystem"), "UserAccounts")
    if administrator:
        _password(parent, "AdministratorPassword", administrator, options)
    for account in accounts:
        added = add_item(child(parent, "LocalAccounts"), "LocalAccount")
        _password(added, "Password", account["password"], options)
        set_texts(added, Description=account.get("description"), DisplayName=account.get("display_name"))
        set_texts(added, Group=";".join(account.get("groups") or ["Users"]), Name=account["name"])


def _autologon(answers: AnswerFile, options: Mapping[str, Any]) -> None:
    wanted = options["autologon"]
    username, count = wanted.get("username") or ADMINISTRATOR, wanted.get("count") or 1
    autologon = child(answers.component(SHELL, "oobeSystem"), "AutoLogon")
    _password(autologon, "Password", wanted.get("password") or account_password(options, username) or "", options)
    # Windows adds one: see NO_MORE_AUTOLOGON, which makes the one that remains of a count of 1.
    set_texts(autologon, Domain=wanted.get("domain"), Enabled="true", LogonCount=max(count - 1, 1), Username=username)


def _password(parent: ElementTree.Element, element: str, value: str, options: Mapping[str, Any]) -> None:
    hidden = options.get("password_form") == "base64"
    text = hidden_password(value, element) if hidden else value
    set_texts(child(parent, element), Value=text, PlainText="false" if hidden else "true")


def _numbered(parent: ElementTree.Element, name: str) -> ElementTree.Element:
    """One more command, with an Order above those that are there."""
    orders = [order.text or "" for order in parent.findall(f"{tag(name)}/{tag('Order')}")]
    last = max((int(order) for order in orders if order.strip().isdecimal()), default=0)
    added = add_item(parent, name)
    set_texts(added, Order=last + 1)
    return added
