# SPDX-License-Identifier: GPL-3.0-or-later
"""From high-level options to a cloud-config, for people who do not want to write one.

Names are cloud-init's own wherever it has one. What is written was tried with 22.4 (Debian 12) and holds before its
newest schema, so that no version complains; what each option does stands in OPTIONS, from which pages are written.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ._yaml import dump
from .model import GuestFile
from .network_config import INTERFACE_OPTIONS, static_network
from .options import Option, checked, invalid

__all__ = ["OPTIONS", "USER_OPTIONS", "check_files", "cloud_config", "network_of", "rendered", "written_file"]

Json = dict[str, Any]

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
WORD = re.compile(r"[A-Za-z0-9_][^\s,:]*")
PACKAGE = re.compile(r"[A-Za-z0-9@][^\s]*")
TIMEZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
LOCALE = re.compile(r"[A-Za-z]+(_[A-Za-z]+)?(\.[A-Za-z0-9-]+)?(@[A-Za-z]+)?")
HASH = re.compile(r"\$[A-Za-z0-9-]+\$[^\s:]+")
PUBLIC_KEY = re.compile(r"(^|\s)(ssh-[a-z0-9-]+|ecdsa-sha2-\S+|sk-\S+)\s+AAAA")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
ABSOLUTE = re.compile(r"/[^\x00-\x1f\x7f]*")
MODE = re.compile(r"0?[0-7]{3,4}")
OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
ANY_COMMAND = "ALL=(ALL) NOPASSWD:ALL"


def is_hostname(text: str) -> bool:
    """Whether it is one label of a host name."""
    return LABEL.fullmatch(text) is not None


def _form(pattern: re.Pattern[str], wanted: str) -> Any:
    return lambda value: None if pattern.fullmatch(value) else f"must be {wanted}"


def _hostname(value: str) -> str | None:
    if "." in value:
        return "holds a dot: give the whole name as fqdn"
    return None if is_hostname(value) else "must be 1 to 63 letters, digits and hyphens, none at an end"


def _fqdn(value: str) -> str | None:
    good = len(value) <= 253 and "." in value and all(is_hostname(label) for label in value.split("."))
    return None if good else "must be a whole host name, as web1.example.com"


def _user_name(value: str) -> str | None:
    if value == "default":
        return "must not be default: keys for the image's own user go into ssh_authorized_keys"
    return None if USER_NAME.fullmatch(value) else "must be a name as web: small letters, digits, - and _, at most 32"


def _public_key(value: str) -> str | None:
    if "PRIVATE KEY" in value:
        return "holds a private key; the public one belongs here, the line of the file that ends in .pub"
    if CONTROL.search(value.strip()) or PUBLIC_KEY.search(value) is None:
        return "must be one line with a public key, as ssh-ed25519 AAAA… comment"
    return None


def _password(value: str) -> str | None:
    return "must be a line of text that is not empty" if not value or CONTROL.search(value) else None


def _sudo(value: object) -> str | None:
    rules: list[object] = value if isinstance(value, list) else [value]
    if isinstance(value, bool) or (rules and all(isinstance(rule, str) and rule.strip() for rule in rules)):
        return "must not hold a line break" if any(CONTROL.search(str(rule)) for rule in rules) else None
    return "must be true, a rule of sudoers as ALL=(ALL) NOPASSWD:ALL, or a list of them"


def _command(value: object) -> str | None:
    words: list[object] = value if isinstance(value, list) else [value]
    if words and all(isinstance(word, str) for word in words) and words[0]:
        return "must not hold a NUL character" if any("\0" in str(word) for word in words) else None
    return "must be a line for the shell, or a list of a program and its arguments, all of them strings"


def _uid(value: int) -> str | None:
    return None if 0 <= value < 2**32 - 1 else "must be a user id"


_path = _form(ABSOLUTE, "an absolute path")

USER_OPTIONS = (
    Option(
        "name", "str", "Login name. One that exists gets keys, password and sudo.", problem=_user_name, required=True
    ),
    Option("gecos", "str", "Full name.", problem=_form(re.compile(r"[^\x00-\x1f\x7f:]*"), "a line without a colon")),
    Option("uid", "int", "User id; the next free one by default.", problem=_uid),
    Option("primary_group", "str", "Primary group; by default one of the user's name.", problem=_form(WORD, "a group")),
    Option("groups", "list", "Further groups; those that are missing are made.", problem=_form(WORD, "a group")),
    Option("shell", "str", "Login shell; give it, as distributions differ (C(/bin/sh), C(/bin/bash)).", problem=_path),
    Option("homedir", "str", "Home folder; C(/home/name) by default.", problem=_path),
    Option("system", "bool", "Whether it is a system user, without a home folder."),
    Option("sudo", "raw", "C(true) for all commands without a password, or rules of sudoers.", problem=_sudo),
    Option("ssh_authorized_keys", "list", "Public keys that may log in.", problem=_public_key),
    Option("password", "str", "First password, plain; see O(change_password).", problem=_password, secret=True),
    Option(
        "password_hash",
        "str",
        "Password as crypt(3) hashes it, as from C(openssl passwd -6).",
        problem=_form(HASH, "a hash as crypt(3) makes it, as $6$…: openssl passwd -6 makes one"),
        secret=True,
    ),
    Option(
        "change_password",
        "bool",
        "Whether the first login must choose another one. Default: true for O(password), false for O(password_hash).",
    ),
    Option("lock_passwd", "bool", "Whether no password logs in. Default: false where one is given, true elsewhere."),
)

OPTIONS = (
    Option("hostname", "str", "Host name, without a domain.", problem=_hostname),
    Option("fqdn", "str", "Host name with its domain.", problem=_fqdn),
    Option("timezone", "str", "Time zone, as C(Europe/Zurich).", problem=_form(TIMEZONE, "a zone as Europe/Zurich")),
    Option("locale", "str", "Locale, as C(en_US.UTF-8).", problem=_form(LOCALE, "a locale as en_US.UTF-8")),
    Option("groups", "list", "Groups to make.", problem=_form(WORD, "the name of a group")),
    Option(
        "users",
        "list",
        "Users to make. The image's own user is made as well where O(ssh_authorized_keys) is given, and not otherwise.",
        elements="dict",
        options=USER_OPTIONS,
    ),
    Option("ssh_authorized_keys", "list", "Public keys for the image's own user.", problem=_public_key),
    Option("ssh_pwauth", "bool", "Whether sshd takes passwords; as the image has it by default."),
    Option("ntp_servers", "list", "Time servers.", problem=_form(WORD, "a host name or an address")),
    Option("package_update", "bool", "Whether to refresh the lists of packages."),
    Option("package_upgrade", "bool", "Whether to upgrade what is installed."),
    Option("package_reboot_if_required", "bool", "Whether to restart when a package asks for it."),
    Option("packages", "list", "Packages to install.", problem=_form(PACKAGE, "the name of a package")),
    Option("runcmd", "list", "Commands to run as root, late in the first boot.", elements="raw", problem=_command),
    Option("interfaces", "list", "Addresses by MAC: a network config.", elements="dict", options=INTERFACE_OPTIONS),
)
"""In the order in which they stand in the cloud-config. `interfaces` goes into the network config instead."""

COPIED = ("hostname", "fqdn", "timezone", "locale", "groups")
COPIED_LATER = (
    "ssh_authorized_keys",
    "ssh_pwauth",
    "package_update",
    "package_upgrade",
    "package_reboot_if_required",
    "packages",
)


def cloud_config(options: Mapping[str, Any]) -> Json:
    """The cloud-config for `options`, `{}` for none. INVALID_INPUT names the field, as `options.users[0].name`."""
    given = checked(options, OPTIONS, "options")
    config = {key: given[key] for key in COPIED if key in given}
    users = given.get("users", [])
    _check_users(users)
    if users:
        config["users"] = [*(["default"] if "ssh_authorized_keys" in given else []), *map(_user, users)]
    config.update({key: given[key] for key in COPIED_LATER if key in given})
    if given.get("ntp_servers"):
        config["ntp"] = {"enabled": True, "servers": given["ntp_servers"]}
    commands = [["passwd", "--expire", user["name"]] for user in users if _must_change(user)] + given.get("runcmd", [])
    if commands:
        config["runcmd"] = commands
    return config


def network_of(options: Mapping[str, Any]) -> Json | None:
    """The network config for the option `interfaces`; None where it is not given."""
    interfaces = checked(options, OPTIONS, "options").get("interfaces")
    return static_network(interfaces, "options.interfaces") if interfaces else None


def rendered(config: Mapping[str, Any]) -> str:
    """A cloud-config as a file of user-data."""
    return "#cloud-config\n" + dump(dict(config))


def _check_users(users: Sequence[Json]) -> None:
    seen = set()
    for number, user in enumerate(users):
        field = f"options.users[{number}]"
        if user["name"] in seen:
            raise invalid(f"{field}.name", "was given to an earlier user")
        seen.add(user["name"])
        secret = "password" in user or "password_hash" in user
        if "password" in user and "password_hash" in user:
            raise invalid(f"{field}.password_hash", "is given beside password: one of them is enough")
        if user.get("change_password") and not secret:
            raise invalid(f"{field}.change_password", "wants a password or a password_hash beside it")
        if user.get("lock_passwd") and secret:
            raise invalid(f"{field}.lock_passwd", "locks the password that is given beside it")
        if user.get("system") and user.get("ssh_authorized_keys"):
            raise invalid(f"{field}.ssh_authorized_keys", "wants a home folder, which a system user does not have")


def _user(user: Json) -> Json:
    result = {key: value for key, value in user.items() if key not in ("password", "password_hash", "change_password")}
    if "sudo" in result:
        rules = _sudo_rules(result.pop("sudo"))
        # cloud-init has always taken a list, but the schema of 22.4 complains of one.
        result |= {"sudo": rules[0] if len(rules) == 1 else rules} if rules else {}
    # hashed_passwd and plain_text_passwd are set for a user that the image has as well; passwd is not.
    for ours, theirs in (("password", "plain_text_passwd"), ("password_hash", "hashed_passwd")):
        if ours in user:
            result |= {theirs: user[ours], "lock_passwd": False}
    return result


def _sudo_rules(given: bool | str | list[str]) -> list[str]:
    if isinstance(given, bool):
        return [ANY_COMMAND] if given else []
    return [given] if isinstance(given, str) else given


def _must_change(user: Json) -> bool:
    """By `passwd --expire` among the commands: cloud-init's own `chpasswd` leaves hashed ones as they are (22.4)."""
    return bool(user.get("change_password", "password" in user))


def check_files(files: Sequence[GuestFile]) -> None:
    """INVALID_INPUT names what a Linux guest cannot make of a file, as `files[0].mode`."""
    seen = set()
    for number, file in enumerate(files):
        field = f"files[{number}]"
        names = file.path.split("/")
        if (
            ABSOLUTE.fullmatch(file.path) is None
            or names[-1] == ""
            or any(name in ("", ".", "..") for name in names[1:])
        ):
            raise invalid(f"{field}.path", "must be the absolute path of a file, without . and ..")
        if file.path in seen:
            raise invalid(f"{field}.path", "was given to an earlier file")
        seen.add(file.path)
        if MODE.fullmatch(file.mode) is None:
            raise invalid(f"{field}.mode", "must be octal, as 0644")
        if OWNER.fullmatch(file.owner) is None:
            raise invalid(f"{field}.owner", "must be a user, or user:group")


def written_file(file: GuestFile) -> Json:
    """A file as an entry of `write_files`.

    One that is not root's is written late, when packages and users have come that may own it (cloud-init 21.3).
    """
    entry: Json = {"path": file.path, "permissions": file.mode.zfill(4), "owner": file.owner}
    text = _text(file.content)
    if text is None:
        entry |= {"encoding": "b64", "content": base64.b64encode(file.content).decode()}
    else:
        entry["content"] = text
    if file.owner.partition(":")[0] not in ("root", "0"):
        entry["defer"] = True
    return entry


def _text(content: bytes) -> str | None:
    """Content that a person can read in a cloud-config, and that YAML gives back unchanged."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text if all(letter.isprintable() or letter in "\n\t" for letter in text) else None
