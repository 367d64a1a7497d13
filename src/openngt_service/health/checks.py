# SPDX-License-Identifier: GPL-3.0-or-later
"""The named checks: pure functions from what is known of the fleet to a state, a message and the VMs concerned.

Names, wording and the alert's number are those that people search for (the guide to the original product). What each
one is for, its thresholds and what to do about it stand in `catalogue`.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openngt.pki.expiry import EXPIRY_ALERT, ExpiryState, bootstrap_state, days_left

from ..store.customizations import Customized
from ..store.sightings import Sighting
from ..tasks.ca_rollover_plan import Advice
from ..tasks.clones import Clone
from ..tasks.recover import Attempt
from ..versions import version_order
from .policy import worst_of

__all__ = [
    "CheckResult",
    "DiskUse",
    "Facts",
    "Judge",
    "ngt_ca_expiry_check",
    "ngt_client_cert_expiry_check",
    "ngt_clock_skew_check",
    "ngt_customization_check",
    "ngt_disk_space_check",
    "ngt_duplicate_identity_check",
    "ngt_identity_recovery_check",
    "ngt_installer_version_check",
    "ngt_iso_check",
    "ngt_link_check",
]

Json = dict[str, Any]
Limits = Mapping[str, int]
"""Thresholds by name."""
MINUTE = datetime.timedelta(minutes=1)
MEGABYTE = 1024 * 1024
FEW_WORDS = 200
"""Characters of a guest's message; all of it shows with the VM."""


@dataclass(frozen=True)
class DiskUse:
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Facts:
    """What the checks look at. `vms` are VM records as the API shows them, times as datetimes."""

    now: datetime.datetime
    vms: Sequence[Mapping[str, Any]]
    iso_files: Sequence[str]
    """UUIDs of the VMs that have an ISO file in the service's folder."""
    certificates: Mapping[str, datetime.datetime]
    """The service's own certificates (`CA`, `gateway`, `API`) and their ends."""
    started: datetime.datetime | None = None
    """When the service began to listen: before that no agent could be linked."""
    sightings: Sequence[Sighting] = ()
    disks: Mapping[str, DiskUse] = field(default_factory=dict)
    """The service's folders by path."""
    clones: Sequence[Clone] = ()
    duplicates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """UUIDs that several VMs of the hypervisor have, with those VMs' names."""
    recoveries: Sequence[Attempt] = ()
    """The latest attempt of each VM."""
    ca_advice: Advice | None = None
    """What it is time for in the CA's life."""
    customizations: Sequence[Customized] = ()
    """The last one of each VM, enrolled or not."""


@dataclass(frozen=True)
class CheckResult:
    state: ExpiryState
    message: str
    items: Sequence[Json] = ()


Judge = Callable[[Facts, Limits], CheckResult]


def about(vm: Mapping[str, Any], state: ExpiryState, message: str, **more: Any) -> Json:
    return {"vm_uuid": vm["vm_uuid"], "vm_name": vm["vm_name"], "state": state, "message": message, **more}


def of_service(name: str, state: ExpiryState, message: str, **more: Any) -> Json:
    return {"name": name, "state": state, "message": message, **more}


def result(items: Sequence[Json], fine: str, wrong: str) -> CheckResult:
    """The worst item decides."""
    return CheckResult(worst_of(item["state"] for item in items), wrong if items else fine, items)


def certificate_in_use(vm: Mapping[str, Any]) -> Mapping[str, Any] | None:
    certificate: Mapping[str, Any] | None = vm["certificate"]
    return certificate if certificate is not None and certificate["state"] == "current" else None


def expiry(not_after: datetime.datetime, now: datetime.datetime, limits: Limits) -> ExpiryState:
    left = days_left(not_after, now)
    if left <= limits["fail_days"]:
        return "FAIL"
    if left <= limits["warn_days"]:
        return "WARN"
    return "INFO" if left <= limits["info_days"] else "PASS"


def ngt_client_cert_expiry_check(facts: Facts, limits: Limits) -> CheckResult:
    """That of an ISO is short-lived by design: it is news only when its agent does not change it, or it is over."""
    items = []
    for vm in facts.vms:
        certificate = certificate_in_use(vm)
        if certificate is None:
            continue
        not_after, left = certificate["not_after"], days_left(certificate["not_after"], facts.now)
        when = f"expires in {left} days" if left > 0 else "has expired"
        text = f"VM: {vm['vm_name']} - NGT client certificate {when}"
        if certificate["kind"] == "bootstrap":
            grace = limits["rotation_minutes"] * MINUTE
            state = bootstrap_state(certificate["first_used_at"], not_after, facts.now, grace)
            if state == "WARN":
                text = f"VM: {vm['vm_name']} - the agent has not rotated the certificate of its ISO"
        else:
            state = expiry(not_after, facts.now, limits)
        if state != "PASS":
            items.append(about(vm, state, text, days_left=left, not_after=not_after.isoformat()))
    fine = f"All NGT client certificates are valid for more than {limits['info_days']} days"
    return result(items, fine, f"{EXPIRY_ALERT}: NGT client certificates expiring")


def ngt_installer_version_check(facts: Facts, limits: Limits) -> CheckResult:
    """Agents older than the one that this service puts on its ISO, and those that do not work with it at all."""
    items = [
        about(
            vm,
            "WARN" if unsupported(vm) else "INFO",
            f"VM: {vm['vm_name']} - NGT installed version: {vm['agent_version']}, "
            f"NGT latest version: {vm['available_version']}{unsupported(vm)}",
        )
        for vm in facts.vms
        if vm["agent_version"] is not None
        and (unsupported(vm) or version_order(vm["agent_version"]) < version_order(vm["available_version"]))
    ]
    fine = "All VMs have the latest NGT version installed"
    return result(items, fine, "Following VMs do not have latest NGT version installed:")


def unsupported(vm: Mapping[str, Any]) -> str:
    """What to add for an agent outside of the table of versions; empty for any other."""
    support = vm.get("agent_support") or {}
    return f" ({support['code']}: {support['message']})" if support.get("code") else ""


def ngt_link_check(facts: Facts, limits: Limits) -> CheckResult:
    """Running VMs with an agent's certificate and no link. For a VM that is off, no link is as it should be.

    A link that keeps to the network, since its serial port has failed, is worth a word, and counts as a link.
    """
    items = []
    held = [vm for vm in facts.vms if vm["communication_link_active"] and vm.get("serial_port_held_until")]
    for vm in facts.vms:
        if vm["communication_link_active"] or vm["power_state"] not in ("on", "unknown"):
            continue
        if certificate_in_use(vm) is None:
            items.append(about(vm, "INFO", f"VM: {vm['vm_name']} - NGT is enabled, but no agent has connected yet"))
            continue
        # While this service was down nobody could be linked, and last_seen is written for changes alone.
        since = max((time for time in (vm["link"]["last_seen"], facts.started) if time is not None), default=None)
        if since is not None and facts.now - since < limits["warn_minutes"] * MINUTE:
            continue
        refusal = vm["link"]["last_refusal"]
        why = f", last refused: {refusal['reason']}" if refusal else ""
        items.append(about(vm, "WARN", f"VM: {vm['vm_name']} - Communication Link Active : false{why}"))
    wrong = f"{len(items)} running VMs are not linked"
    if not items:
        wrong = f"All running VMs are linked, {len(held)} of them over the network for a serial port that fails"
    for vm in held:
        until = vm["serial_port_held_until"]
        text = f"VM: {vm['vm_name']} - the serial port failed soon after a return, not tried before {until:%H:%M} UTC"
        items.append(about(vm, "INFO", text, held_until=until.isoformat()))
    return result(items, "All running VMs are linked", wrong)


def ngt_iso_check(facts: Facts, limits: Limits) -> CheckResult:
    """Tools ISOs that stay in a drive too long or after their holder's lease, and files that belong to no mount."""
    mounted = {vm["vm_uuid"]: vm for vm in facts.vms if vm["mount"] is not None}
    items = []
    for vm in mounted.values():
        mount = vm["mount"]
        too_long = facts.now - mount["since"] >= limits["warn_minutes"] * MINUTE
        if mount["lease_ends"] < facts.now:
            text = "tools ISO is mounted after its lease's end"
        elif too_long:
            text = f"tools ISO is mounted for more than {limits['warn_minutes']} minutes"
        else:
            continue
        items.append(about(vm, "WARN", f"VM: {vm['vm_name']} - {text}, holder: {mount['holder']}"))
    names = {vm["vm_uuid"]: vm["vm_name"] for vm in facts.vms}
    for vm_uuid in sorted(set(facts.iso_files) - set(mounted)):
        orphan = {"vm_uuid": vm_uuid, "vm_name": names.get(vm_uuid)}
        items.append(about(orphan, "WARN", f"ISO file {vm_uuid}.iso belongs to no mount"))
    return result(items, "No tools ISO is left over", f"{len(items)} tools ISOs are left over")


def ngt_clock_skew_check(facts: Facts, limits: Limits) -> CheckResult:
    """By the time that linked agents tell; one whose clock is so wrong that TLS fails shows in the link check."""
    items = []
    for vm in facts.vms:
        offset = vm["link"]["clock_offset_seconds"]
        if offset is None or abs(offset) < limits["warn_seconds"]:
            continue
        state: ExpiryState = "FAIL" if abs(offset) >= limits["fail_seconds"] else "WARN"
        way = "ahead of" if offset > 0 else "behind"
        text = f"VM: {vm['vm_name']} - the guest's clock is {abs(offset):.0f} s {way} the service's"
        items.append(about(vm, state, text, clock_offset_seconds=offset))
    fine = "The clocks of all linked guests agree with the service's"
    return result(items, fine, f"{len(items)} guests have a wrong clock")


def ngt_duplicate_identity_check(facts: Facts, limits: Limits) -> CheckResult:
    """One identity in two hands: a VM that was copied or reverted, or a key that was taken."""
    vms = {vm["vm_uuid"]: vm for vm in facts.vms}
    clones = {clone.vm_uuid: clone for clone in facts.clones}
    items: list[Json] = []
    for vm_uuid, names in facts.duplicates.items():
        text = f"several VMs of the hypervisor have its UUID {vm_uuid}: {', '.join(names)}"
        items.append(about({"vm_uuid": vm_uuid, "vm_name": names[0]}, "FAIL", f"VM: {names[0]} - {text}"))
    for seen in facts.sightings:
        if facts.now - seen.last_seen > datetime.timedelta(hours=limits["within_hours"]):
            continue
        item = judge_sighting(vms, clones, seen)
        if item is not None:
            items.append(item)
    named = {item["vm_uuid"] for item in items}
    items += [judge_clone(clone) for clone in facts.clones if clone.pending and clone.vm_uuid not in named]
    return result(items, "No identity is used by two machines", f"{len(items)} identities are in two machines")


def judge_clone(clone: Clone) -> Json:
    """It does no harm: its agent says nothing before it has an identity of its own."""
    text = f"is a clone of VM {clone.parent_name} and waits to be enabled (clone_pending)"
    parent = {"vm_uuid": clone.parent_uuid, "vm_name": clone.parent_name}
    clone_itself = {"vm_uuid": clone.vm_uuid, "vm_name": clone.vm_name}
    return about(clone_itself, "INFO", f"VM: {clone.vm_name} - {text}", cloned_from=parent)


def judge_sighting(vms: Mapping[str, Mapping[str, Any]], clones: Mapping[str, Clone], seen: Sighting) -> Json | None:
    """None for what is no duplicate, and for a VM that is no longer ours."""
    more = {"serial": seen.serial, "last_seen": seen.last_seen.isoformat()}
    times = f"({seen.times} times)"
    if seen.kind == "foreign_port":
        clone = clones.get(seen.vm_uuid)
        if clone is None:
            return None
        text = f"its agent came over {seen.peer} with the identity of VM {clone.parent_name} {times}"
        return about(vars(clone), "FAIL", f"VM: {clone.vm_name} - {text}", **more)
    vm = vms.get(seen.vm_uuid)
    if vm is None or (seen.kind == "retired_serial" and seen.same_address):
        return None
    if seen.kind == "retired_serial":
        text = f"a retired identity came from {seen.peer} while the VM is linked from {seen.other_peer}"
        return about(vm, "WARN", f"VM: {vm['vm_name']} - {text} {times}", **more)
    copies = sorted(clone.vm_name for clone in clones.values() if clone.parent_uuid == seen.vm_uuid)
    hint = f"; clones of it: {', '.join(copies)}" if copies else ""
    text = f"one identity is used by two machines, at {seen.other_peer} and {seen.peer} {times}{hint}"
    return about(vm, "FAIL", f"VM: {vm['vm_name']} - {text}", **more)


def ngt_identity_recovery_check(facts: Facts, limits: Limits) -> CheckResult:
    """VMs whose agent came with an identity of the past, and what has become of the new one."""
    vms = {vm["vm_uuid"]: vm for vm in facts.vms}
    items = []
    for attempt in facts.recoveries:
        vm = vms.get(attempt.vm_uuid)
        if (
            vm is None
            or attempt.state == "succeeded"
            or (attempt.state == "failed" and vm["communication_link_active"])
        ):
            continue
        state: ExpiryState = "WARN" if attempt.state == "running" else "FAIL"
        ended = "is being given a new identity" if attempt.state == "running" else f"recovery failed: {attempt.code}"
        text = f"VM: {vm['vm_name']} - its agent was refused ({attempt.reason}) and {ended}"
        items.append(about(vm, state, text, task_id=attempt.task_id, reason=attempt.reason))
    fine = "No VM is in need of a new identity"
    return result(items, fine, f"{len(items)} VMs are in need of a new identity")


def ngt_customization_check(facts: Facts, limits: Limits) -> CheckResult:
    """VMs that did not become what they should, until they are customized anew, the customization is withdrawn, the
    guest says after its time that it is through, or so many days have gone by.

    Windows says nothing by itself: that its time is over says little of it.
    """
    items = []
    for row in facts.customizations:
        ended = row.phase in ("ending", "clean") and row.finished_at is not None
        if not ended or row.finished_at is None or row.state not in ("failed", "timed_out"):
            continue
        if facts.now - row.finished_at > datetime.timedelta(days=limits["within_days"]):
            continue
        silent = row.state == "timed_out" and row.format != "cloud_init"
        why = " ".join((row.message or "").split())
        why = why if len(why) <= FEW_WORDS else f"{why[:FEW_WORDS]}…"
        text = f"VM: {row.vm_name} - customization {row.state}: {why}"
        more = {"code": row.code, "instance_id": row.instance_id, "finished_at": row.finished_at.isoformat()}
        items.append(about(vars(row), "INFO" if silent else "WARN", text, **more))
    fine = "No VM's customization has failed"
    return result(items, fine, f"{len(items)} VMs did not become what they should")


def ngt_ca_expiry_check(facts: Facts, limits: Limits) -> CheckResult:
    """The CA's own certificate and its rollover, and those of gateway and API, which the service renews itself."""
    items: list[Json] = []
    for name, not_after in facts.certificates.items():
        state = expiry(not_after, facts.now, limits)
        if state != "PASS":
            left = days_left(not_after, facts.now)
            text = f"certificate of the {name} expires in {left} days" if left > 0 else f"{name}: certificate expired"
            items.append(of_service(name, state, text, days_left=left))
    advice = facts.ca_advice
    if advice is not None:
        text = f"{advice.message}; next: {advice.command}"
        items.append(of_service("CA rollover", advice.state, text, step=advice.step))
    fine = "The service's own certificates are valid"
    return result(items, fine, "The service's own certificates end soon, or a CA's rollover is due")


def ngt_disk_space_check(facts: Facts, limits: Limits) -> CheckResult:
    """Where the service keeps its database and its ISOs; without space it can neither issue nor mount."""
    items = []
    for path, disk in facts.disks.items():
        free = disk.free_bytes // MEGABYTE
        if free >= limits["warn_mb"]:
            continue
        state: ExpiryState = "FAIL" if free < limits["fail_mb"] else "WARN"
        text = f"{path}: {free} MB free of {disk.total_bytes // MEGABYTE} MB"
        items.append(of_service(path, state, text, free_mb=free))
    return result(items, "The service has enough disk space", "The service is short of disk space")
