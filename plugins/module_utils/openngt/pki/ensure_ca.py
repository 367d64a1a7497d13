# SPDX-License-Identifier: GPL-3.0-or-later
"""See to it that a folder holds a CA: what the module `ca` and the command `openngt ca create` do."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import OpenNGTError
from . import _x509
from ._time import check_days, rfc3339
from .authority import (
    CA_VALIDITY,
    check_common_name,
    create_authority,
    has_authority,
    load_authority,
    load_left_key,
)
from .expiry import days_left, expiry_state
from .inspect import CertificateInfo, certificate_facts
from .key_types import DEFAULT_KEY_TYPE, KeyType

__all__ = ["CaOutcome", "WantedCa", "ensure_ca"]

COMMON_NAME = "openngt CA"


@dataclass(frozen=True)
class WantedCa:
    """A CA as asked for; INVALID_INPUT names the field.

    What is None is of no interest in a CA that exists, and has a default in one that is made.
    """

    folder: Path
    common_name: str | None = None
    key_type: KeyType | None = None
    validity_days: int = CA_VALIDITY.days
    passphrase: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.common_name is not None:
            check_common_name(self.common_name)
        check_days(self.validity_days, "validity_days")

    @property
    def validity(self) -> datetime.timedelta:
        return datetime.timedelta(days=self.validity_days)


@dataclass(frozen=True)
class CaOutcome:
    changed: bool
    ca: dict[str, Any]
    """Facts of the CA; what only its making can tell is None where it is only planned."""
    diff: dict[str, dict[str, Any]]
    """`before` and `after`, made of the plan alone: the same in check mode and not."""


def ensure_ca(wanted: WantedCa, *, check: bool, now: datetime.datetime) -> CaOutcome:
    """Create the CA where there is none; with `check` say what would be done, and change nothing.

    A CA of another name or key type than asked for is CA_EXISTS: what depends on it cannot be known here.
    The passphrase is tried in any case (CA_PASSPHRASE_WRONG).
    """
    _x509.require()
    if has_authority(wanted.folder):
        info = load_authority(wanted.folder, passphrase=wanted.passphrase).info
        _refuse_another(wanted, info)
        ca = _facts(wanted.folder, info, now)
        return CaOutcome(changed=False, ca=ca, diff={"before": ca, "after": ca})
    planned = _predict(wanted, now)
    diff: dict[str, dict[str, Any]] = {"before": {}, "after": planned}
    if check:
        load_left_key(wanted.folder, wanted.key_type or DEFAULT_KEY_TYPE, wanted.passphrase)
        return CaOutcome(changed=True, ca=planned, diff=diff)
    authority = create_authority(
        wanted.folder,
        common_name=wanted.common_name or COMMON_NAME,
        key_type=wanted.key_type or DEFAULT_KEY_TYPE,
        validity=wanted.validity,
        passphrase=wanted.passphrase,
        now=now,
    )
    return CaOutcome(changed=True, ca=_facts(wanted.folder, authority.info, now), diff=diff)


def _refuse_another(wanted: WantedCa, info: CertificateInfo) -> None:
    for field_name, asked, found in (
        ("common_name", wanted.common_name, info.issuer),
        ("key_type", wanted.key_type, info.key_type),
    ):
        if asked not in (None, found):
            raise OpenNGTError(
                "CA_EXISTS",
                f"{wanted.folder} holds a CA whose {field_name} is {found}, not {asked}",
                {"field": field_name, "found": found},
            )


def _facts(folder: Path, info: CertificateInfo, now: datetime.datetime) -> dict[str, Any]:
    facts = certificate_facts(info, now)
    return {
        "path": str(folder),
        "common_name": info.issuer,
        "ca_sha256": info.sha256,
        **{name: facts[name] for name in ("key_type", "not_after", "days_left", "expiry")},
    }


def _predict(wanted: WantedCa, now: datetime.datetime) -> dict[str, Any]:
    not_after = now + wanted.validity
    return {
        "path": str(wanted.folder),
        "common_name": wanted.common_name or COMMON_NAME,
        "ca_sha256": None,
        "key_type": wanted.key_type or DEFAULT_KEY_TYPE,
        "not_after": rfc3339(not_after),
        "days_left": days_left(not_after, now),
        "expiry": expiry_state(not_after, now),
    }
