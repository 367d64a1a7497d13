# SPDX-License-Identifier: GPL-3.0-or-later
"""What only shows once the parts are put together: options that do not do, and sizes as the guest gets them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..errors import OpenNGTError
from .findings import finding
from .media import build
from .model import Customization, Finding, MediaVm
from .user_data_validation import MOST_USER_DATA

__all__ = ["MOST_META_DATA", "validate_built"]

MOST_META_DATA = 32_000
"""Bytes, as the original's API limits them."""
LIMITS = {
    "user-data": MOST_USER_DATA,
    "user_data": MOST_USER_DATA,
    "meta-data": MOST_META_DATA,
    "meta_data.json": MOST_META_DATA,
}
SOME_VM = MediaVm("00000000-0000-4000-8000-000000000000", "vm", "i-00000000-0000-4000-8000-000000000000")
"""What differs from one VM to the next is of the same size."""


def validate_built(customization: Customization) -> list[Finding]:
    """Of a customization whose parts were found to be good, each by itself."""
    # A Linux guest's files do not count: they find room on the disc.
    counted = replace(customization, files=()) if customization.format == "cloud_init" else customization
    try:
        media = build(counted, SOME_VM)
    except OpenNGTError as exc:
        if exc.code != "INVALID_INPUT":
            raise
        return [_finding_of(exc)]
    found = list(_passwords(customization))
    for file in media.files:
        name = file.path.rpartition("/")[2]
        most = LIMITS.get(name)
        if most is not None and len(file.content) > most:
            part = name.replace("meta-data", "meta_data").removesuffix(".json")
            found.append(finding("TOO_LARGE", part, f"has {len(file.content)} bytes as built; {most} is the most"))
    return found


def _finding_of(refusal: OpenNGTError) -> Finding:
    field = str(refusal.details.get("field", "options"))
    part, _dot, key = field.partition(".")
    what = refusal.message.removeprefix(field).lstrip()
    if "most_bytes" in refusal.details:
        return finding("TOO_LARGE", part, what, remedy=refusal.remedy, key=key)
    return finding("BAD_OPTION", part, what, key=key)


def _passwords(customization: Customization) -> Iterator[Finding]:
    users = customization.options.get("users")
    for number, user in enumerate(users if isinstance(users, list) else ()):
        if user.get("password"):
            what = "is a password in clear, for everybody who reads the disc"
            remedy = "give password_hash (openssl passwd -6), or leave change_password as it is"
            key = f"users.{number}.password"
            yield finding("SECRET_IN_CLEAR", "options", what, remedy=remedy, key=key, severity="warning")
