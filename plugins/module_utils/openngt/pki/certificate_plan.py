# SPDX-License-Identifier: GPL-3.0-or-later
"""Must a VM's certificate be issued again, and why? A pure decision, read by check mode, diff and `changed` alike."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from .expiry import days_left
from .inspect import CertificateInfo
from .key_types import KeyType

__all__ = [
    "CertificatePlan",
    "ExistingCertificate",
    "Reason",
    "UnreadableCertificate",
    "WantedCertificate",
    "plan_certificate",
]

ReasonCode = Literal[
    "missing", "invalid", "other_vm", "other_identity", "other_ca", "revoked", "unlogged", "key_type", "expires", "mode"
]


class Reason(NamedTuple):
    code: ReasonCode
    text: str
    """Reads well after "issue again because"."""


@dataclass(frozen=True)
class ExistingCertificate:
    """What was found at the path, and what the CA and its issue log have to say about it."""

    info: CertificateInfo
    mode: int
    of_this_ca: bool
    key_matches: bool
    logged: bool
    revoked: bool


@dataclass(frozen=True)
class UnreadableCertificate:
    problem: str


@dataclass(frozen=True)
class WantedCertificate:
    vm_uuid: str
    ngt_uuid: str | None
    """None while nobody can know it: in check mode, before there is a CA."""
    key_type: KeyType
    threshold_days: int
    """Issue again when at most so many days are left."""


@dataclass(frozen=True)
class CertificatePlan:
    reasons: tuple[Reason, ...] = ()

    @property
    def changed(self) -> bool:
        return bool(self.reasons)

    @property
    def issue(self) -> bool:
        """Whether a new certificate is called for; otherwise the file's mode alone is put right."""
        return any(reason.code != "mode" for reason in self.reasons)

    @property
    def text(self) -> str | None:
        """Every reason, for the diff and the result; None when nothing is to be done."""
        return "; ".join(reason.text for reason in self.reasons) or None


def plan_certificate(
    existing: ExistingCertificate | UnreadableCertificate | None, wanted: WantedCertificate, now: datetime.datetime
) -> CertificatePlan:
    if existing is None:
        return CertificatePlan((Reason("missing", "there is no certificate"),))
    if isinstance(existing, UnreadableCertificate):
        return CertificatePlan((Reason("invalid", existing.problem),))
    return CertificatePlan(tuple(_reasons(existing, wanted, now)))


def _reasons(existing: ExistingCertificate, wanted: WantedCertificate, now: datetime.datetime) -> Iterator[Reason]:
    info = existing.info
    if not existing.key_matches:
        yield Reason("invalid", "the private key in the file is not the certificate's")
    if "clientAuth" not in info.usages:
        yield Reason("invalid", "it is not a client certificate")
    if info.vm_uuid != wanted.vm_uuid:
        yield Reason("other_vm", f"it is for another VM, {info.vm_uuid}" if info.vm_uuid else "it is for no VM")
    elif wanted.ngt_uuid not in (info.ngt_uuid, None):
        yield Reason("other_identity", f"its ngt_uuid is {info.ngt_uuid}")
    if not existing.of_this_ca:
        yield Reason("other_ca", "it was signed by another CA")
    elif existing.revoked:
        yield Reason("revoked", "it was revoked")
    elif not existing.logged:
        yield Reason("unlogged", "the CA's issue log does not know it")
    if info.key_type != wanted.key_type:
        yield Reason("key_type", f"its key type is {info.key_type}")
    left = days_left(info.not_after, now)
    if left <= 0:
        yield Reason("expires", "it has expired")
    elif left <= wanted.threshold_days:
        yield Reason("expires", f"it expires within {wanted.threshold_days} days ({left} left)")
    if existing.mode != 0o600:
        yield Reason("mode", f"the file's mode is {existing.mode:04o}")
