# SPDX-License-Identifier: GPL-3.0-or-later
"""When a CA is due to be followed by the next, what a step would do, and which agents stand in its way. Pure.

An agent holds the CAs that were handed to it with the certificate it uses: both stand in one file, and the ledger has
the certificate with the CAs. So nobody has to be asked, and an agent of an earlier release counts like any other.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from openngt.errors import OpenNGTError
from openngt.pki.rollover import Succession

from ..store.certificate_rows import LIVE, Entry

__all__ = ["STEPS", "Advice", "Seen", "Step", "Verdict", "advise", "behind", "judge"]

Json = dict[str, Any]
Step = Literal["prepare", "activate", "retire", "abort"]
STEPS: tuple[Step, ...] = ("prepare", "activate", "retire", "abort")

PREPARE_AT, ACTIVATE_AT = 2, 6
"""One part of so many of the CA's life is left (T14)."""
NAMED_IN_ERROR = 5


@dataclass(frozen=True)
class Seen:
    """An enrolled VM."""

    vm_uuid: str
    vm_name: str
    linked: bool
    certificate: Entry | None
    """What the VM connects with, else its newest."""
    entries: Sequence[Entry]
    """All that the ledger holds of it."""


@dataclass(frozen=True)
class Verdict:
    change: bool
    reason: str


@dataclass(frozen=True)
class Advice:
    """The step that it is time for."""

    step: Step
    state: Literal["INFO", "WARN"]
    message: str

    @property
    def command(self) -> str:
        return f"openngt ca rollover {self.step}"


def advise(succession: Succession, now: datetime.datetime) -> Advice | None:
    """None while there is nothing to do. A rollover that is activated waits for `retire`."""
    ends, half, sixth = _dates(succession)
    if succession.phase == "activated":
        return Advice("retire", "INFO", f"the next CA signs; the old one (until {ends:%Y-%m-%d}) is still trusted")
    if now >= sixth:
        step: Step = "activate" if succession.phase == "prepared" else "prepare"
        return Advice(step, "WARN", f"the CA ends on {ends:%Y-%m-%d}: less than a sixth of its life is left")
    if now >= half and succession.phase == "none":
        return Advice("prepare", "INFO", f"the CA ends on {ends:%Y-%m-%d}: half of its life is over")
    return None


def behind(succession: Succession, seen: Sequence[Seen], now: datetime.datetime) -> list[Json]:
    """The VMs that the next step waits for, or that a forced one has left behind; in the order given."""
    return [_row(vm, message, phase=succession.phase) for vm in seen if (message := _lacks(succession, vm, now))]


def judge(
    step: Step,
    succession: Succession,
    waiting: Sequence[Json],
    *,
    force: bool,
    replaces: str | None,
    now: datetime.datetime,
) -> Verdict:
    """Whether the step changes something, and why or why not. CA_ROLLOVER_BLOCKED names what stands in its way.

    `replaces` is the fingerprint of the CA that shall be followed: once it is, nothing is done.
    """
    phase = succession.phase
    if step == "prepare":
        return _prepare(succession, force=force, replaces=replaces, now=now)
    if phase == "none":
        return Verdict(False, "no CA is prepared")
    if step == "abort":
        if phase == "activated":
            raise _blocked("the next CA signs already: go on with retire")
        return Verdict(True, "the CA that is prepared is given up, its key destroyed")
    if step == "activate" and phase == "activated":
        return Verdict(False, "the next CA signs already")
    if step == "retire" and phase == "prepared":
        raise _blocked("the old CA still signs: activate the next one first")
    if waiting and not force:
        raise _blocked(_naming(waiting), vms=list(waiting))
    done = "the next CA signs" if step == "activate" else "the old CA is trusted no more, its key destroyed"
    return Verdict(True, done + (f"; forced, without {len(waiting)} VMs" if waiting else ""))


def _prepare(succession: Succession, *, force: bool, replaces: str | None, now: datetime.datetime) -> Verdict:
    if succession.phase != "none":
        return Verdict(False, f"the next CA is {succession.phase} already")
    signer, (_ends, half, _sixth) = succession.signer, _dates(succession)
    if replaces is not None and replaces != signer.ca_sha256:
        return Verdict(False, f"{signer.ca_sha256} signs, not the CA to be replaced")
    if replaces is None and not force and now < half:
        return Verdict(False, f"not due before {half:%Y-%m-%d}; name the CA (replaces) or force to do it now")
    return Verdict(True, "the next CA is made; the old one goes on signing")


def _lacks(succession: Succession, vm: Seen, now: datetime.datetime) -> str | None:
    """What the VM's agent has to have or to lose before the next step."""
    current = vm.certificate
    if succession.phase == "prepared":
        wanted = {succession.signer.ca_sha256, succession.next_sha256}
        in_use = current is not None and current.state == "current" and current.not_after > now
        if in_use and current is not None and not wanted <= _held(succession, current):
            return "its agent does not hold the next CA yet"
    elif succession.phase == "activated":
        live = [entry for entry in vm.entries if entry.state in LIVE and entry.not_after > now]
        if any(_signer(succession, entry) == succession.other_sha256 for entry in live):
            return "its agent has a certificate of the old CA"
    elif current is not None and _signer(succession, current) != succession.signer.ca_sha256:
        return "its certificate is of a CA that was retired"
    return None


def _signer(succession: Succession, entry: Entry) -> str:
    return entry.ca_sha256 or succession.oldest_sha256


def _held(succession: Succession, entry: Entry) -> set[str | None]:
    return {_signer(succession, entry), entry.next_ca_sha256}


def _row(vm: Seen, message: str, *, phase: str) -> Json:
    refresh = f"openngt refresh run {vm.vm_name}"
    if phase == "none":
        remedy = f"{refresh} --via iso"
    else:
        remedy = refresh if vm.linked else f"power the VM on, then {refresh}: it goes by disc where there is no link"
    return {
        "vm_uuid": vm.vm_uuid,
        "vm_name": vm.vm_name,
        "linked": vm.linked,
        "message": message,
        "remedy": remedy,
    }


def _dates(succession: Succession) -> tuple[datetime.datetime, datetime.datetime, datetime.datetime]:
    """End of the CA that ends first, and when half and a sixth of its life are left."""
    oldest = succession.oldest
    ends, life = oldest.not_valid_after_utc, oldest.not_valid_after_utc - oldest.not_valid_before_utc
    return ends, ends - life / PREPARE_AT, ends - life / ACTIVATE_AT


def _naming(waiting: Sequence[Json]) -> str:
    names = ", ".join(vm["vm_name"] for vm in waiting[:NAMED_IN_ERROR])
    more = f" and {len(waiting) - NAMED_IN_ERROR} more" if len(waiting) > NAMED_IN_ERROR else ""
    return f"{len(waiting)} VMs are not ready: {names}{more}; {waiting[0]['message']}"


def _blocked(message: str, **details: Any) -> OpenNGTError:
    return OpenNGTError("CA_ROLLOVER_BLOCKED", message, details)
