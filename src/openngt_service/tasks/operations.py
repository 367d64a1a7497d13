# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API and the CLI can ask for, in one place. Answers are those of ARCHITECTURE.md section 6."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.pki.issue_log import IssueLog

from ..hypervisors.base import HypervisorVm
from ..store.ledger import Issued, IssueRequest
from ..store.registry import Vm
from ..store.task_rows import RequestKey, TaskRecord
from . import enrol
from .eject import EjectRequest, eject
from .engine import Progress
from .links import Links
from .mount import MountRequest, mount
from .parts import Parts
from .record import hypervisor_record, vm_record

__all__ = ["Operations", "task_record"]

Json = dict[str, Any]


class Operations:
    """`actor` is the name of the token that asks, for the audit trail; `key` the request's Idempotency-Key."""

    def __init__(self, parts: Parts, links: Links) -> None:
        self._parts = parts
        self._links = links

    async def hypervisor_vms(self, reference: str | None = None) -> list[Json]:
        """What the adapter sees: all, or those (none, one, several) whose UUID or name `reference` is."""
        hypervisor, registry = self._parts.hypervisor, self._parts.store.registry
        seen = await (hypervisor.list_vms() if reference is None else hypervisor.find(reference))
        return [hypervisor_record(vm, enrolled=registry.get(vm.vm_uuid) is not None) for vm in seen]

    async def vms(self, references: Sequence[str] = (), *, limit: int = 500, page_token: str | None = None) -> Json:
        """Enrolled VMs. A hypervisor that does not answer shows as power state `unknown`, not as an error."""
        page = self._parts.store.registry.page(references, limit=limit, page_token=page_token)
        seen = await self._seen(page.items)
        return {
            "items": [self._record(vm, seen.get(vm.vm_uuid)) for vm in page.items],
            "next_page_token": page.next_page_token,
        }

    async def vm(self, reference: str) -> Json:
        """NOT_ENROLLED, VM_AMBIGUOUS."""
        vm = self._parts.store.registry.find(reference)
        return self._record(vm, (await self._seen([vm])).get(vm.vm_uuid))

    async def enable(self, reference: str, capabilities: Mapping[str, bool], *, actor: str) -> tuple[Json, bool]:
        """The VM record, and whether the VM is newly enrolled. VM_NOT_FOUND, VM_AMBIGUOUS, INVALID_INPUT."""
        vm, created, seen = await enrol.enable(self._parts, reference, capabilities, actor=actor)
        return self._record(vm, seen), created

    async def disable(self, reference: str, *, actor: str) -> Json:
        """`{"vm_uuid", "revoked"}`, once no certificate of the VM is accepted any more. NOT_ENROLLED, VM_AMBIGUOUS."""
        return await enrol.disable(self._parts, self._parts.store.registry.find(reference), actor=actor)

    async def mount(
        self,
        reference: str,
        *,
        holder: str,
        lease_seconds: int | None = None,
        config_only: bool = False,
        holder_is_dead: str | None = None,
        actor: str,
        key: RequestKey | None = None,
    ) -> Json:
        """The task. Its failures: VM_BUSY, VM_POWERED_OFF, NO_EMPTY_DRIVE, NO_SPACE, HYPERVISOR_FAILED, …"""
        vm = self._parts.store.registry.find(reference)
        lease = datetime.timedelta(seconds=lease_seconds or self._parts.settings.lease_seconds)
        request = MountRequest(vm.vm_uuid, holder, lease, config_only, holder_is_dead)

        async def work(progress: Progress) -> Json:
            return await mount(self._parts, request, actor, progress)

        return task_record(await self._parts.engine.submit("mount", vm.vm_uuid, work, actor=actor, key=key))

    async def eject(
        self, reference: str, *, holder: str, force: bool = False, actor: str, key: RequestKey | None = None
    ) -> Json:
        """The task. Its failures: VM_BUSY, DRIVE_LOCKED, HYPERVISOR_FAILED."""
        vm = self._parts.store.registry.find(reference)
        request = EjectRequest(vm.vm_uuid, holder, force)

        async def work(progress: Progress) -> Json:
            return await eject(self._parts, request, actor, progress)

        return task_record(await self._parts.engine.submit("eject", vm.vm_uuid, work, actor=actor, key=key))

    async def task(self, task_id: str, *, wait: float = 0.0) -> Json:
        """The task when it has ended, or after `wait` seconds as it is then. NOT_FOUND."""
        record = await self._parts.engine.wait(task_id, wait)
        if record is None:
            raise OpenNGTError("NOT_FOUND", f"there is no task {task_id}")
        return task_record(record)

    async def tasks(self, reference: str | None = None, *, limit: int = 100, page_token: str | None = None) -> Json:
        """Newest first; those of one VM when `reference` is given."""
        vm_uuid = None if reference is None else self._known_uuid(reference)
        page = await self._parts.store.tasks.page(vm_uuid=vm_uuid, limit=limit, page_token=page_token)
        return {"items": [task_record(record) for record in page.items], "next_page_token": page.next_page_token}

    async def issue_batch(self, items: Sequence[Mapping[str, Any]], *, actor: str) -> list[Json]:
        """A `link` certificate for each item `{"vm_uuid", "ngt_uuid"?, "public_key_pem"?}`, all durable or none issued.

        Where no public key is given the answer holds the private key: the only time that it is seen.
        """
        now = effects.now().replace(microsecond=0)
        life = self._parts.lifetime("link", now)
        requests = [
            IssueRequest(
                item["vm_uuid"],
                "link",
                life,
                ngt_uuid=item.get("ngt_uuid"),
                public_key_pem=item["public_key_pem"].encode() if item.get("public_key_pem") else None,
            )
            for item in items
        ]
        return [_issued(issued) for issued in await self._parts.store.ledger.issue(requests, actor=actor, now=now)]

    async def adopt(self, issue_log: IssueLog, *, actor: str) -> Json:
        """Take over what a CA has issued without the service, revocations included."""
        adopted = await self._parts.store.ledger.adopt(issue_log, actor=actor)
        return {"adopted": adopted.adopted, "known": adopted.known}

    def _record(self, vm: Vm, seen: HypervisorVm | None) -> Json:
        store, settings = self._parts.store, self._parts.settings
        return vm_record(
            vm,
            certificate=store.ledger.certificate_of(vm.vm_uuid),
            mount=store.mounts.get(vm.vm_uuid),
            link=self._links.view(vm.vm_uuid),
            power_state="unknown" if seen is None else seen.power_state,
            serial_port="unknown" if seen is None else seen.serial_port,
            serial_wanted=bool(settings.serial_ports) and settings.preferred_transport == "serial",
            now=effects.now(),
        )

    async def _seen(self, vms: Sequence[Vm]) -> dict[str, HypervisorVm]:
        hypervisor = self._parts.hypervisor
        try:
            seen = await (hypervisor.find(vms[0].vm_uuid) if len(vms) == 1 else hypervisor.list_vms())
        except OpenNGTError:
            return {}  # shown as `unknown`; the hypervisor's own health check says why
        return {vm.vm_uuid: vm for vm in seen}

    def _known_uuid(self, reference: str) -> str:
        """Tasks of a VM that was disabled since are still shown, by its UUID."""
        known = self._parts.store.registry.known(reference.lower())
        return known.vm_uuid if known is not None else self._parts.store.registry.find(reference).vm_uuid


def task_record(record: TaskRecord) -> Json:
    """A task as the API shows it: without the actor, which is the audit trail's."""
    return {name: value for name, value in vars(record).items() if name != "actor"}


def _issued(issued: Issued) -> Json:
    entry, certificate = issued.entry, issued.certificate
    key = certificate.private_key_pem
    return {
        "vm_uuid": entry.vm_uuid,
        "ngt_uuid": entry.ngt_uuid,
        "serial": entry.serial_hex,
        "generation": entry.generation,
        "not_after": entry.not_after,
        "certificate_pem": certificate.certificate_pem.decode(),
        "private_key_pem": None if key is None else key.decode(),
    }
