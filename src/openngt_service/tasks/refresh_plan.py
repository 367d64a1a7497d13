# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose certificate shall be refreshed, why, how, and what stands in the way. Pure.

Two numbers of days that must not be taken for each other: `validity_days` is the life of the new certificate,
`threshold_days` picks the VMs whose present one ends within so many days.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from openngt.errors import OpenNGTError
from openngt.pki.expiry import days_left

from ..hypervisors.base import HypervisorVm, describe_drives
from ..store.certificate_rows import Entry
from ..store.mounts import Mount
from .eject import vm_busy

__all__ = [
    "HOLDER",
    "Ask",
    "Candidate",
    "Lives",
    "Planned",
    "Via",
    "check_ask",
    "not_installed",
    "obstacle_of",
    "plan_refresh",
    "row_of",
]

Via = Literal["auto", "link", "iso"]

HOLDER = "service (certificate refresh)"
"""In whose name a refresh mounts; always the same, so that one that goes on after a restart takes up its own disc."""

MOST_VALIDITY_DAYS = 3650
DEFAULT_JITTER = 20
"""One part of so many of a certificate's life, where a fleet's request does not say."""


@dataclass(frozen=True)
class Ask:
    """A request for a refresh, as the API takes it. None: not given."""

    vm: tuple[str, ...] | None = None
    threshold_days: int | None = None
    validity_days: int | None = None
    via: Via = "auto"
    max_in_flight: int = 8
    jitter_days: int | None = None
    spread_seconds: float = 0.0
    wait_seconds: float = 180.0


@dataclass(frozen=True)
class Lives:
    """How long new certificates live: `longest` days, for each VM at random less by up to `jitter`."""

    longest: int
    jitter: int


@dataclass(frozen=True)
class Candidate:
    """A VM that was named or is enrolled, and what is known of it now."""

    vm_uuid: str
    vm_name: str
    enrolled: bool = True
    certificate: Entry | None = None
    agent_version: str | None = None
    """None: no agent has ever connected."""
    linked: bool = False
    mount: Mount | None = None
    seen: HypervisorVm | None = None
    """None: the hypervisor was not asked or does not have it."""


@dataclass(frozen=True)
class Planned:
    candidate: Candidate
    refresh: bool
    reason: str
    via: Literal["link", "iso"] | None = None
    obstacle: OpenNGTError | None = None
    """What it would fail with now."""


def check_ask(
    ask: Ask, *, default_days: int, ca_ends: datetime.datetime, now: datetime.datetime, several: bool
) -> Lives:
    """How long the new certificates will live, once the request makes sense; INVALID_INPUT names the field.

    `default_days` is the setting `validity_days`; `several`: more than one VM is meant.
    """
    if ask.vm is None and ask.threshold_days is None:
        raise _invalid("vm", "name VMs, or give threshold_days to take all that expire within so many days")
    if ask.vm is not None and not ask.vm:
        raise _invalid("vm", "the list is empty; leave it out to choose by threshold_days alone")
    if ask.threshold_days is not None and ask.threshold_days < 0:
        raise _invalid("threshold_days", f"{ask.threshold_days} is less than 0 (0: those that have expired)")
    if not 1 <= ask.max_in_flight <= 1000:
        raise _invalid("max_in_flight", f"{ask.max_in_flight} is not from 1 to 1000")
    left = (ca_ends - now).days
    longest = _longest(ask.validity_days, default_days, left, ca_ends)
    jitter = ask.jitter_days
    if jitter is None:
        # Who gives validity_days wants just that; else a fleet that was made in one night must not end in one.
        jitter = longest // DEFAULT_JITTER if several and ask.validity_days is None else 0
        if ask.threshold_days is not None:
            jitter = max(0, min(jitter, longest - ask.threshold_days - 1))
    if not 0 <= jitter < longest:
        raise _invalid("jitter_days", f"{jitter} is not from 0 to {longest - 1}, one less than the certificate's life")
    if ask.threshold_days is not None and ask.threshold_days >= longest - jitter:
        raise _invalid(
            "threshold_days",
            f"{ask.threshold_days} is not less than the {longest - jitter} days that a new certificate may live"
            f"{_why_so_short(longest, ask.validity_days or default_days, ca_ends)}: it would be due again at once. "
            "threshold_days picks VMs; validity_days is the new certificate's life",
        )
    return Lives(longest, jitter)


def _longest(wanted: int | None, default_days: int, left: int, ca_ends: datetime.datetime) -> int:
    if wanted is not None and not 1 <= wanted <= MOST_VALIDITY_DAYS:
        raise _invalid("validity_days", f"{wanted} is not from 1 to {MOST_VALIDITY_DAYS}")
    if left < 1:
        raise OpenNGTError("CA_EXPIRED", f"the CA ends on {ca_ends:%Y-%m-%d}; no certificate of it would last a day")
    if wanted is not None and wanted > left:
        message = f"{wanted} goes beyond the CA's own end on {ca_ends:%Y-%m-%d}; ask for {left} at most"
        raise _invalid("validity_days", message, at_most_days=left)
    return min(default_days if wanted is None else wanted, left)


def _why_so_short(longest: int, wanted: int, ca_ends: datetime.datetime) -> str:
    return f" (the CA ends on {ca_ends:%Y-%m-%d})" if longest < wanted else ""


def _invalid(field: str, message: str, **details: Any) -> OpenNGTError:
    return OpenNGTError("INVALID_INPUT", f"{field}: {message}", {"field": field, **details})


def plan_refresh(candidates: Sequence[Candidate], ask: Ask, now: datetime.datetime) -> list[Planned]:
    """One row for each candidate, in their order."""
    return [_plan(candidate, ask, now) for candidate in candidates]


def _plan(candidate: Candidate, ask: Ask, now: datetime.datetime) -> Planned:
    certificate = candidate.certificate
    usable = certificate is not None and certificate.state == "current"
    if not candidate.enrolled:
        enrol = OpenNGTError("NOT_ENROLLED", f"VM {candidate.vm_name} has no guest tools enabled")
        return Planned(candidate, True, "was named", obstacle=enrol)
    if not usable and candidate.agent_version is None:
        if ask.vm is None:
            return Planned(candidate, False, "no agent has ever connected")
        return Planned(candidate, True, "was named", obstacle=not_installed(candidate.vm_name))
    reason = "its certificate is not accepted any more"
    if usable and certificate is not None:
        left = days_left(certificate.not_after, now)
        reason = f"expires in {left} days" if left > 0 else f"expired on {certificate.not_after:%Y-%m-%d}"
        if ask.threshold_days is not None and left > ask.threshold_days:
            return Planned(candidate, False, f"{reason}, threshold_days is {ask.threshold_days}")
    if ask.threshold_days is None:
        reason = f"was named; {reason}"
    via = _way(candidate, ask.via)
    return Planned(candidate, True, reason, via, obstacle_of(candidate, via, now))


def _way(candidate: Candidate, via: Via) -> Literal["link", "iso"]:
    if via == "auto":
        return "link" if candidate.linked else "iso"
    return via


def obstacle_of(
    candidate: Candidate,
    via: Literal["link", "iso"],
    now: datetime.datetime,
    *,
    holder: str = HOLDER,
    verb: str = "refresh",
) -> OpenNGTError | None:
    """What the work would meet, as far as it can be seen from here. `holder`: in whose name it mounts."""
    name, seen, mount = candidate.vm_name, candidate.seen, candidate.mount
    if mount is not None and mount.holder != holder and mount.lease_ends > now:
        return vm_busy(mount)
    if via == "link":
        if candidate.linked:
            return None
        remedy = f"{verb} with via: auto or iso, which need no link"
        return OpenNGTError("LINK_NOT_ACTIVE", f"the agent of VM {name} is not connected", remedy=remedy)
    if seen is None:
        return OpenNGTError("VM_NOT_FOUND", f"the hypervisor has no VM {name} any more")
    if seen.power_state == "unknown":
        return OpenNGTError("HYPERVISOR_FAILED", f"the hypervisor cannot say what VM {name} does and holds")
    if seen.power_state != "on":
        message = f"VM {name} is {seen.power_state}; the disc would be read by nobody"
        return OpenNGTError("VM_POWERED_OFF", message, {"power_state": seen.power_state})
    if mount is None and not any(drive.state == "empty" for drive in seen.drives):
        held = describe_drives(seen.drives) if seen.drives else "the VM has no CD-ROM drive"
        drives = [{"name": drive.name, "state": drive.state, "holds": drive.holds} for drive in seen.drives]
        return OpenNGTError("NO_EMPTY_DRIVE", f"no drive is empty: {held}", {"drives": drives})
    return None


def not_installed(vm_name: str) -> OpenNGTError:
    return OpenNGTError("AGENT_NOT_INSTALLED", f"no agent of VM {vm_name} has ever connected")


def row_of(planned: Planned, days: int | None, now: datetime.datetime) -> dict[str, Any]:
    """A row of the plan in the form that the rows of a refresh have, too. `days`: the new certificate's life."""
    candidate, obstacle = planned.candidate, planned.obstacle
    state = "unchanged" if not planned.refresh else "due" if obstacle is None else "blocked"
    old = candidate.certificate
    return {
        "vm_uuid": candidate.vm_uuid,
        "vm_name": candidate.vm_name,
        "state": state,
        "reason": planned.reason,
        "via": planned.via,
        "key": None,
        "tasks": [],
        "code": None if obstacle is None else obstacle.code,
        "message": None if obstacle is None else obstacle.message,
        "remedy": None if obstacle is None else obstacle.remedy,
        "old_serial": None if old is None else old.serial_hex,
        "new_serial": None,
        "old_not_after": None if old is None else old.not_after,
        "new_not_after": None if state != "due" or days is None else now + datetime.timedelta(days=days),
    }
