# SPDX-License-Identifier: GPL-3.0-or-later
"""`issued.jsonl` beside a CA: what was issued without a service, so that a service can adopt it later.

A record is on disk before its certificate leaves. So a last line without its newline, as a crash leaves it, belongs to
a certificate that nobody has: readers report it, the next writer cuts it off. Other damage is ISSUE_LOG_DAMAGED.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from ..effects import file_errors, fsync_directory
from ..errors import OpenNGTError
from ..failpoints import failpoint
from ._folder import locked
from ._time import rfc3339
from .identity import default_ngt_uuid
from .issue import CERTIFICATE_KINDS, CertificateKind, IssuedCertificate, VmCertificateRequest

__all__ = [
    "IssueLog",
    "IssueRecord",
    "OpenIssueLog",
    "RevocationRecord",
    "open_issue_log",
    "parse_issue_log",
    "read_issue_log",
]

ISSUE_LOG = "issued.jsonl"
T = TypeVar("T")


@dataclass(frozen=True)
class IssueRecord:
    """One certificate; the fields are those of the line in the file."""

    serial: str
    vm_uuid: str
    ngt_uuid: str
    vm_name: str | None
    generation: int
    kind: CertificateKind
    not_before: datetime.datetime
    not_after: datetime.datetime
    sha256: str
    issued_at: datetime.datetime

    @classmethod
    def of(
        cls,
        issued: IssuedCertificate,
        request: VmCertificateRequest,
        *,
        vm_name: str | None,
        issued_at: datetime.datetime,
    ) -> IssueRecord:
        return cls(
            serial=issued.serial,
            vm_uuid=request.vm_uuid,
            ngt_uuid=request.ngt_uuid,
            vm_name=vm_name,
            generation=request.generation,
            kind=request.kind,
            not_before=issued.not_before,
            not_after=issued.not_after,
            sha256=issued.sha256,
            issued_at=issued_at,
        )


@dataclass(frozen=True)
class RevocationRecord:
    """Takes back the certificate of an earlier line."""

    serial: str
    vm_uuid: str
    revoked_at: datetime.datetime


@dataclass(frozen=True)
class IssueLog:
    """The content of an issue log."""

    issued: tuple[IssueRecord, ...] = ()
    """In the order of issuing."""
    revocations: tuple[RevocationRecord, ...] = ()
    torn: bool = False
    """Whether the last line is the incomplete one of a run that was killed."""

    @cached_property
    def serials(self) -> frozenset[str]:
        return frozenset(record.serial for record in self.issued)

    @cached_property
    def revoked(self) -> frozenset[str]:
        """Serials that were taken back."""
        return frozenset(record.serial for record in self.revocations)

    def of_vm(self, vm_uuid: str) -> list[IssueRecord]:
        return [record for record in self.issued if record.vm_uuid == vm_uuid]

    def next_generation(self, vm_uuid: str) -> int:
        """One above the VM's highest; 1 for the first."""
        return 1 + max((record.generation for record in self.of_vm(vm_uuid)), default=0)

    def ngt_uuid(self, vm_uuid: str, ca_sha256: str) -> str:
        """The VM's `ngt_uuid`: as it was issued last, else the one that follows from the CA and the VM."""
        known = self.of_vm(vm_uuid)
        return known[-1].ngt_uuid if known else default_ngt_uuid(ca_sha256, vm_uuid)

    def unrevoked(self, vm_uuid: str) -> list[str]:
        """Serials of the VM's certificates that have not been taken back, in the order of issuing."""
        return [record.serial for record in self.of_vm(vm_uuid) if record.serial not in self.revoked]


def parse_issue_log(content: bytes) -> IssueLog:
    """Read the lines of an issue log; ISSUE_LOG_DAMAGED names the line that is neither record."""
    *lines, rest = content.split(b"\n")
    issued: list[IssueRecord] = []
    revocations: list[RevocationRecord] = []
    for number, line in enumerate(lines, 1):
        try:
            record = _parse_line(line)
        except (KeyError, TypeError, ValueError, RecursionError) as exc:
            raise OpenNGTError(
                "ISSUE_LOG_DAMAGED", f"line {number} of the issue log is not one of its records", {"line": number}
            ) from exc
        if isinstance(record, IssueRecord):
            issued.append(record)
        else:
            revocations.append(record)
    return IssueLog(tuple(issued), tuple(revocations), torn=bool(rest))


def read_issue_log(ca_folder: Path) -> IssueLog:
    """The log beside a CA; empty where nothing has been issued yet. Takes no lock and changes nothing."""
    path = ca_folder / ISSUE_LOG
    with file_errors(str(path)):
        return parse_issue_log(path.read_bytes()) if path.exists() else IssueLog()


class OpenIssueLog:
    """The log while its CA folder is locked. `content` is what stands in the file, own records included."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        with file_errors(str(path)):
            fsync_directory(str(path.parent))
            content = path.read_bytes()
            self.content = parse_issue_log(content)
            if self.content.torn:
                os.ftruncate(descriptor, content.rfind(b"\n") + 1)
                os.fsync(descriptor)

    def append(self, record: IssueRecord) -> None:
        """Write down a certificate. Once this returns the record survives a power cut: the certificate may leave."""
        self._write(record)
        self.content = replace(self.content, issued=(*self.content.issued, record))

    def revoke(self, record: RevocationRecord) -> None:
        """Take a certificate back; durable when this returns."""
        self._write(record)
        self.content = replace(self.content, revocations=(*self.content.revocations, record))

    def _write(self, record: IssueRecord | RevocationRecord) -> None:
        line = _format_line(record)
        with file_errors(str(self._path)):
            while line:
                line = line[os.write(self._descriptor, line) :]
            failpoint("pki.issue_log.written")
            os.fsync(self._descriptor)
        failpoint("pki.issue_log.synced")


@contextmanager
def open_issue_log(ca_folder: Path) -> Iterator[OpenIssueLog]:
    """Hold the CA's issue log alone: to choose a generation, sign, and write it down without another run in between.

    The log is created (0600) where it is missing. `content.torn` tells that a torn line was found; it has been cut off.
    """
    path = ca_folder / ISSUE_LOG
    with locked(ca_folder):
        with file_errors(str(path)):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            yield OpenIssueLog(path, descriptor)
        finally:
            os.close(descriptor)


def _format_line(record: IssueRecord | RevocationRecord) -> bytes:
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return json.dumps(values, default=rfc3339, separators=(",", ":")).encode() + b"\n"


def _parse_line(line: bytes) -> IssueRecord | RevocationRecord:
    """Unknown fields are ignored, as a later version may write some."""
    values = json.loads(line)
    if "revoked_at" in values:
        return RevocationRecord(
            serial=_get(values, "serial", str),
            vm_uuid=_get(values, "vm_uuid", str),
            revoked_at=_time(values, "revoked_at"),
        )
    return IssueRecord(
        serial=_get(values, "serial", str),
        vm_uuid=_get(values, "vm_uuid", str),
        ngt_uuid=_get(values, "ngt_uuid", str),
        vm_name=None if values["vm_name"] is None else _get(values, "vm_name", str),
        generation=_get(values, "generation", int),
        kind=CERTIFICATE_KINDS[CERTIFICATE_KINDS.index(values["kind"])],
        not_before=_time(values, "not_before"),
        not_after=_time(values, "not_after"),
        sha256=_get(values, "sha256", str),
        issued_at=_time(values, "issued_at"),
    )


def _get(values: Mapping[str, object], name: str, kind: type[T]) -> T:
    value = values[name]
    if not isinstance(value, kind):
        raise TypeError(f"{name} is not of type {kind.__name__}")
    return value


def _time(values: Mapping[str, object], name: str) -> datetime.datetime:
    time = datetime.datetime.fromisoformat(_get(values, name, str))
    if time.tzinfo is None:
        raise ValueError(f"{name} has no time zone")
    return time
