# SPDX-License-Identifier: GPL-3.0-or-later
"""The high-level options of Windows guests: what there is, and what is wrong with those given.

Lengths and forms are those of `unattend_reference.REFERENCE`. A message never holds a value, as many are passwords.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import OpenNGTError
from .network_config import static_network
from .options import checked
from .windows_option_types import (
    INTERFACES,
    Flag,
    Interfaces,
    ListOf,
    MappingOf,
    Number,
    OneOf,
    Option,
    Problem,
    Text,
    unknown,
)

__all__ = ["OPTIONS", "account_password", "check_options", "holds_password", "network_of", "option_problems"]

ADMINISTRATOR = "administrator"
_ALL = ("sysprep", "cloudbase_init")

# XML can hold no other control characters, and a line break in a setting is a mistake.
_LINE = r"[^\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]"
_TAG = r"[A-Za-z]{2,3}(-[A-Za-z]{4})?(-([A-Za-z]{2}|[0-9]{3}))?"
_KEYBOARD = r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{8}"
_HOST = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?"
_ADDRESS = r"[0-9A-Fa-f.:]{2,45}"


def _text(pattern: str, wanted: str) -> Text:
    return Text(re.compile(pattern), wanted)


LINE = _text(_LINE + "{1,256}", "one line of at most 256 characters")
PASSWORD = _text(_LINE + "{1,127}", "one line of at most 127 characters")
LOCALE = _text(_TAG, "a language tag, as de-DE")
ACCOUNT = _text(
    r"(?![ .]+$)(?!(?i:none)$)(?:(?![\"/\\\[\]:|<>+=;,?*%@])" + _LINE + "){1,20}",
    'at most 20 characters without "/\\[]:|<>+=;,?*%@; NONE is taken',
)
DOMAIN_NAME = _text(_HOST, "the domain's DNS or NetBIOS name")
COMMAND = _text(_LINE + "{1,1024}", "one line of at most 1024 characters; put more into a file of files")
COMPUTER_NAME = _text(
    r"\*|(?![0-9]+$)[A-Za-z0-9]([A-Za-z0-9_-]{0,13}[A-Za-z0-9])?",
    "* (Windows makes one up) or a NetBIOS name: at most 15 letters, digits, - or _, and not digits alone",
)
COMMAND_WITH_WORDS = MappingOf({"command": COMMAND, "description": LINE}, required=("command",))
LOCAL_ACCOUNT = MappingOf(
    {
        "name": ACCOUNT,
        "password": PASSWORD,
        "groups": ListOf(ACCOUNT, most=20),
        "display_name": LINE,
        "description": LINE,
    },
    required=("name", "password"),
)
AUTOLOGON = MappingOf({"username": ACCOUNT, "password": PASSWORD, "domain": DOMAIN_NAME, "count": Number(1, 1000)})
DOMAIN = MappingOf(
    {
        "name": DOMAIN_NAME,
        "username": LINE,
        "password": PASSWORD,
        "account_domain": DOMAIN_NAME,
        "ou": _text(r"(?i:(OU|CN)=)" + _LINE + "{1,1000}", "a distinguished name, as OU=Servers,DC=example,DC=com"),
    },
    required=("name", "username", "password"),
)
IMAGE = MappingOf({"index": Number(1, 999), "name": LINE})
DISK = MappingOf({"number": Number(0, 99), "firmware": OneOf(("uefi", "bios"))})
ALLOWED_ADDRESS = _text(
    rf"any|LocalSubnet|{_ADDRESS}(/[0-9]{{1,3}}|-{_ADDRESS})?", "192.0.2.10, 192.0.2.0/24, LocalSubnet or any"
)
WINRM_PREP = MappingOf(
    {
        "names": ListOf(_text(rf"{_HOST}|{_ADDRESS}", "a host name or an address")),
        "allowed_addresses": ListOf(ALLOWED_ADDRESS),
        "basic": Flag(),
        "local_account_token_filter_policy": Flag(),
    }
)


class _Either:
    """The short form of an option, or its long one: told apart by `long`."""

    def __init__(self, short: Text | Flag, long: MappingOf) -> None:
        self._short, self._long = short, long

    def problems(self, value: Any, key: str) -> Iterator[Problem]:
        return (self._long if isinstance(value, Mapping) else self._short).problems(value, key)


OPTIONS: Mapping[str, Option] = {
    "computer_name": Option(COMPUTER_NAME, "NetBIOS name, or `*`: Windows makes one up, as it does without", _ALL),
    "time_zone": Option(LINE, "Windows' name of it (`tzutil /l`); for Cloudbase-Init `Europe/Berlin`", _ALL),
    "input_locale": Option(
        _text(rf"({_TAG}|{_KEYBOARD})(;({_TAG}|{_KEYBOARD}))*", "a language tag, or 0407:00000407"),
        "keyboard: `de-DE`, or `0407:00000407`, several with `;`",
    ),
    "system_locale": Option(LOCALE, "language of programs that know no Unicode"),
    "ui_language": Option(LOCALE, "language of Windows itself; the image must have it"),
    "user_locale": Option(LOCALE, "dates, numbers and money"),
    "administrator_password": Option(
        PASSWORD,
        "of the built-in administrator; for Cloudbase-Init of the account in its configuration",
        _ALL,
        secret=True,
    ),
    "password_form": Option(OneOf(("plain", "base64")), "how passwords are written; base64 hides nothing"),
    "local_accounts": Option(
        ListOf(LOCAL_ACCOUNT), "`name`, `password`, `groups` (default Users), `display_name`, `description`", _ALL
    ),
    "autologon": Option(AUTOLOGON, "`username` (Administrator), `password`, `domain`, `count` (1)"),
    "first_logon_commands": Option(
        ListOf(_Either(COMMAND, COMMAND_WITH_WORDS), most=400),
        "commands in their order, each a line or `command` and `description`; run as who logs on first",
    ),
    "run_commands": Option(
        ListOf(COMMAND), "commands in their order, run by Cloudbase-Init's service", ("cloudbase_init",)
    ),
    "domain": Option(DOMAIN, "`name`, `username`, `password`, `account_domain` (the same), `ou`"),
    "workgroup": Option(
        _text(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,14}", "at most 15 letters and digits"), "instead of a domain"
    ),
    "product_key": Option(
        _text(r"[A-Z0-9]{5}(-[A-Z0-9]{5}){4}", "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"),
        "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE",
        secret=True,
    ),
    "organization": Option(_text(_LINE + "{1,63}", "one line of at most 63 characters"), "whose computer it is"),
    "owner": Option(_text(_LINE + "{1,63}", "one line of at most 63 characters"), "who uses it"),
    "skip_oobe": Option(Flag(), "skip the pages of the first start; true without being said"),
    "interfaces": Option(
        Interfaces(),
        "addresses by MAC: a list with the fields that it has for Linux, but for `name` and `mtu`",
        _ALL,
    ),
    "winrm_prep": Option(
        _Either(Flag(), WINRM_PREP),
        "prepare WinRM: true, or `names`, `allowed_addresses`, `basic`, `local_account_token_filter_policy`",
        _ALL,
    ),
    "scrub": Option(Flag(), "delete Windows' copies of the answer file after the first logon; true without being said"),
    "architecture": Option(OneOf(("amd64", "x86", "arm64")), "of the image; amd64 without being said"),
    "accept_eula": Option(Flag(), "accept the license terms of Windows; Setup waits without", install_types=("fresh",)),
    "disk": Option(
        DISK, "`number` (0) of the disk that is wiped, `firmware`: uefi (default) or bios", install_types=("fresh",)
    ),
    "image": Option(IMAGE, "`index` or `name` of the edition on Windows' disc", install_types=("fresh",)),
    "driver_paths": Option(
        ListOf(_text(r"[A-Za-z]:\\" + _LINE + "{0,256}", "a folder, as E:\\viostor\\w11\\amd64")),
        "folders with drivers that Setup needs to see the disk",
        install_types=("fresh",),
    ),
}


def option_problems(
    options: Mapping[str, Any], *, format: str = "sysprep", install_type: str = "prepared"
) -> Iterator[Problem]:
    """Everything that is wrong, in the order of OPTIONS."""
    known = {name: option for name, option in OPTIONS.items() if format in option.formats}
    for name in options:
        if name not in known:
            yield unknown(name, known)
    for name, option in known.items():
        value = options.get(name)
        if value is None:
            continue
        if format == "sysprep" and install_type not in option.install_types:
            yield Problem(name, "is for a fresh installation", "set install_type: fresh, or leave it out")
        yield from option.kind.problems(value, name)
    yield from _together(options, format, install_type)


def check_options(options: Mapping[str, Any], *, format: str = "sysprep", install_type: str = "prepared") -> None:
    """INVALID_INPUT for the first problem; `details.field` names it as `options.local_accounts[0].password`."""
    for problem in option_problems(options, format=format, install_type=install_type):
        key = re.sub(r"\.(\d+)", r"[\1]", problem.key)
        field = key if key == "options" else f"options.{key}"
        message = f"{field} {problem.message}; {problem.remedy}"
        raise OpenNGTError("INVALID_INPUT", message, {"field": field})


def holds_password(options: Mapping[str, Any]) -> bool:
    """Any at all, a product key not among them. For options of any form, right or wrong."""
    return bool(options.get("administrator_password")) or any(
        isinstance(one, Mapping) and one.get("password")
        for one in [*_items(options.get("local_accounts")), options.get("autologon"), options.get("domain")]
    )


def network_of(options: Mapping[str, Any]) -> dict[str, Any] | None:
    """The network config for the option `interfaces`, which was found to be good; None where it is not given."""
    given = options.get("interfaces") or ()
    field = "options.interfaces"
    rows = [checked(item, INTERFACES, f"{field}[{number}]") for number, item in enumerate(given)]
    return static_network(rows, field) if rows else None


def account_password(options: Mapping[str, Any], name: str) -> str | None:
    """The password that the options give this local account."""
    if name.lower() == ADMINISTRATOR and options.get("administrator_password"):
        return str(options["administrator_password"])
    for account in _items(options.get("local_accounts")):
        if isinstance(account, Mapping) and str(account.get("name")).lower() == name.lower():
            return None if account.get("password") is None else str(account["password"])
    return None


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _together(options: Mapping[str, Any], format: str, install_type: str) -> Iterator[Problem]:
    """What is right by itself and does not go together."""
    yield from _time_zone(options.get("time_zone"), format)
    yield from _names(options.get("local_accounts"))
    if options.get("domain") is not None and options.get("workgroup") is not None:
        yield Problem("workgroup", "is given beside domain", "leave one of them out")
    autologon = options.get("autologon")
    if isinstance(autologon, Mapping) and autologon.get("password") is None:
        name = autologon.get("username") or ADMINISTRATOR
        if isinstance(name, str) and account_password(options, name) is None:
            remedy = "give it, or the account's own in administrator_password or local_accounts"
            yield Problem("autologon.password", "is missing", remedy)
    image = options.get("image")
    if isinstance(image, Mapping) and (image.get("index") is None) == (image.get("name") is None):
        yield Problem("image", "needs one of index and name", "look at them with: dism /Get-ImageInfo")
    if format == "sysprep" and install_type == "fresh" and options and options.get("accept_eula") is not True:
        yield Problem("accept_eula", "is not true", "set it once you accept the terms: Setup waits for it otherwise")


def _time_zone(name: Any, format: str) -> Iterator[Problem]:
    if not isinstance(name, str):
        return
    olson = "/" in name
    if format == "sysprep" and olson:
        yield Problem("time_zone", "has the form of Europe/Berlin", "give Windows' name: W. Europe Standard Time")
    elif format == "cloudbase_init" and not olson and name not in ("UTC", "GMT"):
        yield Problem(
            "time_zone", "is no name of the tz database", "give one as Europe/Berlin: Cloudbase-Init wants it"
        )


def _names(accounts: Any) -> Iterator[Problem]:
    seen = set()
    for number, account in enumerate(_items(accounts)):
        name = account.get("name") if isinstance(account, Mapping) else None
        if not isinstance(name, str):
            continue
        if name.lower() == ADMINISTRATOR:
            yield Problem(f"local_accounts.{number}.name", "is the built-in account", "use administrator_password")
        elif name.lower() in seen:
            yield Problem(f"local_accounts.{number}.name", "is there twice", "letter case does not count")
        seen.add(name.lower())
