# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose agent shall be changed over to another, why, how, and what stands in the way. Pure."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from openngt.errors import OpenNGTError
from openngt.iso.manifest import ROLLBACK_SECONDS

from ..compatibility.judge import judge
from ..versions import version_order
from .refresh_plan import Candidate, Via, not_installed, obstacle_of

__all__ = ["HOLDER", "Planned", "UpgradeAsk", "check_ask", "plan_upgrade", "row_of"]

HOLDER = "service (agent upgrade)"
"""In whose name an upgrade mounts."""

MOST_IN_FLIGHT = 1000


@dataclass(frozen=True)
class UpgradeAsk:
    """A request for an upgrade, as the API takes it. None: not given."""

    vm: tuple[str, ...] | None = None
    version: str | None = None
    """None: the service's own agent."""
    allow_downgrade: bool = False
    via: Via = "auto"
    max_in_flight: int = 8
    batch: int | None = None
    max_fail_percentage: float = 20.0
    rollback_seconds: int = 120
    spread_seconds: float = 0.0
    wait_seconds: float = 180.0


@dataclass(frozen=True)
class Planned:
    candidate: Candidate
    upgrade: bool
    reason: str
    via: Literal["link", "iso"] | None = None
    obstacle: OpenNGTError | None = None
    """What it would fail with now."""


def check_ask(ask: UpgradeAsk, *, own_version: str) -> None:
    """INVALID_INPUT names the field; VERSION_UNSUPPORTED for an agent that would not work with this service."""
    if ask.vm is not None and not ask.vm:
        raise _invalid("vm", "the list is empty; leave it out for all enrolled VMs")
    if not 1 <= ask.max_in_flight <= MOST_IN_FLIGHT:
        raise _invalid("max_in_flight", f"{ask.max_in_flight} is not from 1 to {MOST_IN_FLIGHT}")
    if ask.batch is not None and ask.batch < 1:
        raise _invalid("batch", f"{ask.batch} is less than 1")
    if not 0 <= ask.max_fail_percentage <= 100:
        raise _invalid("max_fail_percentage", f"{ask.max_fail_percentage:g} is not from 0 to 100")
    least, most = ROLLBACK_SECONDS
    if not least <= ask.rollback_seconds <= most:
        raise _invalid("rollback_seconds", f"{ask.rollback_seconds} is not from {least} to {most}")
    if ask.version in (None, own_version):
        return
    if ask.via == "iso":
        raise _invalid("via", f"a tools ISO carries agent {own_version} alone; give another version via: link")
    support = judge(ask.version, own_version)
    if support.state in ("too_old", "too_new"):
        raise OpenNGTError("VERSION_UNSUPPORTED", support.message or "", {"version": ask.version})


def _invalid(field: str, message: str) -> OpenNGTError:
    return OpenNGTError("INVALID_INPUT", f"{field}: {message}", {"field": field})


def plan_upgrade(
    candidates: Sequence[Candidate], ask: UpgradeAsk, version: str, own_version: str, now: datetime.datetime
) -> list[Planned]:
    """One row for each candidate, in their order. `version` is what they shall run."""
    return [_plan(candidate, ask, version, own_version, now) for candidate in candidates]


def _plan(candidate: Candidate, ask: UpgradeAsk, version: str, own_version: str, now: datetime.datetime) -> Planned:
    name, running = candidate.vm_name, candidate.agent_version
    if not candidate.enrolled:
        return Planned(
            candidate, True, "was named", obstacle=OpenNGTError("NOT_ENROLLED", f"VM {name} has no guest tools enabled")
        )
    if running is None:
        if ask.vm is None:
            return Planned(candidate, False, "no agent has ever connected")
        return Planned(candidate, True, "was named", obstacle=not_installed(name))
    if running == version:
        return Planned(candidate, False, f"runs {running}")
    reason = f"runs {running}"
    if version_order(running) > version_order(version) and not ask.allow_downgrade:
        if ask.version is None:
            return Planned(candidate, False, f"{reason}, which is newer; allow_downgrade would take it back")
        message = f"VM {name} runs agent {running}; {version} is older"
        return Planned(candidate, True, reason, obstacle=OpenNGTError("DOWNGRADE_REFUSED", message))
    via: Literal["link", "iso"] = ask.via if ask.via != "auto" else "link"
    if ask.via == "auto" and not candidate.linked and version == own_version:
        via = "iso"
    return Planned(candidate, True, reason, via, obstacle_of(candidate, via, now, holder=HOLDER, verb="upgrade"))


def row_of(planned: Planned, version: str, reboot_required: bool | None) -> dict[str, Any]:
    """A row of the plan in the form that the rows of an upgrade have, too."""
    candidate, obstacle = planned.candidate, planned.obstacle
    return {
        "vm_uuid": candidate.vm_uuid,
        "vm_name": candidate.vm_name,
        "state": "unchanged" if not planned.upgrade else "due" if obstacle is None else "blocked",
        "reason": planned.reason,
        "via": planned.via,
        "tasks": [],
        "code": None if obstacle is None else obstacle.code,
        "message": None if obstacle is None else obstacle.message,
        "remedy": None if obstacle is None else obstacle.remedy,
        "old_version": candidate.agent_version,
        "new_version": version if planned.upgrade else candidate.agent_version,
        "reboot_required": reboot_required,
    }
