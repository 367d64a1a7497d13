# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud-config before it is written: held to cloud-init's own schema, and to what people write instead of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .findings import finding
from .model import Finding
from .safe_yaml import Document, key_of, load
from .schema_findings import finding_of
from .schemas import Schemas

__all__ = ["validate_cloud_config", "validate_document"]

HASH = re.compile(r"[!*]{0,2}(\$[0-9a-z]+\$\S+)?")
"""As crypt(3) makes it, with what locks an account before it."""
CLEAR = ("plain_text_passwd", "password", "passwd", "hashed_passwd")
KEY_TYPES = re.compile(r"(ssh-[a-z0-9]+|ecdsa-sha2-\S+|sk-\S+)")
AUTHORIZED = ("ssh_authorized_keys", "ssh-authorized-keys")
HASH_REMEDY = "give a hash, as openssl passwd -6 makes it; a password in clear goes under plain_text_passwd"

Path = tuple[Any, ...]
"""Keys and numbers of items, as they lead to a value."""


def validate_cloud_config(content: bytes, part: str, schemas: Schemas) -> list[Finding]:
    """Of the whole text, its first line included. LIBRARY_MISSING."""
    return validate_document(load(content, part), part, schemas)


def validate_document(document: Document, part: str, schemas: Schemas) -> list[Finding]:
    if document.root is None or document.value is None:
        nothing = finding("EMPTY", part, "holds no keys", severity="warning")
        return document.findings or [nothing]
    if not isinstance(document.value, dict):
        line = document.line(())
        return [*document.findings, finding("NOT_A_MAPPING", part, "is no mapping of keys to values", line=line)]
    # The library takes longer to load than all the rest; who judges nothing should not wait for it.
    from ._jsonschema import violations

    found = list(document.findings)
    for violation in violations(document.value, schemas.cloud_config):
        found += finding_of(violation, document, part)
    found = [_placed(item, document, part, schemas) for item in found]
    found = [_as_list_of_keys(item, document) for item in found]
    found += _passwords(document, part)
    return sorted(found, key=lambda item: (item.line or 0, item.key))


def _placed(item: Finding, document: Document, part: str, schemas: Schemas) -> Finding:
    """A key that belongs elsewhere: one of a user at the top level, or the other way round."""
    if item.code not in ("BAD_KEY", "MISSPELT_KEY"):
        return item
    *parents, name = item.key.split(".")
    spelt = name.lower().replace("-", "_")
    if not parents and spelt in schemas.user and spelt not in schemas.top_level:
        message = "belongs to a user, and has no effect at the top level"
        remedy = f"indent it below an item of users, as {spelt}" + (
            f"; {HASH_REMEDY}" if spelt in ("passwd", "hashed_passwd") else ""
        )
    elif parents and parents[0] in ("users", "user") and spelt in schemas.top_level and item.code == "BAD_KEY":
        message = "belongs to the top level, and has no effect here"
        remedy = f"move it out of {'.'.join(parents)}"
    else:
        return item
    code = "BAD_KEY" if spelt == name else "MISSPELT_KEY"
    return item._replace(code=code, severity="error", message=message, remedy=remedy)


def _as_list_of_keys(item: Finding, document: Document) -> Finding:
    """`- ssh-rsa: AAAA…`, a mapping, where `- ssh-rsa AAAA… name` was meant."""
    if item.code != "BAD_VALUE" or not any(f"{name}." in item.key for name in AUTHORIZED):
        return item
    value = _at(document.value, item.key)
    if not isinstance(value, Mapping) or not value or not all(KEY_TYPES.fullmatch(name) for name in value):
        return item
    kind = next(iter(value))
    remedy = f"write each key as one text, without the colon: - {kind} AAAA… name"
    return item._replace(message="is a mapping; text is wanted, as a line of authorized_keys", remedy=remedy)


def _at(value: Any, key: str) -> Any:
    for step in key.split("."):
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return None
    return value


def _passwords(document: Document, part: str) -> Iterator[Finding]:
    """Passwords that no login will take, or that everybody will read."""
    for path, value in _password_fields(document.value):
        name = path[-1]
        where: Any = {"line": document.line(path), "key": key_of(path), "severity": "warning"}
        hashed = isinstance(value, str) and HASH.fullmatch(value) is not None
        if name in ("passwd", "hashed_passwd") and not hashed:
            yield finding(
                "BAD_VALUE", part, "is no hash of a password, so nobody can log in by it", remedy=HASH_REMEDY, **where
            )
        elif name in ("plain_text_passwd", "password") and not (hashed and value):
            yield finding("SECRET_IN_CLEAR", part, "is a password in clear, for everybody who reads the disc", **where)


def _password_fields(config: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    if isinstance(config.get("password"), str):
        yield ("password",), config["password"]
    users: Any = config.get("users")
    for number, user in enumerate(users if isinstance(users, Sequence) and not isinstance(users, str) else ()):
        if isinstance(user, Mapping):
            yield from ((("users", number, name), user[name]) for name in CLEAR if isinstance(user.get(name), str))
    changes: Any = config.get("chpasswd")
    listed = changes.get("users") if isinstance(changes, Mapping) else None
    for number, user in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(user, Mapping) and isinstance(user.get("password"), str):
            yield ("chpasswd", "users", number, "password"), user["password"]
