# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a fleet's request means, and what is known of each VM at this moment."""

from collections.abc import Sequence
from dataclasses import replace

from openngt.errors import OpenNGTError

from ..hypervisors.base import HypervisorVm
from ..store.registry import Vm, vm_not_found
from .links import Links
from .parts import Parts
from .refresh_plan import Candidate

__all__ = ["Candidates"]

NAMED_IN_ERROR = 5


class Candidates:
    def __init__(self, parts: Parts, links: Links) -> None:
        self._parts = parts
        self._links = links

    async def of(self, names: Sequence[str] | None, *, drives: bool) -> list[Candidate]:
        """Those that are named, each once and in order; None: all that are enrolled.

        With `drives` the hypervisor is asked, unless all are linked. VM_NOT_FOUND or VM_AMBIGUOUS with every such name
        in `details.problems`.
        """
        registry = self._parts.store.registry
        candidates = [self._candidate(vm) for vm in registry.all()] if names is None else await self._named(names)
        if not drives or all(candidate.linked for candidate in candidates if candidate.enrolled):
            return candidates
        seen = {vm.vm_uuid: vm for vm in await self._parts.hypervisor.list_vms()}
        return [replace(candidate, seen=seen.get(candidate.vm_uuid)) for candidate in candidates]

    def _candidate(self, vm: Vm) -> Candidate:
        store, view = self._parts.store, self._links.view(vm.vm_uuid)
        return Candidate(
            vm.vm_uuid,
            vm.vm_name,
            certificate=store.ledger.certificate_of(vm.vm_uuid),
            agent_version=view.row.agent_version,
            linked=self._parts.gateway.session(vm.vm_uuid) is not None,
            mount=store.mounts.get(vm.vm_uuid),
        )

    async def _named(self, names: Sequence[str]) -> list[Candidate]:
        found: dict[str, Candidate] = {}
        problems: list[OpenNGTError] = []
        for name in names:
            try:
                candidate = await self._one(name)
            except OpenNGTError as exc:
                if exc.code not in ("VM_NOT_FOUND", "VM_AMBIGUOUS"):
                    raise
                problems.append(exc)
            else:
                found.setdefault(candidate.vm_uuid, candidate)
        if problems:
            text = "; ".join(exc.message for exc in problems[:NAMED_IN_ERROR])
            listed = [{"code": exc.code, "message": exc.message, **exc.details} for exc in problems]
            raise OpenNGTError(problems[0].code, text, {"problems": listed})
        return list(found.values())

    async def _one(self, name: str) -> Candidate:
        """Of the registry; else one of the hypervisor's that is not enrolled. VM_NOT_FOUND, VM_AMBIGUOUS."""
        registry = self._parts.store.registry
        try:
            return self._candidate(registry.find(name))
        except OpenNGTError as exc:
            if exc.code != "NOT_ENROLLED":
                raise
        try:
            stranger: HypervisorVm = await self._parts.hypervisor.one(name)
        except OpenNGTError as exc:
            if exc.code != "VM_NOT_FOUND":
                raise
            names = (vm.vm_name for vm in registry.all())
            raise vm_not_found(name, f"no VM has the name or UUID {name}", names) from exc
        return Candidate(stranger.vm_uuid, stranger.vm_name, enrolled=False, seen=stranger)
