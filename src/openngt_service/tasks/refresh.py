# SPDX-License-Identifier: GPL-3.0-or-later
"""Refresh the certificate of one VM while its agent runs: over its link, or by a disc in its drive.

Done means that the agent has come with the new serial: then it is `current`, and the old one is retired. Each step can
be repeated; one that was cut short, in the guest or here, leaves the old identity or the new one good, whichever the
agent has. So what an agent may have been given is never taken back.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import structlog

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.failpoints import failpoint

from ..ports import SessionInfo
from ..store.certificate_rows import Entry
from ..store.registry import Vm
from .eject import end_own_mount, vm_busy
from .engine import Progress
from .handover import KeyMaker, deliver, prepare
from .links import Links
from .mount import MountRequest, mount
from .parts import Parts
from .refresh_plan import HOLDER, Via, not_installed

__all__ = ["RefreshRequest", "refresh"]

log = structlog.get_logger(__name__)

FALL_BACK = ("AGENT_TOO_OLD", "LINK_NOT_ACTIVE", "AGENT_TIMED_OUT")
"""With `auto`: what makes a refresh over the link go on by disc. A guest's administrator who blocks it is obeyed."""

SPARE = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class RefreshRequest:
    vm_uuid: str
    old_serial: str | None
    """The certificate that shall be replaced; another long-lived one in its place means that the work is done."""
    validity_days: int
    via: Via
    wait_seconds: float
    """How long the agent may take for a step."""
    unheard: bool = False
    """Also for a VM whose agent has never connected: a clone's came with its disk."""


@dataclass(frozen=True)
class _Renewed:
    entry: Entry
    via: Literal["link", "iso"] | None
    key: KeyMaker | None


async def refresh(
    parts: Parts, links: Links, request: RefreshRequest, actor: str, progress: Progress
) -> dict[str, Any]:
    """The work of a VM's refresh task: `{"via", "key", "generation", "old_serial", "new_serial", "new_not_after", …}`.

    Raises NOT_ENROLLED, METHOD_BLOCKED, AGENT_TOO_OLD, AGENT_TIMED_OUT, LINK_NOT_ACTIVE, what the agent refused with,
    and what a mount raises.
    """
    await progress.step(5, "looking at the VM")
    _require_ready(parts, links, parts.enrolled(request.vm_uuid), unheard=request.unheard)
    done = _done(parts, request)
    try:
        renewed = (
            _Renewed(done, None, None) if done is not None else await _renew(parts, links, request, actor, progress)
        )
    except OpenNGTError:
        await end_own_mount(parts, request.vm_uuid, HOLDER, actor=actor)
        raise
    await progress.step(90, "taking the ISO out" if renewed.via == "iso" else "looking at the drives")
    left = await end_own_mount(parts, request.vm_uuid, HOLDER, actor=actor)
    entry = renewed.entry
    return {
        "via": renewed.via,
        "key": renewed.key,
        "generation": entry.generation,
        "old_serial": request.old_serial,
        "new_serial": entry.serial_hex,
        "new_not_after": entry.not_after.isoformat().replace("+00:00", "Z"),
        "disc_left": left,
    }


def _require_ready(parts: Parts, links: Links, vm: Vm, *, unheard: bool) -> None:
    """VM_BUSY also for a refresh over the link: a newer certificate would retire the one on another's disc."""
    parts.engine.require_unclaimed(vm.vm_uuid)
    held = parts.store.mounts.get(vm.vm_uuid)
    if held is not None and held.holder != HOLDER and held.phase == "mounted" and held.lease_ends > effects.now():
        raise vm_busy(held)
    certificate = parts.store.ledger.certificate_of(vm.vm_uuid)
    installed = certificate is not None and certificate.state == "current"
    if not installed and not unheard and links.view(vm.vm_uuid).row.agent_version is None:
        raise not_installed(vm.vm_name)


def _done(parts: Parts, request: RefreshRequest) -> Entry | None:
    """The new certificate, when the agent has come with it already: before a restart, or for another's refresh."""
    entry = parts.store.ledger.certificate_of(request.vm_uuid)
    if entry is None or (entry.state, entry.kind) != ("current", "link") or entry.serial_hex == request.old_serial:
        return None
    return entry


async def _renew(parts: Parts, links: Links, request: RefreshRequest, actor: str, progress: Progress) -> _Renewed:
    session = parts.gateway.session(request.vm_uuid)
    if session is None and request.via == "link":
        refusal = links.view(request.vm_uuid).row.refusal_reason
        raise OpenNGTError(
            "LINK_NOT_ACTIVE",
            "the agent is not connected" + (f"; the gateway last refused it: {refusal}" if refusal else ""),
            remedy="refresh with via: auto or iso, which need no link",
        )
    # An agent that lives on a disc's identity has taken the disc before a restart, and needs no other.
    if session is None or (request.via == "iso" and session.kind != "bootstrap"):
        return await _by_disc(parts, links, request, actor, progress)
    held = parts.store.mounts.get(request.vm_uuid)
    try:
        renewed = await _over_link(parts, links, request, actor, progress, own_key_only=session.kind != "bootstrap")
    except OpenNGTError as exc:
        if request.via != "auto" or exc.code not in FALL_BACK:
            raise
        log.info("refresh_by_disc", vm_uuid=request.vm_uuid, because=exc.code, message=exc.message)
        return await _by_disc(parts, links, request, actor, progress)
    return replace(renewed, via="iso") if held is not None and held.holder == HOLDER else renewed


async def _over_link(
    parts: Parts,
    links: Links,
    request: RefreshRequest,
    actor: str,
    progress: Progress,
    *,
    own_key_only: bool,
) -> _Renewed:
    await progress.step(60, "asking the agent for its request, issuing the certificate")
    vm = parts.enrolled(request.vm_uuid)
    handover = await prepare(parts, vm, request.validity_days, actor=actor, own_key_only=own_key_only)
    failpoint("tasks.refresh.issued")
    await progress.step(70, "handing it to the agent")
    try:
        await deliver(parts, handover)
    except OpenNGTError as exc:
        if exc.details.get("outcome") != "unknown":
            raise
        log.info("refresh_answer_lost", vm_uuid=vm.vm_uuid, code=exc.code)  # who comes now tells what it has
    failpoint("tasks.refresh.handed")
    await progress.step(80, "waiting for the agent to come with it")
    serial = handover.entry.serial
    await _come(links, request, lambda session: session.serial == serial, f"serial {handover.entry.serial_hex}")
    return _Renewed(handover.entry, "link", handover.key)


async def _by_disc(parts: Parts, links: Links, request: RefreshRequest, actor: str, progress: Progress) -> _Renewed:
    """A disc with the identity alone, which the running agent takes; over that session it gets the long-lived one."""
    await progress.step(10, "putting a disc with the new identity into a drive")
    lease = datetime.timedelta(seconds=3 * request.wait_seconds) + SPARE
    wanted = MountRequest(request.vm_uuid, HOLDER, lease, config_only=True, validity_days=request.validity_days)
    mounted = await progress.part("mount", lambda part: mount(parts, wanted, actor, part))
    failpoint("tasks.refresh.mounted")
    await progress.step(40, "waiting for the agent to take the disc")
    generation = mounted["generation"]
    session = await _come(
        links, request, lambda session: session.generation >= generation, f"generation {generation} from the disc"
    )
    failpoint("tasks.refresh.taken")
    if session.kind == "bootstrap":
        try:
            renewed = await _over_link(parts, links, request, actor, progress, own_key_only=False)
        except OpenNGTError as exc:
            raise _on_disc_identity(exc, mounted["expires"]) from exc
        return replace(renewed, via="iso")
    entry = parts.store.ledger.entry(session.serial)
    assert entry is not None, "the gateway lets no unknown serial in"
    return _Renewed(entry, "iso", None)


async def _come(links: Links, request: RefreshRequest, wanted: Callable[[SessionInfo], bool], what: str) -> SessionInfo:
    session = await links.until(request.vm_uuid, wanted, request.wait_seconds)
    if session is None:
        view = links.view(request.vm_uuid)
        state = "it is connected with its old one" if view.active else "it is not connected"
        raise OpenNGTError(
            "AGENT_TIMED_OUT",
            f"the agent has not come with {what} within {request.wait_seconds:g} s; {state}",
            {"last_refusal": view.row.refusal_reason},
        )
    return session


def _on_disc_identity(exc: OpenNGTError, expires: str) -> OpenNGTError:
    message = f"{exc.message}; the agent has taken the disc's identity, which ends {expires}, and is asked again"
    return OpenNGTError(exc.code, message, exc.details)
