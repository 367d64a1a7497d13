# SPDX-License-Identifier: GPL-3.0-or-later
"""Recovery that never needs the old key: a VM that cannot connect any more is given a new identity on a disc.

The hypervisor is the channel of last resort: what is put into a VM's drive reaches that VM and nobody else. So whoever
else has the refused identity (a copy, a thief) gains nothing, and nothing that was refused is ever accepted (T2, T21).
A clone's first identity goes the same way.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import structlog

from openngt import effects
from openngt.errors import OpenNGTError

from ..hypervisors.base import HypervisorVm
from ..store.registry import Vm
from .engine import Progress
from .links import Links
from .parts import Parts
from .refresh import RefreshRequest, refresh
from .refresh_plan import HOLDER

__all__ = ["RECOVERABLE", "Attempt", "Recovery"]

log = structlog.get_logger(__name__)

ACTOR = "recovery"
RECOVERABLE = frozenset({"retired", "expired", "unknown_serial", "identity_mismatch", "used_twice"})
"""Refusals after which only a new identity helps. `revoked` is none: somebody has decided that."""

LOOK_SECONDS = 2.0
PATIENCE_SECONDS = 3.0
"""A copy may knock with the old identity in the moment in which the VM itself comes back with the new one."""
REMEMBER_SECONDS = 60.0
"""An agent comes again every 15 s at the latest; one that does not is switched off or has been helped otherwise."""
WAIT_SECONDS = 120.0
AT_ONCE = 8
"""After a restore a whole fleet may need it; each one takes a drive, a signature and an agent's attention."""
PAUSE_SECONDS = 60.0
MOST_PAUSE_SECONDS = 3600.0
OFF_SECONDS = 5.0
"""How soon a VM that is off is looked at again."""

Kind = Literal["clone", "recover"]


@dataclass(frozen=True)
class Wanted:
    kind: Kind
    reason: str
    since: float
    last: float


@dataclass(frozen=True)
class Attempt:
    """The latest one of a VM, for people."""

    vm_uuid: str
    reason: str
    """The refusal that it answers; `clone`."""
    task_id: str
    state: Literal["running", "succeeded", "failed"] = "running"
    code: str | None = None


class Recovery:
    """`run` until cancelled; `stop` at the end. `told` is called when an attempt begins or ends."""

    def __init__(self, parts: Parts, links: Links, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._links = links
        self._clock = clock
        self._wanted: dict[str, Wanted] = {}
        self._not_before: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._one_look = asyncio.Lock()
        self._followers: dict[str, asyncio.Task[None]] = {}
        self.attempts: dict[str, Attempt] = {}
        self.told: Callable[[], None] = lambda: None

    def refused(self, vm_uuid: str, reason: str) -> None:
        """An agent of that VM was refused. Called for each; most are none of ours."""
        if reason in RECOVERABLE and self._parts.settings.recover_identities:
            self.want(vm_uuid, "recover", reason)

    def want(self, vm_uuid: str, kind: Kind, reason: str) -> None:
        """The VM needs an identity; forgotten when it is not said again for a minute."""
        now = self._clock()
        known = self._wanted.get(vm_uuid)
        since = known.since if known is not None and now - known.last <= REMEMBER_SECONDS else now
        self._wanted[vm_uuid] = Wanted(kind, reason, since, now)

    async def run(self) -> None:
        """Look every two seconds, which costs nothing while nothing is wanted."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except OpenNGTError as exc:
                log.warning("recovery_blind", code=exc.code, message=exc.message)

    async def look(self) -> list[str]:
        """Begin what is due; the UUIDs of the VMs for which a task was made."""
        async with self._one_look:
            return await self._look()

    async def _look(self) -> list[str]:
        self._note_expired()
        due = [vm for vm_uuid in list(self._wanted) if (vm := self._due(vm_uuid)) is not None]
        due = due[: max(0, AT_ONCE - len(self._followers))]
        if not due:
            return []
        seen = {vm.vm_uuid: vm for vm in await self._parts.hypervisor.list_vms()}
        begun = []
        for vm in due:
            if not _can_take_disc(seen.get(vm.vm_uuid)):
                self._not_before[vm.vm_uuid] = self._clock() + OFF_SECONDS
            elif self._due(vm.vm_uuid) is not None:  # nothing has changed while the hypervisor was asked
                await self._begin(vm, self._wanted.pop(vm.vm_uuid))
                begun.append(vm.vm_uuid)
        return begun

    async def stop(self) -> None:
        followers = list(self._followers.values())
        for follower in followers:
            follower.cancel()
        if followers:
            await asyncio.wait(followers)

    def _note_expired(self) -> None:
        """TLS refuses an expired certificate before anybody can tell whose it was.

        So it is taken to be that of VMs whose own has expired, and of those that were last seen at that address: a VM
        that was put back by years comes from there. A VM with a link is none.
        """
        if not self._parts.settings.recover_identities:
            return
        now, store = effects.now(), self._parts.store
        recent = [one for one in self._links.strangers if one.reason == "expired"]
        hosts = {_host(one.peer) for one in recent if (now - one.at).total_seconds() <= REMEMBER_SECONDS}
        if not hosts:
            return
        for vm in store.registry.all():
            if vm.vm_uuid in self._wanted or self._parts.gateway.session(vm.vm_uuid) is not None:
                continue
            entry, peer = store.ledger.certificate_of(vm.vm_uuid), self._links.view(vm.vm_uuid).row.peer
            over = entry is not None and entry.state == "current" and entry.not_after <= now
            if over or (peer is not None and _host(peer) in hosts):
                self.want(vm.vm_uuid, "recover", "expired")

    def _due(self, vm_uuid: str) -> Vm | None:
        """The VM, if it is time to act for it."""
        now, wanted = self._clock(), self._wanted[vm_uuid]
        vm = self._parts.store.registry.get(vm_uuid)
        if vm is None or now - wanted.last > REMEMBER_SECONDS or self._parts.gateway.session(vm_uuid) is not None:
            del self._wanted[vm_uuid]
            return None
        patient = wanted.kind == "clone" or now - wanted.since >= PATIENCE_SECONDS
        held = self._parts.store.mounts.get(vm_uuid)
        others = held is not None and held.holder != HOLDER and held.lease_ends > effects.now()
        if not patient or others or self._parts.engine.busy(vm_uuid) or vm_uuid in self._followers:
            return None
        return vm if now >= self._not_before.get(vm_uuid, 0.0) else None

    async def _begin(self, vm: Vm, wanted: Wanted) -> None:
        certificate = self._parts.store.ledger.certificate_of(vm.vm_uuid)
        request = RefreshRequest(
            vm.vm_uuid,
            None if certificate is None else certificate.serial_hex,
            self._parts.settings.validity_days,
            "iso",
            WAIT_SECONDS,
            unheard=True,
        )

        async def work(progress: Progress) -> dict[str, Any]:
            result = await refresh(self._parts, self._links, request, ACTOR, progress)
            return {**result, "reason": wanted.reason}

        record = await self._parts.engine.submit(wanted.kind, vm.vm_uuid, work, actor=ACTOR)
        log.info("recovery_begun", vm_uuid=vm.vm_uuid, kind=wanted.kind, reason=wanted.reason, task_id=record.task_id)
        self._show(Attempt(vm.vm_uuid, wanted.reason, record.task_id))
        self._followers[vm.vm_uuid] = asyncio.create_task(self._follow(vm.vm_uuid, record.task_id))

    async def _follow(self, vm_uuid: str, task_id: str) -> None:
        try:
            await self._parts.engine.finished(task_id)
            record = await self._parts.engine.wait(task_id, 0.0)
        finally:
            del self._followers[vm_uuid]
        succeeded = record is not None and record.state == "succeeded"
        failures = self._failures[vm_uuid] = 0 if succeeded else self._failures.get(vm_uuid, 0) + 1
        # Also after a success: a VM that is reverted again and again must not keep the service busy.
        self._not_before[vm_uuid] = self._clock() + min(MOST_PAUSE_SECONDS, PAUSE_SECONDS * 2**failures / 2)
        error = (record.error if record is not None else None) or {}
        state: Literal["succeeded", "failed"] = "succeeded" if succeeded else "failed"
        self._show(replace(self.attempts[vm_uuid], state=state, code=error.get("code")))

    def _show(self, attempt: Attempt) -> None:
        self.attempts[attempt.vm_uuid] = attempt
        self.told()


def _host(peer: str) -> str:
    """Of `address:port`; a serial port's name stays what it is."""
    return peer.rpartition(":")[0] or peer


def _can_take_disc(seen: HypervisorVm | None) -> bool:
    """A VM that is off will be looked at again; one without an empty drive fails, with that as its task's error."""
    return seen is not None and seen.power_state == "on"
