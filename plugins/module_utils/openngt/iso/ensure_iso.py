# SPDX-License-Identifier: GPL-3.0-or-later
"""See to it that a file is a VM's ISO, signed by a CA folder, or that it is gone: what the module `iso` does.

Validate, plan, apply. With `check` the plan is made and answered, and nothing is changed. Between plan and apply the
CA's folder is locked, so that of two runs at once the second finds what the first made.
"""

from __future__ import annotations

import datetime
import hashlib
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..effects import file_errors, fsync_directory
from ..errors import OpenNGTError
from ..failpoints import failpoint
from ..pki.authority import Authority, has_authority, load_authority, load_ca_certificate
from ..pki.identity import normalise_uuid
from ..pki.inspect import describe_certificate
from ..pki.issue import VM_VALIDITY, VmCertificateRequest, check_validity, issue_vm_certificate
from ..pki.issue_log import IssueLog, IssueRecord, OpenIssueLog, open_issue_log, read_issue_log
from ._unfinished import sweep
from .inspect import IsoReport, inspect_iso
from .layout import AGENT, LABEL, IsoKind, check_label
from .manifest import format_time
from .payload import PayloadFile, config_payload, tools_payload
from .template import ensure_template
from .tools_iso import Cluster, Vm, prepare, write_iso
from .windows_python import inspect_windows_python

__all__ = ["IsoOrder", "IsoOutcome", "ensure_iso", "ensure_no_iso"]

TEMPLATES = "templates"
"""In the CA's folder: a cache, which anybody may delete."""


@dataclass(frozen=True)
class IsoOrder:
    """An ISO as asked for; INVALID_INPUT names the field. UUIDs are normalised to lower case."""

    path: Path
    ca_folder: Path
    vm_uuid: str
    cluster_uuid: str
    cluster_ip: str
    port: int = 2074
    vm_name: str | None = None
    """None: the UUID stands for the name."""
    ngt_uuid: str | None = None
    """None: as issued last for this VM, else one that follows from CA and VM."""
    bootstrap_hours: int = 24
    """0: as long as any certificate of a VM."""
    threshold_hours: int = 1
    label: str = LABEL
    extras: Path | None = None
    windows_python: Path | None = None
    """python.org's embeddable package, for a Windows guest."""
    config_only: bool = False
    ca_passphrase: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "vm_uuid", normalise_uuid(self.vm_uuid, "vm_uuid"))
        object.__setattr__(self, "cluster_uuid", normalise_uuid(self.cluster_uuid, "cluster_uuid"))
        if self.ngt_uuid is not None:
            object.__setattr__(self, "ngt_uuid", normalise_uuid(self.ngt_uuid, "ngt_uuid"))
        check_label(self.label)
        self.cluster(b"")
        if not 0 <= self.bootstrap_hours <= 24 * VM_VALIDITY.days:
            raise OpenNGTError(
                "INVALID_INPUT",
                f"bootstrap_hours must be 0 to {24 * VM_VALIDITY.days}",
                {"field": "bootstrap_hours"},
            )
        if not datetime.timedelta(0) <= self.threshold < self.life:
            raise OpenNGTError(
                "INVALID_INPUT",
                "threshold_hours must be at least 0 and less than the ISO's life, or every run would make it again",
                {"field": "threshold_hours"},
            )
        if self.config_only and self.extras is not None:
            raise OpenNGTError("INVALID_INPUT", "extras do not go onto a config-only ISO", {"field": "extras"})
        if self.config_only and self.windows_python is not None:
            message = "windows_python does not go onto a config-only ISO"
            raise OpenNGTError("INVALID_INPUT", message, {"field": "windows_python"})

    @property
    def life(self) -> datetime.timedelta:
        return datetime.timedelta(hours=self.bootstrap_hours) or VM_VALIDITY

    @property
    def threshold(self) -> datetime.timedelta:
        return datetime.timedelta(hours=self.threshold_hours)

    @property
    def kind(self) -> IsoKind:
        return "config" if self.config_only else "tools"

    def cluster(self, ca_pem: bytes) -> Cluster:
        return Cluster(self.cluster_uuid, self.cluster_ip, ca_pem, self.port)

    def payload(self) -> tuple[PayloadFile, ...]:
        if self.config_only:
            return config_payload()
        python = None if self.windows_python is None else inspect_windows_python(self.windows_python)
        return tools_payload(self.extras, python)


@dataclass(frozen=True)
class IsoOutcome:
    changed: bool
    iso: dict[str, Any] | None
    """Facts of the file; where it is only planned, what the making will tell is None."""
    reason: str | None
    """Why something is done; None when nothing is."""
    diff: dict[str, dict[str, Any]]
    """`before` and `after`, made of the plan alone: the same in check mode and not."""


@dataclass(frozen=True)
class _Situation:
    """All that the decisions are made from."""

    ca_sha256: str | None
    log: IssueLog
    report: IsoReport | None
    problem: str | None
    """Why there is no report although there is a file."""
    mode: int | None
    """None: there is no file."""


@dataclass(frozen=True)
class _Plan:
    reasons: tuple[str, ...]
    """Why the ISO must be made; empty when it is good."""
    mode: int | None

    @property
    def changed(self) -> bool:
        return bool(self.reasons) or self.mode != 0o600

    @property
    def text(self) -> str | None:
        wrong_mode = [f"the file's mode is {self.mode:04o}"] if self.mode not in (None, 0o600) else []
        return "; ".join([*self.reasons, *wrong_mode]) or None


def ensure_iso(order: IsoOrder, *, check: bool, now: datetime.datetime) -> IsoOutcome:
    """Make the ISO where the plan says so, at `order.path` (0600), which is replaced in one step.

    Without a CA it is CA_NOT_FOUND; with `check` it is assumed that there will be one by then.
    """
    payload = order.payload()
    if check:
        situation = _look(order, read_issue_log(order.ca_folder), now)
        plan = _plan(order, situation, payload, now)
        if plan.reasons and situation.ca_sha256 is not None:
            check_validity(load_authority(order.ca_folder, passphrase=order.ca_passphrase), order.life, now)
        return _outcome(order, situation, plan, payload, now)
    load_ca_certificate(order.ca_folder)
    with open_issue_log(order.ca_folder) as log:
        situation = _look(order, log.content, now)
        plan = _plan(order, situation, payload, now)
        outcome = _outcome(order, situation, plan, payload, now)
        if plan.reasons:
            authority = load_authority(order.ca_folder, passphrase=order.ca_passphrase)
            _make(order, authority, _generation(order, situation), payload, log, now)
            facts = _facts(order.path, inspect_iso(order.path, now=now))
            return IsoOutcome(True, facts, outcome.reason, outcome.diff)
        if plan.changed:
            with file_errors(str(order.path)):
                order.path.chmod(0o600)
        return outcome


def ensure_no_iso(path: Path, vm_uuid: str, *, check: bool, now: datetime.datetime) -> IsoOutcome:
    """Delete the VM's ISO. Its certificate stays valid, as an agent may have been installed with it.

    A file that is no tools ISO (DISC_INVALID) or another VM's (DISC_OF_ANOTHER_VM) is left alone.
    """
    vm_uuid = normalise_uuid(vm_uuid, "vm_uuid")
    with file_errors(str(path)):
        if not path.exists():
            return IsoOutcome(False, None, None, {"before": {}, "after": {}})
        report = inspect_iso(path, now=now)
        if report.manifest is None:
            raise OpenNGTError("DISC_INVALID", f"{path} is not deleted: it is no tools ISO", {"field": "path"})
        if report.manifest.vm_uuid != vm_uuid:
            raise OpenNGTError(
                "DISC_OF_ANOTHER_VM",
                f"{path} is not deleted: it is the ISO of VM {report.manifest.vm_uuid}",
                {"field": "path", "vm_uuid": report.manifest.vm_uuid},
            )
        before = _shown(_facts(path, report))
        if not check:
            path.unlink()
            sweep(path.parent)
            fsync_directory(str(path.parent))
            failpoint("iso.ensure.deleted")
    return IsoOutcome(True, None, "delete the file", {"before": before, "after": {}})


def _look(order: IsoOrder, log: IssueLog, now: datetime.datetime) -> _Situation:
    ca = load_ca_certificate(order.ca_folder) if has_authority(order.ca_folder) else None
    ca_sha256 = describe_certificate(ca).sha256 if ca else None
    with file_errors(str(order.path)):
        mode = stat.S_IMODE(order.path.stat().st_mode) if order.path.exists() else None
    if mode is None:
        return _Situation(ca_sha256, log, None, None, None)
    try:
        report = inspect_iso(order.path, now=now, ca_sha256=ca_sha256)
    except OpenNGTError as error:
        if error.code != "DISC_INVALID":
            raise
        return _Situation(ca_sha256, log, None, error.message, mode)
    return _Situation(ca_sha256, log, report, None, mode)


def _plan(order: IsoOrder, situation: _Situation, payload: Sequence[PayloadFile], now: datetime.datetime) -> _Plan:
    if situation.mode is None:
        return _Plan(("there is no ISO",), None)
    if situation.report is None:
        return _Plan((situation.problem or "it cannot be read",), situation.mode)
    return _Plan(tuple(_reasons(order, situation, situation.report, payload, now)), situation.mode)


def _reasons(
    order: IsoOrder,
    situation: _Situation,
    report: IsoReport,
    payload: Sequence[PayloadFile],
    now: datetime.datetime,
) -> Iterator[str]:
    yield from report.problems
    if situation.ca_sha256 is None:
        yield "there is no CA yet"
    if report.label != order.label:
        yield f"its label is {report.label}"
    serial = report.certificate.serial if report.certificate else None
    if serial in situation.log.revoked:
        yield "its certificate was revoked"
    elif serial not in situation.log.serials:
        yield "the CA's issue log does not know its certificate"
    manifest, config = report.manifest, report.config
    if manifest is None or config is None:
        return
    if manifest.kind != order.kind:
        yield f"it is of kind {manifest.kind}"
    for name, wanted in _configuration(order, _ngt_uuid(order, situation)).items():
        if wanted is not None and config.get(name) != wanted:
            yield f"its {name} is {config.get(name)}"
    wanted_files = {file.entry for file in payload}
    differing = wanted_files ^ {entry for entry in manifest.files if not entry.path.startswith("config/")}
    for path in sorted({entry.path for entry in differing}):
        yield f"its {path} is another"
    if now < manifest.expires <= now + order.threshold:
        yield f"it expires at {format_time(manifest.expires)}"


def _configuration(order: IsoOrder, ngt_uuid: str | None) -> dict[str, object]:
    """What `ngt_config.json` must say; None is what nobody can know yet."""
    return {
        "vm_uuid": order.vm_uuid,
        "vm_name": order.vm_name or order.vm_uuid,
        "ngt_uuid": ngt_uuid,
        "cluster_uuid": order.cluster_uuid,
        "cluster_ip": order.cluster_ip,
        "port": order.port,
    }


def _ngt_uuid(order: IsoOrder, situation: _Situation) -> str | None:
    if order.ngt_uuid is not None or situation.ca_sha256 is None:
        return order.ngt_uuid
    return situation.log.ngt_uuid(order.vm_uuid, situation.ca_sha256)


def _generation(order: IsoOrder, situation: _Situation) -> int:
    """One above all that were issued, and above the file's own should the log have been lost: agents never go back."""
    manifest = situation.report.manifest if situation.report else None
    found = manifest.generation if manifest and manifest.vm_uuid == order.vm_uuid else 0
    return max(situation.log.next_generation(order.vm_uuid), found + 1)


def _make(
    order: IsoOrder,
    authority: Authority,
    generation: int,
    payload: Sequence[PayloadFile],
    log: OpenIssueLog,
    now: datetime.datetime,
) -> None:
    ngt_uuid = order.ngt_uuid or log.content.ngt_uuid(order.vm_uuid, authority.ca_sha256)
    template = ensure_template(order.ca_folder / TEMPLATES, payload, kind=order.kind, label=order.label)
    unsigned = prepare(
        template,
        Vm(order.vm_uuid, order.vm_name or order.vm_uuid, ngt_uuid),
        order.cluster(authority.certificate_pem),
        generation=generation,
        created=now,
        expires=now + order.life,
    )
    request = VmCertificateRequest(
        vm_uuid=order.vm_uuid,
        ngt_uuid=ngt_uuid,
        generation=generation,
        kind="bootstrap" if order.bootstrap_hours else "external",
        validity=order.life,
        manifest_sha256=unsigned.manifest_sha256,
    )
    with file_errors(str(order.path)):
        sweep(order.path.parent)
    issued = issue_vm_certificate(authority, request, now=now)
    failpoint("iso.ensure.signed")
    log.append(IssueRecord.of(issued, request, vm_name=order.vm_name, issued_at=now))
    failpoint("iso.ensure.logged")
    write_iso(template, unsigned, issued.client_pem, order.path)
    failpoint("iso.ensure.written")


def _outcome(
    order: IsoOrder, situation: _Situation, plan: _Plan, payload: Sequence[PayloadFile], now: datetime.datetime
) -> IsoOutcome:
    before = _facts(order.path, situation.report) if situation.report else {}
    after = _predicted(order, situation, payload, now) if plan.reasons else before
    mode = {} if situation.mode is None else {"mode": f"{situation.mode:04o}"}
    problem = {"problem": situation.problem} if situation.problem else {}
    diff = {"before": {**problem, **_shown(before), **mode}, "after": {**_shown(after), "mode": "0600"}}
    return IsoOutcome(plan.changed, after, plan.text, diff)


def _facts(path: Path, report: IsoReport) -> dict[str, Any]:
    """The JSON form. The digest is that of the whole file."""
    manifest, config = report.manifest, report.config or {}
    with file_errors(str(path)), path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "path": str(path),
        "label": report.label,
        "sha256": sha256,
        "kind": manifest.kind if manifest else None,
        **{name: config.get(name) for name in ("vm_uuid", "vm_name", "ngt_uuid", "cluster_uuid", "cluster_ip", "port")},
        "generation": manifest.generation if manifest else None,
        "serial": report.certificate.serial if report.certificate else None,
        "expires": format_time(manifest.expires) if manifest else None,
        "ca_sha256": manifest.ca_sha256 if manifest else None,
        "agent_sha256": next((file.sha256 for file in report.files if file.path == AGENT), None),
    }


def _predicted(
    order: IsoOrder, situation: _Situation, payload: Sequence[PayloadFile], now: datetime.datetime
) -> dict[str, Any]:
    return {
        "path": str(order.path),
        "label": order.label,
        "sha256": None,
        "kind": order.kind,
        **_configuration(order, _ngt_uuid(order, situation)),
        "generation": _generation(order, situation),
        "serial": None,
        "expires": format_time(now + order.life),
        "ca_sha256": situation.ca_sha256,
        "agent_sha256": next((file.entry.sha256 for file in payload if file.entry.path == AGENT), None),
    }


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    """The part of the facts that a diff shows: what is known before the making as well."""
    return {name: value for name, value in facts.items() if name not in ("path", "sha256", "serial")}
