# SPDX-License-Identifier: GPL-3.0-or-later
"""Every serial that may connect, and those that may no more: the allow-list behind each handshake.

A certificate that the CA's key signed elsewhere is unknown here and gets nothing. The ledger is mirrored in memory, so
judging costs no I/O; what changes it is durable first. Private keys pass through and are never written down.
"""

import asyncio
import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from sqlalchemy import Connection, update

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.failpoints import failpoint
from openngt.pki.authority import Authority
from openngt.pki.issue import IssuedCertificate, VmCertificateRequest, issue_vm_certificate
from openngt.pki.issue_log import IssueLog
from openngt.pki.rollover import Succession

from ..config import KeyType
from ..ports import Accepted, CertificateKind, Refused
from . import adoption, audit, schema
from . import certificate_rows as rows
from .adoption import Adopted
from .certificate_rows import LIVE, Entry
from .database import Database
from .registry import Registry, not_enrolled

__all__ = ["Adopted", "Entry", "IssueRequest", "Issued", "Ledger", "RevocationListener"]

RevocationListener = Callable[[str, frozenset[int]], None]
"""Called on the event loop with a VM and its serials that have just been revoked, after the commit."""

CLOCK_TOLERANCE = datetime.timedelta(minutes=5)
SIGNERS = 2
CHUNK = 64
"""Certificates signed at a stretch, so that a large batch does not keep a small one waiting."""


@dataclass(frozen=True)
class IssueRequest:
    """A certificate for an enrolled VM.

    `generation` is one from `Registry.reserve_generation`, for a caller who must know it before (an ISO's manifest says
    it); None reserves one. `ngt_uuid`, when given, must be the VM's. With `public_key_pem` no private key is made.
    `with_cas`: whoever gets it is given the CAs that it is to trust along with it.
    """

    vm_uuid: str
    kind: CertificateKind
    validity: datetime.timedelta
    generation: int | None = None
    ngt_uuid: str | None = None
    manifest_sha256: str | None = None
    public_key_pem: bytes | None = None
    with_cas: bool = True


@dataclass(frozen=True)
class Issued:
    entry: Entry
    certificate: IssuedCertificate


class Ledger:
    """Implements `ports.LedgerPort`. `load` once before use, after the registry's; `close` at the end."""

    def __init__(self, database: Database, registry: Registry, authority: Authority, *, key_type: KeyType) -> None:
        self.succession = Succession("none", authority)
        self._database = database
        self._registry = registry
        self._key_type = key_type
        self._entries: dict[int, Entry] = {}
        self._of_vm: defaultdict[str, set[int]] = defaultdict(set)
        self._next: dict[str, int] = {}
        self._listeners: list[RevocationListener] = []
        self._last_issued: datetime.datetime | None = None
        self._signers = ThreadPoolExecutor(SIGNERS, thread_name_prefix="ledger-signer")

    @property
    def authority(self) -> Authority:
        """The CA that signs."""
        return self.succession.signer

    def follow(self, succession: Succession) -> None:
        """Sign with these CAs from now on."""
        self.succession = succession

    async def load(self) -> None:
        """Read the serials. Those that expired unused are left out: TLS refuses them before the ledger is asked."""
        now = effects.now()
        entries = await self._database.read(lambda connection: rows.load(connection, now))
        for entry, issued_at in entries:
            self._remember(entry)
            self._last_issued = max(issued_at, self._last_issued or issued_at)

    def close(self) -> None:
        self._signers.shutdown()

    def on_revoked(self, listener: RevocationListener) -> None:
        """Tell `listener` of each revocation, so that live sessions are cut."""
        self._listeners.append(listener)

    def judge(self, serial: int, now: datetime.datetime) -> Accepted | Refused:
        """May this serial connect at this moment? (`ports.LedgerPort`)"""
        entry = self._entries.get(serial)
        if entry is None:
            return Refused("unknown_serial")
        if entry.state == "revoked" or entry.state == "retired":
            return Refused(entry.state, entry.vm_uuid)
        if self._registry.get(entry.vm_uuid) is None:
            return Refused("vm_disabled", entry.vm_uuid)
        if now >= entry.not_after:
            return Refused("expired", entry.vm_uuid)
        return entry.accepted()

    def entry(self, serial: int) -> Entry | None:
        return self._entries.get(serial)

    def certificate_of(self, vm_uuid: str) -> Entry | None:
        """The VM's `current`, else its `next`, else the one that ended last."""
        entries = [self._entries[serial] for serial in self._of_vm.get(vm_uuid, ())]
        return max(entries, key=_precedence, default=None)

    def entries_of(self, vm_uuid: str) -> list[Entry]:
        """All that is held of the VM, newest generation first."""
        entries = (self._entries[serial] for serial in self._of_vm.get(vm_uuid, ()))
        return sorted(entries, key=lambda entry: entry.generation, reverse=True)

    def all_live(self) -> list[Entry]:
        """Every `next` and `current`, for checks over the fleet."""
        return [entry for entry in self._entries.values() if entry.state in LIVE]

    async def promote(self, serial: int) -> Accepted:
        """First use of a `next`: durable before it returns, the former `current` is retired. Idempotent.

        AUTHENTICATION_FAILED when the serial may not connect any more: it was judged, and revoked a moment later.
        """
        entry = self._entries.get(serial)
        if entry is not None and entry.state == "current":
            return entry.accepted()
        await self._database.write(lambda connection: rows.promote(connection, serial), committed=self._apply)
        return self._entries[serial].accepted()

    async def issue(
        self,
        requests: Sequence[IssueRequest],
        *,
        actor: str,
        now: datetime.datetime | None = None,
    ) -> list[Issued]:
        """Sign, in the order of the requests; all are durable as `next` before any is returned, or none is issued.

        Raises NOT_ENROLLED, INVALID_INPUT, CA_EXPIRED, CLOCK_WENT_BACK, NO_SPACE.
        """
        at = self._checked(now or effects.now())
        asked = [self._complete(request) for request in requests]
        failpoint("store.issue.reserved")
        issued = _told(requests, await self._sign(asked, at))
        failpoint("store.issue.signed")

        def write(connection: Connection) -> None:
            rows.store_issued(connection, [item.entry for item in issued], at, actor)
            failpoint("store.issue.written")

        await self._database.write(write, committed=lambda _: self._apply_issued(issued, at))
        failpoint("store.issue.committed")
        return issued

    async def retire(self, serial: int, *, actor: str) -> None:
        """Take back a `next` that was never handed over. A serial in another state stays as it is."""

        def write(connection: Connection) -> list[Entry]:
            changed = rows.change(connection, "retired", schema.certificates.c.serial == f"{serial:x}", {"next"})
            audit.append(connection, [rows.trace(actor, "certificate.retire", entry) for entry in changed])
            return changed

        await self._database.write(write, committed=self._apply)

    async def attribute(self, ca_sha256: str) -> None:
        """Write down the CA of those serials of which nobody has."""

        def write(connection: Connection) -> None:
            unknown = schema.certificates.c.ca_sha256.is_(None)
            connection.execute(update(schema.certificates).where(unknown).values(ca_sha256=ca_sha256))

        await self._database.write(write, committed=lambda _: self._apply_attributed(ca_sha256))

    async def retire_of(self, ca_sha256: str, *, actor: str) -> list[Entry]:
        """Retire all that this CA has signed and that could still connect; the listeners are told to cut sessions."""

        def write(connection: Connection) -> list[Entry]:
            changed = rows.change(connection, "retired", schema.certificates.c.ca_sha256 == ca_sha256, LIVE)
            audit.append(connection, [rows.trace(actor, "certificate.retire", entry) for entry in changed])
            return changed

        changed = await self._database.write(write, committed=self._apply)
        for entry in changed:
            self._tell_revoked(entry.vm_uuid, [entry])
        return changed

    async def revoke(self, vm_uuid: str, *, actor: str, disable: bool = False) -> list[Entry]:
        """Revoke what the VM can connect with, and with `disable` un-enrol it, in one transaction.

        When this returns new handshakes are refused, and the listeners have been told to cut live sessions.
        """

        def write(connection: Connection) -> list[Entry]:
            changed = rows.change(connection, "revoked", schema.certificates.c.vm_uuid == vm_uuid, LIVE)
            entries = [rows.trace(actor, "certificate.revoke", entry) for entry in changed]
            if disable:
                connection.execute(update(schema.vms).where(schema.vms.c.vm_uuid == vm_uuid).values(enabled=False))
                entries.append(audit.AuditEntry(actor, "vm.disable", vm_uuid))
            audit.append(connection, entries)
            failpoint("store.revoke.written")
            return changed

        revoked = await self._database.write(
            write, committed=lambda changed: self._apply_revoked(vm_uuid, changed, disable=disable)
        )
        failpoint("store.revoke.committed")
        return revoked

    async def adopt(self, issue_log: IssueLog, *, actor: str) -> Adopted:
        """Take over what this CA has issued without a service: unknown VMs are enrolled, serials become known.

        A VM's newest certificate becomes `current` unless the ledger holds a live one; the others are `retired`.
        The log's revocations hold here, too. Repeating it changes nothing.
        """
        now = effects.now()
        return await self._database.write(
            lambda connection: adoption.adopt(connection, issue_log, now, actor), committed=self._apply_adopted
        )

    def _checked(self, now: datetime.datetime) -> datetime.datetime:
        if self._last_issued is not None and now < self._last_issued - CLOCK_TOLERANCE:
            raise OpenNGTError(
                "CLOCK_WENT_BACK",
                f"this host's clock says {now:%Y-%m-%d %H:%M} UTC, a certificate was issued at "
                f"{self._last_issued:%Y-%m-%d %H:%M} UTC",
            )
        return now

    def _complete(self, request: IssueRequest) -> VmCertificateRequest:
        vm = self._registry.get(request.vm_uuid)
        if vm is None:
            raise not_enrolled(request.vm_uuid)
        if request.ngt_uuid is not None and request.ngt_uuid != vm.ngt_uuid:
            raise OpenNGTError("INVALID_INPUT", f"ngt_uuid: VM {vm.vm_uuid} has {vm.ngt_uuid}")
        return VmCertificateRequest(
            vm_uuid=vm.vm_uuid,
            ngt_uuid=vm.ngt_uuid,
            generation=request.generation or self._registry.reserve_generation(vm.vm_uuid),
            kind=request.kind,
            validity=request.validity,
            manifest_sha256=request.manifest_sha256,
            key_type=self._key_type,
            public_key_pem=request.public_key_pem,
        )

    async def _sign(self, asked: Sequence[VmCertificateRequest], at: datetime.datetime) -> list[Issued]:
        loop = asyncio.get_running_loop()
        chunks = [asked[start : start + CHUNK] for start in range(0, len(asked), CHUNK)]
        signed = await asyncio.gather(
            *(loop.run_in_executor(self._signers, _sign, self.succession, chunk, at) for chunk in chunks)
        )
        return _last_is_next([issued for chunk in signed for issued in chunk])

    def _remember(self, entry: Entry) -> None:
        self._entries[entry.serial] = entry
        self._of_vm[entry.vm_uuid].add(entry.serial)
        if entry.state == "next":
            self._next[entry.vm_uuid] = entry.serial

    def _apply(self, changed: Iterable[Entry]) -> None:
        for entry in changed:
            self._remember(entry)

    def _apply_attributed(self, ca_sha256: str) -> None:
        for entry in list(self._entries.values()):
            if entry.ca_sha256 is None:
                self._remember(replace(entry, ca_sha256=ca_sha256))

    def _apply_issued(self, issued: Sequence[Issued], at: datetime.datetime) -> None:
        for vm_uuid in {item.entry.vm_uuid for item in issued}:
            serial = self._next.get(vm_uuid)
            if serial is not None and self._entries[serial].state == "next":
                self._entries[serial] = replace(self._entries[serial], state="retired")
        self._apply(item.entry for item in issued)
        for item in issued:
            self._registry.note_generation(item.entry.vm_uuid, item.entry.generation)
        self._last_issued = max(at, self._last_issued or at)

    def _apply_revoked(self, vm_uuid: str, changed: Sequence[Entry], *, disable: bool) -> None:
        self._apply(changed)
        vm = self._registry.known(vm_uuid)
        if disable and vm is not None:
            self._registry.remember(replace(vm, enabled=False))
        self._tell_revoked(vm_uuid, changed)

    def _tell_revoked(self, vm_uuid: str, revoked: Sequence[Entry]) -> None:
        for listener in self._listeners:
            listener(vm_uuid, frozenset(entry.serial for entry in revoked))

    def _apply_adopted(self, adopted: Adopted) -> None:
        for vm in adopted.vms:
            self._registry.remember(vm)
        self._apply(adopted.entries)
        for entry in adopted.entries:
            if entry.state == "revoked":
                self._tell_revoked(entry.vm_uuid, [entry])


def _precedence(entry: Entry) -> tuple[int, int]:
    return {"current": 2, "next": 1}.get(entry.state, 0), entry.generation


def _sign(succession: Succession, asked: Sequence[VmCertificateRequest], at: datetime.datetime) -> list[Issued]:
    return [_entry(succession, request, issue_vm_certificate(succession.signer, request, now=at)) for request in asked]


def _entry(succession: Succession, request: VmCertificateRequest, certificate: IssuedCertificate) -> Issued:
    entry = Entry(
        serial=int(certificate.serial, 16),
        vm_uuid=request.vm_uuid,
        ngt_uuid=request.ngt_uuid,
        generation=request.generation,
        kind=request.kind,
        state="next",
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        sha256=certificate.sha256,
        ca_sha256=succession.signer.ca_sha256,
        next_ca_sha256=succession.next_sha256,
    )
    return Issued(entry, certificate)


def _told(requests: Sequence[IssueRequest], issued: Sequence[Issued]) -> list[Issued]:
    """What goes out without CAs has told nobody of the next one."""
    return [
        item if request.with_cas else replace(item, entry=replace(item.entry, next_ca_sha256=None))
        for request, item in zip(requests, issued, strict=True)
    ]


def _last_is_next(issued: Sequence[Issued]) -> list[Issued]:
    """In one batch, too, a VM's later certificate retires its earlier one."""
    last = {item.entry.vm_uuid: item.entry.serial for item in issued}
    return [
        item
        if last[item.entry.vm_uuid] == item.entry.serial
        else replace(item, entry=replace(item.entry, state="retired"))
        for item in issued
    ]
