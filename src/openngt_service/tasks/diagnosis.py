# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service sees of one VM's link, gathered for `openngt.diagnosis`. Reads only."""

import asyncio
import contextlib
import datetime
import ipaddress
from collections.abc import Iterator
from typing import Any

from openngt import effects
from openngt.diagnosis.decide import decide
from openngt.diagnosis.evidence import ServiceSaw
from openngt.errors import OpenNGTError
from openngt.version import __version__

from ..hypervisors.base import HypervisorVm
from ..store.certificate_rows import Entry
from ..store.mounts import Mount
from ..store.registry import Vm
from ..store.task_rows import TaskRecord
from .links import Links, LinkView
from .parts import Parts
from .record import serial_port_held_until

__all__ = ["diagnose"]

Json = dict[str, Any]
STRANGER_LIFE = datetime.timedelta(minutes=15)
SELF_SECONDS = 1.0


async def diagnose(parts: Parts, links: Links, reference: str) -> Json:
    """The diagnosis from the service's side alone, with `service_saw`, the evidence behind it.

    A VM that the hypervisor has and the registry has not is diagnosed, too; VM_NOT_FOUND when neither knows it.
    """
    try:
        vm = parts.store.registry.find(reference)
    except OpenNGTError as error:
        if error.code != "NOT_ENROLLED":
            raise
        saw = await _of_stranger(parts, reference, error)
    else:
        saw = await _of_enrolled(parts, links, vm)
    return {**decide(saw, None), "service_saw": saw}


async def _of_stranger(parts: Parts, reference: str, error: OpenNGTError) -> ServiceSaw:
    try:
        seen = await parts.hypervisor.one(reference)
    except OpenNGTError as exc:
        raise (error if exc.code == "HYPERVISOR_FAILED" else exc) from None
    known = parts.store.registry.known(seen.vm_uuid)
    return {
        **await _of_service(parts),
        "vm_uuid": seen.vm_uuid,
        "vm_name": seen.vm_name,
        "enrolled": False,
        "generation": known.generation if known else 0,
        **_of_hypervisor(seen),
    }


async def _of_enrolled(parts: Parts, links: Links, vm: Vm) -> ServiceSaw:
    view = links.view(vm.vm_uuid)
    mount = parts.store.mounts.get(vm.vm_uuid)
    tasks = await parts.store.tasks.page(vm_uuid=vm.vm_uuid, limit=1)
    return {
        **await _of_service(parts),
        "vm_uuid": vm.vm_uuid,
        "vm_name": vm.vm_name,
        "enrolled": True,
        "generation": vm.generation,
        **await _ask_hypervisor(parts, vm.vm_uuid),
        "link": _link(view),
        "agent_version": view.row.agent_version,
        "certificates": [_certificate(entry) for entry in parts.store.ledger.entries_of(vm.vm_uuid)],
        "mount": None if mount is None else _mount(mount),
        "last_task": _task(tasks.items[0]) if tasks.items else None,
        "strangers": _strangers(links, view),
    }


async def _of_service(parts: Parts) -> ServiceSaw:
    settings, store = parts.settings, parts.store
    port = parts.gateway.port
    told, bound = settings.cluster_ip or "", settings.gateway_host
    return {
        "time": _text(effects.now()) or "",
        "available_version": __version__,
        "gateway": {
            "host": told,
            "port": settings.gateway_port or port,
            "listens": bool(port),
            "bound_to": bound,
            "refused_here": not _is_everywhere(bound) and bound != told and await _refuses(told, port),
        },
        "ca_sha256": store.ledger.authority.ca_sha256,
        "cluster_uuid": store.identity.cluster_uuid,
    }


async def _ask_hypervisor(parts: Parts, vm_uuid: str) -> ServiceSaw:
    try:
        found = await parts.hypervisor.find(vm_uuid)
    except OpenNGTError as error:
        return {"on_hypervisor": None, "hypervisor_error": error.message, "power_state": "unknown"}
    return _of_hypervisor(found[0]) if found else {"on_hypervisor": False}


def _of_hypervisor(seen: HypervisorVm) -> ServiceSaw:
    drives = [{"name": drive.name, "state": drive.state, "holds": drive.holds} for drive in seen.drives]
    return {
        "on_hypervisor": True,
        "power_state": seen.power_state,
        "cdrom_drives": drives,
        "serial_port": seen.serial_port,
    }


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


async def _refuses(host: str, port: int) -> bool:
    """Whether a connection to where agents are sent is refused here. No answer, or no way to go there, is none."""
    try:
        async with asyncio.timeout(SELF_SECONDS):
            _reader, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return False


def _link(view: LinkView) -> Json:
    row = view.row
    refusal = None if row.refusal_at is None else {"reason": row.refusal_reason, "at": _text(row.refusal_at)}
    return {
        "active": view.active,
        "transport": None if view.session is None else view.session.transport,
        "serial_port_held_until": _text(serial_port_held_until(view, effects.now())),
        "since": _text(row.since),
        "peer": row.peer,
        "last_seen": _text(row.last_seen),
        "last_refusal": refusal,
        "ended": None if view.ended is None else {"reason": view.ended.reason, "at": _text(view.ended.at)},
    }


def _certificate(entry: Entry) -> Json:
    return {
        "serial": entry.serial_hex,
        "state": entry.state,
        "kind": entry.kind,
        "generation": entry.generation,
        "not_before": _text(entry.not_before),
        "not_after": _text(entry.not_after),
    }


def _mount(mount: Mount) -> Json:
    return {
        "phase": mount.phase,
        "drive": mount.drive,
        "generation": mount.generation,
        "holder": mount.holder,
        "since": _text(mount.since),
        "lease_ends": _text(mount.lease_ends),
    }


def _task(task: TaskRecord) -> Json:
    error = task.error or {}
    return {
        "task_id": task.task_id,
        "kind": task.kind,
        "state": task.state,
        "code": error.get("code"),
        "updated": _text(task.updated),
    }


def _strangers(links: Links, view: LinkView) -> list[Json]:
    """Refused of late from an address that is this VM's, as far as the service knows. Behind NAT it is others', too."""
    own = set(_addresses(view))
    since = effects.now() - STRANGER_LIFE
    return [
        {"reason": stranger.reason, "peer": stranger.peer, "at": _text(stranger.at)}
        for stranger in links.strangers
        if stranger.at > since and _host(stranger.peer) in own
    ]


def _addresses(view: LinkView) -> Iterator[str]:
    if view.row.peer:
        yield _host(view.row.peer)
    # The record is the guest's own word, of any shape.
    for interface in _objects((view.row.status or {}).get("network_interfaces")):
        for address in [*_objects(interface.get("ipv4")), *_objects(interface.get("ipv6"))]:
            yield str(address.get("ip_address"))


def _objects(value: object) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _host(peer: str) -> str:
    return peer.rpartition(":")[0].strip("[]")


def _text(value: datetime.datetime | None) -> str | None:
    return None if value is None else value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
