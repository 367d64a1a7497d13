# SPDX-License-Identifier: GPL-3.0-or-later
"""See to it that a file holds a VM's certificate, or that the VM has none: what the module `certificate` does.

Validate, plan, apply. With `check` the plan is made and answered, and nothing is changed. Between plan and apply the
CA's folder is locked, so that of two runs at once the second finds what the first made.
"""

from __future__ import annotations

import datetime
import stat
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..effects import file_errors, fsync_directory, sweep_unfinished, write_private
from ..errors import OpenNGTError
from ..failpoints import failpoint
from . import _x509
from ._time import check_days, rfc3339
from .authority import BACKDATE, has_authority, load_authority, load_ca_certificate
from .certificate_plan import (
    CertificatePlan,
    ExistingCertificate,
    UnreadableCertificate,
    WantedCertificate,
    plan_certificate,
)
from .expiry import days_left, expiry_state
from .identity import normalise_uuid
from .inspect import CertificateInfo, certificate_facts, describe_certificate, load_certificate
from .issue import VM_VALIDITY, VmCertificateRequest, check_validity, issue_vm_certificate
from .issue_log import IssueLog, IssueRecord, OpenIssueLog, RevocationRecord, open_issue_log, read_issue_log
from .key_types import DEFAULT_KEY_TYPE, KeyType

__all__ = ["CertificateOrder", "CertificateOutcome", "ensure_certificate", "ensure_no_certificate"]


@dataclass(frozen=True)
class CertificateOrder:
    """A certificate as asked for; INVALID_INPUT names the field. UUIDs are normalised to lower case."""

    ca_folder: Path
    path: Path
    vm_uuid: str
    vm_name: str | None = None
    ngt_uuid: str | None = None
    """None: as issued last for this VM, else one that follows from CA and VM."""
    validity_days: int = VM_VALIDITY.days
    threshold_days: int = 45
    key_type: KeyType = DEFAULT_KEY_TYPE
    ca_passphrase: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vm_uuid", normalise_uuid(self.vm_uuid, "vm_uuid"))
        if self.ngt_uuid is not None:
            object.__setattr__(self, "ngt_uuid", normalise_uuid(self.ngt_uuid, "ngt_uuid"))
        check_days(self.validity_days, "validity_days")
        if not 0 <= self.threshold_days < self.validity_days:
            raise OpenNGTError(
                "INVALID_INPUT",
                "threshold_days must be at least 0 and less than validity_days, or every run would issue again",
                {"field": "threshold_days"},
            )

    @property
    def validity(self) -> datetime.timedelta:
        return datetime.timedelta(days=self.validity_days)


@dataclass(frozen=True)
class CertificateOutcome:
    changed: bool
    certificate: dict[str, Any] | None
    """Facts of what the file holds now; where it is only planned, what the making will tell is None."""
    reason: str | None
    """Why something is done; None when nothing is."""
    diff: dict[str, dict[str, Any]]
    """`before` and `after`, made of the plan alone: the same in check mode and not."""
    revoked: tuple[str, ...] = ()
    log_torn: bool = False
    """Whether the issue log ended in the torn line of a run that was killed."""


@dataclass(frozen=True)
class _Situation:
    """All that the decisions are made from."""

    ca: CertificateInfo | None
    log: IssueLog
    existing: ExistingCertificate | UnreadableCertificate | None

    @property
    def info(self) -> CertificateInfo | None:
        return self.existing.info if isinstance(self.existing, ExistingCertificate) else None


def ensure_certificate(order: CertificateOrder, *, check: bool, now: datetime.datetime) -> CertificateOutcome:
    """Issue where the plan says so, into `order.path` (0600, key and leaf), which is replaced in one step.

    Without a CA it is CA_NOT_FOUND; with `check` it is assumed that there will be one by then.
    """
    _x509.require()
    if check:
        situation = _look(order.ca_folder, order.path, read_issue_log(order.ca_folder))
        plan = _plan(order, situation, now)
        if plan.issue and situation.ca is not None:
            check_validity(load_authority(order.ca_folder, passphrase=order.ca_passphrase), order.validity, now)
        return _outcome(order, situation, plan, now)
    load_ca_certificate(order.ca_folder)
    with open_issue_log(order.ca_folder) as log:
        situation = _look(order.ca_folder, order.path, log.content)
        plan = _plan(order, situation, now)
        outcome = _outcome(order, situation, plan, now)
        if plan.issue:
            return replace(outcome, certificate=_issue(order, situation, log, now))
        if plan.changed:
            with file_errors(str(order.path)):
                order.path.chmod(0o600)
        return outcome


def ensure_no_certificate(
    ca_folder: Path, path: Path, vm_uuid: str, *, check: bool, now: datetime.datetime
) -> CertificateOutcome:
    """Revoke in the issue log whatever the CA issued for the VM, then delete the file.

    A file that holds no certificate (CERTIFICATE_INVALID) or that of another VM (INVALID_INPUT) is left alone.
    """
    _x509.require()
    vm_uuid = normalise_uuid(vm_uuid, "vm_uuid")
    outcome = _removal(_look(ca_folder, path, read_issue_log(ca_folder)), path, vm_uuid, now)
    if check or not outcome.changed:
        return outcome
    load_ca_certificate(ca_folder)
    with open_issue_log(ca_folder) as log:
        outcome = _removal(_look(ca_folder, path, log.content), path, vm_uuid, now)
        for serial in outcome.revoked:
            log.revoke(RevocationRecord(serial, vm_uuid, now))
        failpoint("pki.certificate.revoked")
        with file_errors(str(path)):
            path.unlink(missing_ok=True)
            sweep_unfinished(str(path))
            fsync_directory(str(path.parent))
        failpoint("pki.certificate.deleted")
    return outcome


def _look(ca_folder: Path, path: Path, log: IssueLog) -> _Situation:
    ca = load_ca_certificate(ca_folder) if has_authority(ca_folder) else None
    with file_errors(str(path)):
        found = (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) if path.exists() else None
    return _Situation(
        ca=describe_certificate(ca) if ca else None,
        log=log,
        existing=_examine(*found, ca, log) if found else None,
    )


def _examine(
    pem: bytes, mode: int, ca: _x509.x509.Certificate | None, log: IssueLog
) -> ExistingCertificate | UnreadableCertificate:
    try:
        certificate = load_certificate(pem)
        info = describe_certificate(certificate)
    except OpenNGTError as error:
        return UnreadableCertificate(error.message)
    return ExistingCertificate(
        info=info,
        mode=mode,
        of_this_ca=ca is not None and _x509.is_issued_by(certificate, ca),
        key_matches=_x509.holds_key_of(certificate, pem),
        logged=info.serial in log.serials,
        revoked=info.serial in log.revoked,
    )


def _plan(order: CertificateOrder, situation: _Situation, now: datetime.datetime) -> CertificatePlan:
    wanted = WantedCertificate(
        vm_uuid=order.vm_uuid,
        ngt_uuid=_ngt_uuid(order, situation),
        key_type=order.key_type,
        threshold_days=order.threshold_days,
    )
    return plan_certificate(situation.existing, wanted, now)


def _ngt_uuid(order: CertificateOrder, situation: _Situation) -> str | None:
    if order.ngt_uuid is not None or situation.ca is None:
        return order.ngt_uuid
    return situation.log.ngt_uuid(order.vm_uuid, situation.ca.sha256)


def _generation(order: CertificateOrder, situation: _Situation) -> int:
    """One above all that were issued, and above the file's own should the log have been lost: agents never go back."""
    info = situation.info
    found = info.generation if info and info.vm_uuid == order.vm_uuid else None
    return max(situation.log.next_generation(order.vm_uuid), (found or 0) + 1)


def _issue(order: CertificateOrder, situation: _Situation, log: OpenIssueLog, now: datetime.datetime) -> dict[str, Any]:
    authority = load_authority(order.ca_folder, passphrase=order.ca_passphrase)
    request = VmCertificateRequest(
        vm_uuid=order.vm_uuid,
        ngt_uuid=order.ngt_uuid or log.content.ngt_uuid(order.vm_uuid, authority.ca_sha256),
        generation=_generation(order, situation),
        kind="external",
        validity=order.validity,
        key_type=order.key_type,
    )
    with file_errors(str(order.path)):
        sweep_unfinished(str(order.path))
        issued = issue_vm_certificate(authority, request, now=now)
        failpoint("pki.certificate.signed")
        log.append(IssueRecord.of(issued, request, vm_name=order.vm_name, issued_at=now))
        write_private(str(order.path), issued.client_pem)
        failpoint("pki.certificate.written")
    return certificate_facts(describe_certificate(load_certificate(issued.certificate_pem)), now)


def _outcome(
    order: CertificateOrder, situation: _Situation, plan: CertificatePlan, now: datetime.datetime
) -> CertificateOutcome:
    before = certificate_facts(situation.info, now) if situation.info else None
    after = _predict(order, situation, now) if plan.issue else before
    return CertificateOutcome(
        changed=plan.changed,
        certificate=after,
        reason=plan.text,
        diff=_diff(situation, before, after and {**after, "mode": "0600"}),
        log_torn=situation.log.torn,
    )


def _predict(order: CertificateOrder, situation: _Situation, now: datetime.datetime) -> dict[str, Any]:
    not_after = now + order.validity
    return {
        **{field.name: None for field in fields(CertificateInfo)},
        "vm_uuid": order.vm_uuid,
        "ngt_uuid": _ngt_uuid(order, situation),
        "generation": _generation(order, situation),
        "not_before": rfc3339(now - BACKDATE),
        "not_after": rfc3339(not_after),
        "key_type": order.key_type,
        "issuer": situation.ca.issuer if situation.ca else None,
        "is_ca": False,
        "usages": ["clientAuth"],
        "days_left": days_left(not_after, now),
        "expiry": expiry_state(not_after, now),
    }


def _removal(situation: _Situation, path: Path, vm_uuid: str, now: datetime.datetime) -> CertificateOutcome:
    info = situation.info
    if isinstance(situation.existing, UnreadableCertificate):
        raise OpenNGTError(
            "CERTIFICATE_INVALID", f"{path} is not deleted: {situation.existing.problem}", {"field": "path"}
        )
    if info is not None and info.vm_uuid != vm_uuid:
        raise OpenNGTError(
            "INVALID_INPUT", f"{path} is not deleted: it is not a certificate of VM {vm_uuid}", {"field": "path"}
        )
    revoked = situation.log.unrevoked(vm_uuid)
    if info is not None and info.serial not in situation.log.serials | situation.log.revoked:
        revoked.append(info.serial)
    steps = []
    if revoked:
        steps.append(f"revoke {len(revoked)} of the VM's certificates")
    if info is not None:
        steps.append("delete the file")
    return CertificateOutcome(
        changed=bool(steps),
        certificate=None,
        reason="; ".join(steps) or None,
        diff=_diff(situation, certificate_facts(info, now) if info else None, None),
        revoked=tuple(revoked),
        log_torn=situation.log.torn,
    )


def _diff(
    situation: _Situation, before: dict[str, Any] | None, after: dict[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """The part of the facts that a change is about."""
    existing = situation.existing
    if isinstance(existing, ExistingCertificate):
        before = before and {**before, "mode": f"{existing.mode:04o}"}
    elif existing is not None:
        before = {"problem": existing.problem}
    names = ("problem", "serial", "vm_uuid", "ngt_uuid", "generation", "key_type", "issuer", "not_after", "mode")
    before_and_after = {"before": before or {}, "after": after or {}}
    return {side: {name: values[name] for name in names if name in values} for side, values in before_and_after.items()}
