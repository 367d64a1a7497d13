# SPDX-License-Identifier: GPL-3.0-or-later
"""One CA follows another while the service runs (docs/ca-rollover.md).

The folder decides how far it is (`openngt.pki.rollover`); what runs here is brought in line with it after each step,
and by a start. A step is written to the audit log before it is done: one that a crash cut short shows twice, never not.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog
from cryptography import x509

from openngt import effects
from openngt.failpoints import failpoint
from openngt.pki.inspect import describe_certificate
from openngt.pki.rollover import (
    Succession,
    abort_next,
    activate_next,
    load_succession,
    prepare_next,
    retire_old,
)

from ..store.audit import AuditEntry
from .ca_rollover_plan import Seen, Step, advise, behind, judge
from .parts import Parts

__all__ = ["CaRollover"]

log = structlog.get_logger(__name__)

Json = dict[str, Any]
Doing = Callable[..., Succession]
DOING: dict[Step, Doing] = {
    "prepare": prepare_next,
    "activate": activate_next,
    "retire": retire_old,
    "abort": abort_next,
}


class CaRollover:
    """`serve_with` gives gateway and API their certificates and trust by what the folder holds; it may be repeated."""

    def __init__(self, parts: Parts, serve_with: Callable[[Succession], None]) -> None:
        self._parts = parts
        self._serve_with = serve_with
        self._one_at_a_time = asyncio.Lock()

    def status(self) -> Json:
        """Phase, CAs, what it is time for, and the VMs that the next step waits for (`GET /v1/ca/rollover`)."""
        succession, now = self._parts.store.ledger.succession, effects.now()
        advice = advise(succession, now)
        other = None if succession.other is None else described(succession.other)
        return {
            "phase": succession.phase,
            "since": succession.since,
            "signing": described(succession.signer.certificate),
            "next": other if succession.phase == "prepared" else None,
            "old": other if succession.phase == "activated" else None,
            "advice": advice and {"step": advice.step, "state": advice.state, "message": advice.message},
            "vms_behind": behind(succession, self._seen(), now),
        }

    async def step(
        self, step: Step, *, actor: str, force: bool = False, replaces: str | None = None, check: bool = False
    ) -> Json:
        """Do it, unless `check` only asks: the status then, with `changed` and `reason`. CA_ROLLOVER_BLOCKED."""
        async with self._one_at_a_time:
            ledger, now = self._parts.store.ledger, effects.now()
            waiting = behind(ledger.succession, self._seen(), now)
            verdict = judge(step, ledger.succession, waiting, force=force, replaces=replaces, now=now)
            if not check:
                # Also without a change: an earlier attempt may have got as far as the folder.
                await self._do(step, actor, change=verdict.change)
        return {"changed": verdict.change, "reason": verdict.reason, **self.status()}

    async def _do(self, step: Step, actor: str, *, change: bool) -> None:
        store, folder = self._parts.store, self._parts.settings.ca_directory
        before = store.ledger.succession
        if change:
            details = {"ca_sha256": before.signer.ca_sha256, "other_ca_sha256": before.other_sha256}
            await store.audit.record(AuditEntry(actor, f"ca.{step}", details=details))
            failpoint("tasks.ca_rollover.recorded")
            await self._settle_ledger(step, before, actor)
            found = await asyncio.to_thread(DOING[step], folder, now=effects.now())
        else:
            found = await asyncio.to_thread(load_succession, folder)
        failpoint("tasks.ca_rollover.done")
        self._follow(before, found)

    async def _settle_ledger(self, step: Step, before: Succession, actor: str) -> None:
        """First, so that no serial is left without its CA, nor good for one that is trusted no more."""
        ledger = self._parts.store.ledger
        if step in ("prepare", "retire"):
            await ledger.attribute(before.oldest_sha256)
        if step == "retire" and before.other_sha256 is not None:
            await ledger.retire_of(before.other_sha256, actor=actor)
            failpoint("tasks.ca_rollover.serials_retired")

    def _follow(self, before: Succession, found: Succession) -> None:
        if (before.phase, before.signer.ca_sha256) == (found.phase, found.signer.ca_sha256):
            return
        self._serve_with(found)
        media = self._parts.media
        media.cluster = replace(media.cluster, ca_pem=found.handed_pem)
        self._parts.store.ledger.follow(found)
        log.info("ca_rollover", phase=found.phase, ca_sha256=found.signer.ca_sha256)

    def _seen(self) -> list[Seen]:
        ledger, gateway = self._parts.store.ledger, self._parts.gateway
        return [
            Seen(
                vm.vm_uuid,
                vm.vm_name,
                gateway.session(vm.vm_uuid) is not None,
                ledger.certificate_of(vm.vm_uuid),
                ledger.entries_of(vm.vm_uuid),
            )
            for vm in self._parts.store.registry.all()
        ]


def described(certificate: x509.Certificate) -> Json:
    info = describe_certificate(certificate)
    return {"ca_sha256": info.sha256, "not_before": info.not_before, "not_after": info.not_after}
