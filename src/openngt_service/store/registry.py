# SPDX-License-Identifier: GPL-3.0-or-later
"""The enrolled VMs, mirrored in memory: reads cost no I/O, a write is durable before the mirror shows it."""

import bisect
import dataclasses
import datetime
import difflib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, select, update

from openngt import effects
from openngt.errors import OpenNGTError

from . import audit, schema
from .database import Database

__all__ = [
    "Capabilities",
    "Registry",
    "Vm",
    "near_names",
    "not_enrolled",
    "raise_generations",
    "read_vms",
    "save",
    "vm_not_found",
]

MOST_AHEAD = 1_000_000
"""A restore raises generations by a thousand; a VM refreshed each hour for a century would use fewer."""
MOST_COMPARED = 100

RAISE_GENERATION = (
    update(schema.vms)
    .where(schema.vms.c.vm_uuid == bindparam("of_vm"), schema.vms.c.generation < bindparam("to"))
    .values(generation=bindparam("to"))
)


@dataclass(frozen=True)
class Capabilities:
    vss_snapshot: bool = True
    self_service_restore: bool = True

    def to_dict(self) -> dict[str, bool]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Vm:
    """A VM that is, or once was, enrolled. A disabled one stays: its generation must go on rising (T18)."""

    vm_uuid: str
    vm_name: str
    ngt_uuid: str
    enabled: bool
    capabilities: Capabilities
    generation: int
    enrolled_at: datetime.datetime


def near_names(wanted: str, names: Iterable[str]) -> list[str]:
    """Up to five names that somebody who wrote `wanted`, in whatever case, may have meant.

    Of a large fleet only those are compared that stand next to it in the alphabet: with ten thousand names the whole
    comparison takes most of a second, in which no agent's heartbeat is answered.
    """
    folded = {name.casefold(): name for name in names}
    known = sorted(folded)
    if len(known) > MOST_COMPARED:
        place = bisect.bisect(known, wanted.casefold())
        known = known[max(0, place - MOST_COMPARED // 2) : place + MOST_COMPARED // 2]
    return [folded[name] for name in difflib.get_close_matches(wanted.casefold(), known, n=5, cutoff=0.5)]


def vm_not_found(reference: str, message: str, names: Iterable[str]) -> OpenNGTError:
    """VM_NOT_FOUND with those of the names that are like the one that was asked for."""
    near = near_names(reference, names)
    hint = f"; near names: {', '.join(near)}" if near else ""
    return OpenNGTError("VM_NOT_FOUND", message + hint, {"vm": reference, "near": near})


def not_enrolled(reference: str, near: Sequence[str] = ()) -> OpenNGTError:
    return OpenNGTError(
        "NOT_ENROLLED", f"VM {reference} has no guest tools enabled", {"vm": reference, "near": [*near]}
    )


class Registry:
    """`load` once before use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._vms: dict[str, Vm] = {}
        self._by_name: list[Vm] | None = None
        self._generations: dict[str, int] = {}

    async def load(self) -> None:
        """Read the VMs from the database."""
        self._vms = {vm.vm_uuid: vm for vm in await self._database.read(read_vms)}
        self._by_name = None
        self._generations = {vm.vm_uuid: vm.generation for vm in self._vms.values()}

    def get(self, vm_uuid: str) -> Vm | None:
        """The enabled VM of that UUID."""
        vm = self._vms.get(vm_uuid)
        return vm if vm is not None and vm.enabled else None

    def find(self, reference: str) -> Vm:
        """The one enabled VM whose UUID or name this is. NOT_ENROLLED (with near names) or VM_AMBIGUOUS otherwise."""
        by_uuid = self.get(reference.lower())
        if by_uuid is not None:
            return by_uuid
        found = [vm for vm in self.all() if vm.vm_name == reference]
        if len(found) == 1:
            return found[0]
        if not found:
            raise not_enrolled(reference, near_names(reference, (vm.vm_name for vm in self.all())))
        raise OpenNGTError(
            "VM_AMBIGUOUS",
            f"{len(found)} enrolled VMs are named {reference}",
            {"vm": reference, "vms": [{"vm_uuid": vm.vm_uuid, "vm_name": vm.vm_name} for vm in found]},
        )

    def all(self) -> Sequence[Vm]:
        """Every enabled VM, by name, then UUID."""
        if self._by_name is None:
            self._by_name = sorted((vm for vm in self._vms.values() if vm.enabled), key=_order)
        return self._by_name

    def reserve_generation(self, vm_uuid: str) -> int:
        """The VM's next generation, never given twice in this process; NOT_ENROLLED for a VM that is not enabled.

        It reaches the database with the certificate that carries it. One that was lost with the process before that
        was never seen by anybody, so it may be given again.
        """
        if self.get(vm_uuid) is None:
            raise not_enrolled(vm_uuid)
        self._generations[vm_uuid] += 1
        return self._generations[vm_uuid]

    def learn_generation(self, vm_uuid: str, generation: int) -> bool:
        """The VM's agent holds a certificate of that generation, which a database from a backup does not know of.

        What is issued from here on is newer; it reaches the database with that. False when it is nothing new, or so
        far ahead that no service can have given it: whoever has the CA's key must not use the numbers up.
        """
        known = self._generations.get(vm_uuid)
        if self.get(vm_uuid) is None or known is None or not known < generation <= known + MOST_AHEAD:
            return False
        self._generations[vm_uuid] = generation
        return True

    async def enable(self, vm_uuid: str, vm_name: str, capabilities: Capabilities, *, actor: str) -> tuple[Vm, bool]:
        """Enrol, or bring name and capabilities up to date; True when the VM is new or was disabled.

        A VM that comes back gets a new `ngt_uuid` and goes on with its generation: it is another life of that VM.
        """
        known = self._vms.get(vm_uuid)
        created = known is None or not known.enabled
        vm = Vm(
            vm_uuid,
            vm_name,
            str(uuid.uuid4()) if created or known is None else known.ngt_uuid,
            True,
            capabilities,
            known.generation if known else 0,
            effects.now() if created or known is None else known.enrolled_at,
        )
        if vm == known:
            return vm, False
        details = {"vm_name": vm_name, "ngt_uuid": vm.ngt_uuid, "new": created, **capabilities.to_dict()}

        def write(connection: Connection) -> None:
            save(connection, vm, new=known is None)
            audit.append(connection, [audit.AuditEntry(actor, "vm.enable", vm_uuid, details=details)])

        await self._database.write(write, committed=lambda _: self.remember(vm))
        return self._vms[vm_uuid], created

    def note_generation(self, vm_uuid: str, generation: int) -> None:
        """A certificate of that generation has been committed."""
        vm = self._vms[vm_uuid]
        self.remember(dataclasses.replace(vm, generation=max(generation, vm.generation)))

    def known(self, vm_uuid: str) -> Vm | None:
        """The row of that UUID, enabled or not."""
        return self._vms.get(vm_uuid)

    def remember(self, vm: Vm) -> None:
        """Show in the mirror what has just been committed. Generations only rise, whatever order news comes in."""
        generation = max(vm.generation, self._vms[vm.vm_uuid].generation if vm.vm_uuid in self._vms else 0)
        self._vms[vm.vm_uuid] = dataclasses.replace(vm, generation=generation)
        self._by_name = None
        self._generations[vm.vm_uuid] = max(generation, self._generations.get(vm.vm_uuid, 0))


def _order(vm: Vm) -> tuple[str, str]:
    return vm.vm_name, vm.vm_uuid


def read_vms(connection: Connection) -> list[Vm]:
    """Every row, those of disabled VMs included."""
    return [
        Vm(
            row.vm_uuid,
            row.vm_name,
            row.ngt_uuid,
            row.enabled,
            Capabilities(row.vss_snapshot, row.self_service_restore),
            row.generation,
            row.enrolled_at,
        )
        for row in connection.execute(select(schema.vms))
    ]


def save(connection: Connection, vm: Vm, *, new: bool) -> None:
    """Write a VM's row but for its generation, which `raise_generations` alone may change."""
    values = {
        "vm_name": vm.vm_name,
        "ngt_uuid": vm.ngt_uuid,
        "enabled": vm.enabled,
        "enrolled_at": vm.enrolled_at,
        **vm.capabilities.to_dict(),
    }
    if new:
        connection.execute(insert(schema.vms), {"vm_uuid": vm.vm_uuid, "generation": vm.generation, **values})
    else:
        connection.execute(update(schema.vms).where(schema.vms.c.vm_uuid == vm.vm_uuid).values(**values))


def raise_generations(connection: Connection, generations: Mapping[str, int]) -> None:
    """Note the generations that certificates carry; a lower one than the row's changes nothing."""
    if generations:
        raised = [{"of_vm": vm_uuid, "to": generation} for vm_uuid, generation in generations.items()]
        connection.execute(RAISE_GENERATION, raised)
