# SPDX-License-Identifier: GPL-3.0-or-later
"""Clones of enrolled VMs: found, listed as pending or enabled at once, and brought to an identity of their own.

An agent that finds its parent's identity on its disk says nothing with it and waits for a disc of its own. Which VM is
a copy, the adapter knows, or the VM's own port shows: its agent comes there with its parent's certificate (T1).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog

from openngt.errors import OpenNGTError

from ..hypervisors.base import Described
from ..store.registry import Vm
from ..store.sightings import Sighting
from . import enrol
from .links import Links
from .parts import Parts
from .recover import Recovery

__all__ = ["Clone", "Clones", "clones_of", "duplicates_of"]

log = structlog.get_logger(__name__)

ACTOR = "clones"
ENABLE_IN_A_LOOK = 8
"""A hundred clones that appear at once are enabled within a minute or so, and everybody else is served meanwhile."""


@dataclass(frozen=True)
class Clone:
    """A VM that the service knows to be a copy of one of its own."""

    vm_uuid: str
    vm_name: str
    parent_uuid: str
    parent_name: str
    seen_by: Literal["hypervisor", "serial_port"]
    pending: bool
    """Nobody has decided about it yet."""


def clones_of(
    described: Iterable[Described], sightings: Iterable[Sighting], known: Callable[[str], Vm | None]
) -> list[Clone]:
    """By name. `known` has every VM that is or once was enrolled: a clone that was disabled is not pending. Pure."""
    shown = {seen.vm_uuid: seen.other_peer for seen in sightings if seen.kind == "foreign_port"}
    found = []
    for vm in described:
        parent = known(vm.cloned_from or shown.get(vm.vm_uuid, ""))
        if parent is not None and parent.vm_uuid != vm.vm_uuid:
            seen_by: Literal["hypervisor", "serial_port"] = "serial_port" if vm.cloned_from is None else "hypervisor"
            pending = known(vm.vm_uuid) is None
            found.append(Clone(vm.vm_uuid, vm.vm_name, parent.vm_uuid, parent.vm_name, seen_by, pending))
    return found


def duplicates_of(described: Iterable[Described]) -> Mapping[str, Sequence[str]]:
    """UUIDs that several VMs of the hypervisor have, with those VMs' names. Pure."""
    names: dict[str, list[str]] = {}
    for vm in described:
        names.setdefault(vm.vm_uuid, []).append(vm.vm_name)
    return {vm_uuid: of_it for vm_uuid, of_it in names.items() if len(of_it) > 1}


class Clones:
    """`run` until cancelled. `told` is called when what `all` or `duplicates` say has changed."""

    def __init__(self, parts: Parts, links: Links, recovery: Recovery) -> None:
        self._parts = parts
        self._links = links
        self._recovery = recovery
        self.all: dict[str, Clone] = {}
        """As of the last look, by UUID."""
        self.duplicates: Mapping[str, Sequence[str]] = {}
        self.told: Callable[[], None] = lambda: None

    @property
    def pending(self) -> dict[str, Clone]:
        return {vm_uuid: clone for vm_uuid, clone in self.all.items() if clone.pending}

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except OpenNGTError as exc:
                log.warning("clones_unknown", code=exc.code, message=exc.message)
            await asyncio.sleep(self._parts.settings.reconcile_seconds)

    async def look(self) -> None:
        """Find them; enable some where the settings say so; give those that are enabled an identity."""
        before = self.all, self.duplicates
        self.all = await self.find()
        if self._parts.settings.clones == "enable" and await self._enable(list(self.pending.values())):
            self.all = await self.find()
        if (self.all, self.duplicates) != before:
            self.told()
        for clone in self.all.values():
            if self._lacks_identity(clone):
                self._recovery.want(clone.vm_uuid, "clone", "clone")

    async def find(self) -> dict[str, Clone]:
        """The clones of this moment, by UUID."""
        store = self._parts.store
        described = await self._parts.hypervisor.described()
        self.duplicates = duplicates_of(described)
        found = clones_of(described, store.sightings.all(), store.registry.known)
        return {clone.vm_uuid: clone for clone in found}

    async def _enable(self, pending: Sequence[Clone]) -> bool:
        """Was there anything to do? One whose parent was disabled is left for somebody to decide."""
        registry = self._parts.store.registry
        due = [clone for clone in pending if registry.get(clone.parent_uuid) is not None]
        for clone in due[:ENABLE_IN_A_LOOK]:
            try:
                await enrol.enable(self._parts, clone.vm_uuid, {}, actor=ACTOR)
            except OpenNGTError as exc:
                log.warning("clone_not_enabled", vm_uuid=clone.vm_uuid, code=exc.code, message=exc.message)
            else:
                log.info("clone_enabled", vm_uuid=clone.vm_uuid, parent=clone.parent_uuid)
        return bool(due)

    def _lacks_identity(self, clone: Clone) -> bool:
        """It is enabled, has never come with a certificate of its own, and its disk brought an agent along."""
        store = self._parts.store
        if store.registry.get(clone.vm_uuid) is None:
            return False
        entries = store.ledger.entries_of(clone.vm_uuid)
        if any(entry.state == "current" or entry.first_used_at is not None for entry in entries):
            return False
        packaged = {clone.parent_uuid, clone.parent_name} & set(self._parts.settings.templates)
        return bool(packaged) or self._links.view(clone.parent_uuid).row.agent_version is not None
