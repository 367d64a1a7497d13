# SPDX-License-Identifier: GPL-3.0-or-later
"""Change the agent of one VM over to another while the guest runs: over its link, or by a disc in its drive.

Done means that the guest has kept the new agent: it has held its link, seen from both sides. What becomes of it is
decided in the guest, which takes the new agent back by itself; here it is waited for and told.
"""

import asyncio
import datetime
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from openngt import effects
from openngt.errors import REMEDIES, OpenNGTError
from openngt.failpoints import failpoint
from openngt.iso.manifest import Upgrade

from ..ports import SessionInfo
from ..store.audit import AuditEntry
from .eject import end_own_mount, vm_busy
from .engine import Progress
from .handover import call_agent, deliver, prepare
from .links import Links
from .mount import MountRequest, mount
from .packages import Package, make_offer, pieces
from .parts import Parts
from .refresh_plan import Via
from .upgrade_plan import HOLDER

__all__ = ["UpgradeRequest", "upgrade"]

log = structlog.get_logger(__name__)

Json = dict[str, Any]

METHOD_NOT_FOUND = -32601
FALL_BACK = ("LINK_NOT_ACTIVE", "AGENT_TIMED_OUT")
"""With `auto`: what makes an upgrade over the link go on by disc."""
SECONDS_BETWEEN_PIECES = 0.025
"""An agent may not send more than 50 messages a second, answers included."""
MOST_ATTEMPTS = 5
SPARE = datetime.timedelta(minutes=5)


@dataclass(frozen=True)
class UpgradeRequest:
    vm_uuid: str
    id: str
    """By which the guest reports what became of it; the same after a restart of the service."""
    old_version: str | None
    package: Package
    allow_downgrade: bool
    via: Via
    rollback_seconds: int
    wait_seconds: float
    """How long the agent may take for a step, its trial apart."""

    @property
    def wish(self) -> Upgrade:
        return Upgrade(self.id, self.allow_downgrade, self.rollback_seconds)


async def upgrade(
    parts: Parts, links: Links, request: UpgradeRequest, own_version: str, actor: str, progress: Progress
) -> Json:
    """The work of a VM's upgrade task: `{"via", "old_version", "new_version", "reboot_required", "disc_left"}`.

    Raises UPGRADE_ROLLED_BACK, UPGRADE_INVALID, UPGRADE_UNDER_WAY, DOWNGRADE_REFUSED, NO_SPACE, METHOD_BLOCKED,
    AGENT_TOO_OLD, AGENT_TIMED_OUT, LINK_NOT_ACTIVE, NOT_ENROLLED, VM_BUSY, and what a mount raises.
    """
    await progress.step(5, "looking at the VM")
    parts.enrolled(request.vm_uuid)
    parts.engine.require_unclaimed(request.vm_uuid)
    held = parts.store.mounts.get(request.vm_uuid)
    if held is not None and held.holder != HOLDER and held.phase == "mounted" and held.lease_ends > effects.now():
        raise vm_busy(held)
    try:
        via = await _change_over(parts, links, request, own_version, actor, progress)
        await _verdict(parts, links, request, actor, progress)
    finally:
        left = await end_own_mount(parts, request.vm_uuid, HOLDER, actor=actor)
    status = links.view(request.vm_uuid).row.status or {}
    details = {"from": request.old_version, "to": request.package.version, "via": via}
    await parts.store.audit.record(AuditEntry(actor, "agent.upgrade", request.vm_uuid, details=details))
    return {
        "via": via,
        "old_version": request.old_version,
        "new_version": request.package.version,
        "reboot_required": status.get("reboot_required"),
        "disc_left": left,
    }


async def _change_over(
    parts: Parts, links: Links, request: UpgradeRequest, own_version: str, actor: str, progress: Progress
) -> Literal["link", "iso"] | None:
    """Bring the package to the guest; None when it is there already, from before a restart of the service."""
    session = parts.gateway.session(request.vm_uuid)
    if session is not None and (_reported(links, request) or session.agent_version == request.package.version):
        return None
    by_disc = request.package.version == own_version
    if session is None and (request.via == "link" or not by_disc):
        refusal = links.view(request.vm_uuid).row.refusal_reason
        raise OpenNGTError(
            "LINK_NOT_ACTIVE",
            "the agent is not connected" + (f"; the gateway last refused it: {refusal}" if refusal else ""),
            remedy="upgrade with via: auto or iso, which need no link",
        )
    if session is not None and request.via != "iso":
        try:
            await _over_link(parts, links, request, progress)
        except OpenNGTError as exc:
            if request.via != "auto" or exc.code not in FALL_BACK or not by_disc:
                raise
            log.info("upgrade_by_disc", vm_uuid=request.vm_uuid, because=exc.code, message=exc.message)
        else:
            return "link"
    await _by_disc(parts, request, actor, progress)
    return "iso"


async def _over_link(parts: Parts, links: Links, request: UpgradeRequest, progress: Progress) -> None:
    """A link that breaks meanwhile is waited for; what has come is not sent again."""
    for attempt in range(1, MOST_ATTEMPTS + 1):
        try:
            await _send(parts, request, progress)
        except OpenNGTError as exc:
            if exc.code not in FALL_BACK or attempt == MOST_ATTEMPTS:
                raise
            log.info("upgrade_link_broke", vm_uuid=request.vm_uuid, attempt=attempt, message=exc.message)
            session = await links.until(request.vm_uuid, lambda session: True, request.wait_seconds)
            if session is None:
                raise
            if _reported(links, request):
                return  # the answer to the commit got lost
        else:
            return


async def _send(parts: Parts, request: UpgradeRequest, progress: Progress) -> None:
    package, vm_uuid = request.package, request.vm_uuid
    await progress.step(10, f"offering agent {package.version}")
    offer = await asyncio.to_thread(
        make_offer,
        parts.store.ledger.authority,
        package,
        request.wish,
        vm_uuid=vm_uuid,
        cluster_uuid=parts.media.cluster.cluster_uuid,
        now=effects.now(),
    )
    failpoint("tasks.upgrade.offered")
    here = _offset(await _call(parts, vm_uuid, "agent.upgrade.offer", offer), package)
    await progress.step(20, f"sending it, {len(package.content) >> 10} KiB")
    for offset, data in pieces(package, here):
        piece = {"id": request.id, "offset": offset, "data": data}
        await _call(parts, vm_uuid, "agent.upgrade.chunk", piece)
        await asyncio.sleep(SECONDS_BETWEEN_PIECES)
    failpoint("tasks.upgrade.sent")
    await _call(parts, vm_uuid, "agent.upgrade.commit", {"id": request.id})
    failpoint("tasks.upgrade.committed")


def _offset(answer: Json, package: Package) -> int:
    offset = answer.get("offset")
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset <= len(package.content):
        raise OpenNGTError("AGENT_FAILED", "the agent's result of agent.upgrade.offer has no offset")
    return offset


async def _by_disc(parts: Parts, request: UpgradeRequest, actor: str, progress: Progress) -> None:
    """A tools disc that asks the running agent to change over; it brings a new identity along."""
    await end_own_mount(parts, request.vm_uuid, HOLDER, actor=actor)  # one of an upgrade before this one
    await progress.step(10, "putting a disc with the agent into a drive")
    lease = datetime.timedelta(seconds=3 * request.wait_seconds + request.rollback_seconds) + SPARE
    wanted = MountRequest(request.vm_uuid, HOLDER, lease, upgrade=request.wish)
    await progress.part("mount", lambda part: mount(parts, wanted, actor, part))
    failpoint("tasks.upgrade.mounted")


async def _verdict(parts: Parts, links: Links, request: UpgradeRequest, actor: str, progress: Progress) -> None:
    """Wait until the guest says what became of it. An agent that came with a disc's identity gets its own meanwhile."""
    await progress.step(60, f"waiting for agent {request.package.version} to hold its link")
    limit = request.rollback_seconds + 2 * request.wait_seconds
    ends = asyncio.get_running_loop().time() + limit
    rotated: dict[str, bool] = {}  # sessions on a disc's identity that were given their own: has the agent taken it?

    def news(session: SessionInfo) -> bool:
        if session.kind == "bootstrap" and rotated.get(session.session, True):
            return session.session not in rotated  # one that has taken its own comes back with it
        return _fate(links, request) is not None

    while True:
        left = max(0.0, ends - asyncio.get_running_loop().time())
        session = await links.until(request.vm_uuid, news, left)
        if session is None:
            raise _no_word(links, request, limit)
        if session.kind == "bootstrap" and session.session not in rotated:
            rotated[session.session] = await _rotate(parts, request, actor)
            continue
        _judge(_fate(links, request) or {}, request)
        return


async def _rotate(parts: Parts, request: UpgradeRequest, actor: str) -> bool:
    try:
        await deliver(parts, await prepare(parts, parts.enrolled(request.vm_uuid), None, actor=actor))
    except OpenNGTError as exc:  # it changes over in this moment; the one that comes then is asked again
        log.info("upgrade_rotation_failed", vm_uuid=request.vm_uuid, code=exc.code)
        return False
    return True


def _reported(links: Links, request: UpgradeRequest) -> Json | None:
    """What the connected agent says of this upgrade, however far it is."""
    view = links.view(request.vm_uuid)
    said = (view.row.status or {}).get("upgrade") if view.session is not None else None
    return said if isinstance(said, dict) and said.get("id") == request.id else None


def _fate(links: Links, request: UpgradeRequest) -> Json | None:
    """The end of this upgrade, once it has one."""
    said = _reported(links, request)
    if said is not None and said.get("state") in ("kept", "rolled_back", "failed"):
        return said
    view = links.view(request.vm_uuid)
    other = said is None and view.session is not None and view.session.agent_version == request.package.version
    # Somebody installed the very version meanwhile: there is nothing to wait for.
    return {"state": "kept"} if other and _no_upgrade(view.row.status) else None


def _no_upgrade(status: Json | None) -> bool:
    said = (status or {}).get("upgrade")
    return not isinstance(said, dict) or said.get("state") != "on_trial"


def _judge(fate: Json, request: UpgradeRequest) -> None:
    if fate["state"] == "kept":
        return
    code = fate.get("code")
    if code not in REMEDIES:
        code = "UPGRADE_ROLLED_BACK" if fate["state"] == "rolled_back" else "UPGRADE_INVALID"
    message = fate.get("message")
    text = message[:500] if isinstance(message, str) else f"agent {request.package.version} was not taken"
    raise OpenNGTError(str(code), text, {"version": request.package.version, "serves": request.old_version})


def _no_word(links: Links, request: UpgradeRequest, limit: float) -> OpenNGTError:
    view = links.view(request.vm_uuid)
    state = f"agent {view.session.agent_version} is connected" if view.session is not None else "no agent is connected"
    return OpenNGTError(
        "AGENT_TIMED_OUT",
        f"the guest has not said within {limit:g} s what became of agent {request.package.version}; {state}",
        {"last_refusal": view.row.refusal_reason},
    )


async def _call(parts: Parts, vm_uuid: str, method: str, params: Json) -> Json:
    try:
        return await call_agent(parts, vm_uuid, method, params)
    except OpenNGTError as exc:
        if exc.details.get("agent_code") != METHOD_NOT_FOUND:
            raise
        session = parts.gateway.session(vm_uuid)
        version = "unknown" if session is None else session.agent_version
        message = f"the agent (version {version}) cannot be upgraded by the service"
        remedy = "install the new agent once: playbook openngt.guest_tools.install"
        raise OpenNGTError("AGENT_TOO_OLD", message, {"agent_version": version}, remedy) from exc
