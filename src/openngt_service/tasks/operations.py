# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API and the CLI can ask for, in one place. Answers are those of ARCHITECTURE.md section 6."""

import asyncio
import dataclasses
import datetime
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from openngt import effects
from openngt.cells import as_csv
from openngt.errors import OpenNGTError
from openngt.pki.issue_log import IssueLog

from ..hypervisors.base import HypervisorVm
from ..store.ledger import Issued, IssueRequest
from ..store.registry import Vm
from ..store.task_rows import RequestKey, TaskRecord
from . import enrol
from .announce import Announcer
from .clones import Clones
from .customizations import CustomizationService
from .diagnosis import diagnose
from .eject import EjectRequest, eject
from .engine import Progress
from .fleet_power import PowerAsk, Powers
from .fleet_refresh import Refreshes
from .fleet_upgrade import Upgrades
from .fleets import Fleets
from .links import Links
from .listing import DEFAULT_SORT, Listing, Orders, Tally, next_page, order_of, parse_listing
from .mount import MountRequest, mount
from .parts import Parts
from .power import power
from .power_plan import PowerRequest
from .record import Sight, hypervisor_record, vm_record
from .refresh_plan import Ask
from .titles import TITLES
from .upgrade_plan import UpgradeAsk
from .vm_fields import FIELDS

__all__ = ["Operations", "task_record"]

Json = dict[str, Any]

TALLY_AT_ONCE = 500
POWER_SECONDS = 5.0
"""The pages of one list share one look at the hypervisor, also at one that does not answer."""


class Operations:
    """`actor` is the name of the token that asks, for the audit trail; `key` the request's Idempotency-Key."""

    def __init__(self, parts: Parts, links: Links, announcer: Announcer, clones: Clones) -> None:
        self._parts = parts
        self._clones = clones
        self._links = links
        self._announcer = announcer
        self._seen: dict[str, HypervisorVm] = {}
        self._looked = (float("-inf"), float("-inf"))
        self._one_look = asyncio.Lock()
        self._orders = Orders()
        self.fleets = Fleets(parts)
        self.refreshes = Refreshes(parts, links, self.fleets)
        self.powers = Powers(parts, links, self.fleets)
        self.upgrades = Upgrades(parts, links, self.fleets)
        self.customizations = CustomizationService(parts, links)

    async def hypervisor_vms(self, reference: str | None = None, *, clone_pending: bool | None = None) -> list[Json]:
        """What the adapter sees: all, or those (none, one, several) whose UUID or name `reference` is.

        `clone_pending`: those only that are clones of an enrolled VM for somebody to decide about, or that are not.
        """
        hypervisor, registry = self._parts.hypervisor, self._parts.store.registry
        seen = await (hypervisor.list_vms() if reference is None else hypervisor.find(reference))
        clones = await self._clones.find()
        records = [
            hypervisor_record(vm, clones.get(vm.vm_uuid), enrolled=registry.get(vm.vm_uuid) is not None) for vm in seen
        ]
        return [record for record in records if clone_pending in (None, record["clone_pending"])]

    async def vms(
        self,
        references: Sequence[str] = (),
        *,
        filters: Sequence[str] = (),
        sort: str = DEFAULT_SORT,
        limit: int = 500,
        page_token: str | None = None,
    ) -> Json:
        """Enrolled VMs. A hypervisor that does not answer shows as power state `unknown`, not as an error.

        INVALID_INPUT for a filter, an order or a page token that cannot be, by name.
        """
        now, listing = effects.now(), parse_listing(references, filters, sort)
        sights, next_page_token = await self._page(listing, now, limit, page_token)
        return {"items": [vm_record(sight, now) for sight in sights], "next_page_token": next_page_token}

    async def vm_table(
        self,
        references: Sequence[str] = (),
        *,
        filters: Sequence[str] = (),
        sort: str = DEFAULT_SORT,
        limit: int = 500,
        page_token: str | None = None,
    ) -> tuple[str, str | None]:
        """The same as CSV, a column for each field that lists are filtered and sorted by; and the next page's token."""
        now, listing = effects.now(), parse_listing(references, filters, sort)
        sights, next_page_token = await self._page(listing, now, limit, page_token)
        rows = ([field.value(sight, now) for field in FIELDS.values()] for sight in sights)
        return as_csv([*FIELDS], rows), next_page_token

    async def tally(self, filters: Sequence[str] = ()) -> Json:
        """`{"total", "matching", "counts": {field: {value: n}}}`: VMs in all, those that meet the filters, and how many
        of all have each value of a few fields; `none` counts those without one. INVALID_INPUT as in `vms`.
        """
        now, listing = effects.now(), parse_listing((), filters)
        seen = await self._seen_all("") if listing.needs_power_states else {}
        counted = Tally()
        for number, vm in enumerate(self._parts.store.registry.all()):
            if number % TALLY_AT_ONCE == 0:
                await asyncio.sleep(0)  # a large fleet must not hold up the agents' heartbeats
            counted.add(listing, self._sight(vm, seen.get(vm.vm_uuid)), now)
        return dataclasses.asdict(counted)

    async def _page(
        self, listing: Listing, now: datetime.datetime, limit: int, page_token: str | None
    ) -> tuple[list[Sight], str | None]:
        registry = self._parts.store.registry
        seen = await self._seen_all(page_token) if listing.needs_power_states else {}

        def see(vm: Vm) -> Sight:
            return self._sight(vm, seen.get(vm.vm_uuid))

        order = self._orders.get(listing, page_token)
        if order is None:
            order = order_of(listing, registry.all(), see, now)
            self._orders.put(listing, order)
        keys, next_page_token = next_page(listing, order, limit, page_token)
        shown = [vm for *_, vm_uuid in keys if (vm := registry.get(vm_uuid)) is not None]
        if shown and not listing.needs_power_states:
            seen = await (self._seen_one(shown[0]) if len(shown) == 1 else self._seen_all(page_token))
        return [see(vm) for vm in shown], next_page_token

    async def vm(self, reference: str) -> Json:
        """NOT_ENROLLED, VM_AMBIGUOUS."""
        vm = self._parts.store.registry.find(reference)
        return self._record(vm, (await self._seen_one(vm)).get(vm.vm_uuid))

    async def diagnosis(self, reference: str) -> Json:
        """Why the VM's link is not active, as far as the service can tell. VM_NOT_FOUND, VM_AMBIGUOUS, NOT_ENROLLED."""
        return await diagnose(self._parts, self._links, reference)

    async def enable(self, reference: str, capabilities: Mapping[str, bool], *, actor: str) -> tuple[Json, bool]:
        """The VM record, and whether the VM is newly enrolled. VM_NOT_FOUND, VM_AMBIGUOUS, INVALID_INPUT.

        An agent that is connected has been told of changed capabilities; the record says whether it has taken them.
        """
        vm, created, seen = await enrol.enable(self._parts, reference, capabilities, actor=actor)
        await self._announcer.tell(vm.vm_uuid)
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

    async def power(self, reference: str, *, actor: str, key: RequestKey | None = None, **asked: Any) -> Json:
        """The task, for any VM of the hypervisor; `asked` are the other fields of PowerRequest.

        Its failures: VM_BUSY, VM_POWERED_OFF, VM_PAUSED, POWER_UNSUPPORTED, ACPI_IGNORED, GUEST_STILL_RUNS,
        GUEST_NOT_BACK, METHOD_BLOCKED, AGENT_TOO_OLD, LINK_NOT_ACTIVE, NOT_ENROLLED, HYPERVISOR_FAILED, …
        """
        request = PowerRequest((await self._parts.hypervisor.one(reference)).vm_uuid, **asked)

        async def work(progress: Progress) -> Json:
            return await power(self._parts, request, actor, progress)

        return task_record(
            await self._parts.engine.submit("power", request.vm_uuid, work, actor=actor, key=key, takes_turns=True)
        )

    async def plan_power(self, ask: PowerAsk) -> Json:
        """A row for each VM that was named: what `power_many` would do. Changes nothing. INVALID_INPUT."""
        return {"items": await self.powers.plan(ask)}

    async def power_many(self, ask: PowerAsk, *, actor: str, key: RequestKey | None = None) -> Json:
        """The task. INVALID_INPUT before any change; its failures are those of its VMs."""
        return task_record(await self.powers.submit(ask, actor=actor, key=key))

    async def power_rows(self, task_id: str, *, limit: int = 500, page_token: str | None = None) -> Json:
        """`{"task", "items", "next_page_token"}`: how far it is with each VM. NOT_FOUND."""
        return _with_task(await self.powers.rows(task_id, limit=limit, page_token=page_token))

    async def plan_refresh(self, ask: Ask) -> Json:
        """A row for each VM that was named or is enrolled: what `refresh` would do. Changes nothing."""
        return {"items": await self.refreshes.plan(ask)}

    async def refresh(self, ask: Ask, *, actor: str, key: RequestKey | None = None) -> Json:
        """The task. INVALID_INPUT, VM_NOT_FOUND, VM_AMBIGUOUS before any change; its failures are those of its VMs."""
        return task_record(await self.refreshes.submit(ask, actor=actor, key=key))

    async def refresh_rows(self, task_id: str, *, limit: int = 500, page_token: str | None = None) -> Json:
        """`{"task", "items", "next_page_token"}`: how far a refresh is with each VM. NOT_FOUND."""
        return _with_task(await self.refreshes.rows(task_id, limit=limit, page_token=page_token))

    async def plan_upgrade(self, ask: UpgradeAsk) -> Json:
        """A row for each VM that was named or is enrolled: what `upgrade` would do. Changes nothing."""
        return {"items": await self.upgrades.plan(ask)}

    async def upgrade(self, ask: UpgradeAsk, *, actor: str, key: RequestKey | None = None) -> Json:
        """The task. INVALID_INPUT, NOT_FOUND, VERSION_UNSUPPORTED, VM_NOT_FOUND, VM_AMBIGUOUS before any change."""
        return task_record(await self.upgrades.submit(ask, actor=actor, key=key))

    async def upgrade_rows(self, task_id: str, *, limit: int = 500, page_token: str | None = None) -> Json:
        """`{"task", "items", "next_page_token"}`: how far an upgrade is with each VM. NOT_FOUND."""
        return _with_task(await self.upgrades.rows(task_id, limit=limit, page_token=page_token))

    async def task(self, task_id: str, *, wait: float = 0.0) -> Json:
        """The task when it has ended, or after `wait` seconds as it is then. NOT_FOUND."""
        record = await self._parts.engine.wait(task_id, wait)
        if record is None:
            raise OpenNGTError("NOT_FOUND", f"there is no task {task_id}")
        return task_record(record)

    async def cancel_task(self, task_id: str, *, actor: str) -> Json:
        """The task, which begins with no further VM. NOT_FOUND, TASK_NOT_CANCELLABLE."""
        return task_record(await self.fleets.cancel(task_id, actor=actor))

    async def tasks(self, reference: str | None = None, *, limit: int = 100, page_token: str | None = None) -> Json:
        """Newest first; those of one VM when `reference` is given."""
        vm_uuid = None if reference is None else self._known_uuid(reference)
        page = await self._parts.store.tasks.page(vm_uuid=vm_uuid, limit=limit, page_token=page_token)
        return {"items": [task_record(record) for record in page.items], "next_page_token": page.next_page_token}

    def names(self, vm_uuids: Iterable[str | None]) -> dict[str, str]:
        """By UUID, of those among them that are or once were enrolled."""
        known = (self._parts.store.registry.known(vm_uuid) for vm_uuid in vm_uuids if vm_uuid is not None)
        return {vm.vm_uuid: vm.vm_name for vm in known if vm is not None}

    async def parts(self, task_id: str) -> list[Json]:
        """The tasks that are parts of that one, oldest first, as they are stored."""
        return [task_record(record) for record in await self._parts.store.tasks.parts_of([task_id])]

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
                with_cas=False,
            )
            for item in items
        ]
        return [_issued(issued) for issued in await self._parts.store.ledger.issue(requests, actor=actor, now=now)]

    async def adopt(self, issue_log: IssueLog, *, actor: str) -> Json:
        """Take over what a CA has issued without the service, revocations included."""
        adopted = await self._parts.store.ledger.adopt(issue_log, actor=actor)
        return {"adopted": adopted.adopted, "known": adopted.known}

    def _record(self, vm: Vm, seen: HypervisorVm | None) -> Json:
        return vm_record(self._sight(vm, seen), effects.now())

    def _sight(self, vm: Vm, seen: HypervisorVm | None) -> Sight:
        store, settings = self._parts.store, self._parts.settings
        return Sight(
            vm=vm,
            certificate=store.ledger.certificate_of(vm.vm_uuid),
            mount=store.mounts.get(vm.vm_uuid),
            link=self._links.view(vm.vm_uuid),
            power_state="unknown" if seen is None else seen.power_state,
            serial_port="unknown" if seen is None else seen.serial_port,
            serial_wanted=bool(settings.serial_ports) and settings.preferred_transport == "serial",
        )

    async def _seen_one(self, vm: Vm) -> Mapping[str, HypervisorVm]:
        """One VM, at this moment; empty when the hypervisor does not answer or has no such VM."""
        try:
            seen = await self._parts.hypervisor.find(vm.vm_uuid)
        except OpenNGTError:
            return {}
        return {one.vm_uuid: one for one in seen}

    async def _seen_all(self, page_token: str | None) -> Mapping[str, HypervisorVm]:
        """All VMs: looked up for a first page, for those that follow it seconds old at most.

        Empty when the hypervisor does not answer; readiness says so.
        """
        asked = time.monotonic()
        async with self._one_look:
            began, ended = self._looked
            if asked - ended > POWER_SECONDS if page_token is not None else asked > began:
                began = time.monotonic()
                try:
                    seen = await self._parts.hypervisor.list_vms()
                except OpenNGTError:
                    seen = []
                self._seen = {vm.vm_uuid: vm for vm in seen}
                self._looked = began, time.monotonic()
        return self._seen

    def _known_uuid(self, reference: str) -> str:
        """Tasks of a VM that was disabled since are still shown, by its UUID."""
        known = self._parts.store.registry.known(reference.lower())
        return known.vm_uuid if known is not None else self._parts.store.registry.find(reference).vm_uuid


def task_record(record: TaskRecord) -> Json:
    """A task as the API shows it: without who asked, which is the audit trail's, and what was asked, its rows'."""
    hidden = ("actor", "cancelled_by", "request")
    shown = {name: value for name, value in vars(record).items() if name not in hidden}
    return {**shown, "title": TITLES.get(record.kind, record.kind)}


def _with_task(rows: Json) -> Json:
    return {**rows, "task": task_record(rows["task"])}


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
