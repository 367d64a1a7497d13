# SPDX-License-Identifier: GPL-3.0-or-later
"""The named checks: pure functions from what is known of the fleet to a state, a message and the VMs concerned.

Names, wording and the alert's number are those that people search for (the guide to the original product).
"""

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openngt.pki.expiry import EXPIRY_ALERT, ExpiryState, days_left, expiry_state

__all__ = ["CHECKS", "CheckResult", "Facts"]

Json = dict[str, Any]
SEVERITY: tuple[ExpiryState, ...] = ("PASS", "INFO", "WARN", "FAIL")


@dataclass(frozen=True)
class Facts:
    """What the checks look at. `vms` are VM records as the API shows them, times as datetimes."""

    now: datetime.datetime
    vms: Sequence[Mapping[str, Any]]
    iso_files: Sequence[str]
    """UUIDs of the VMs that have an ISO file in the service's folder."""
    certificates: Mapping[str, datetime.datetime]
    """The service's own certificates (`CA`, `gateway`, `API`) and their ends."""


@dataclass(frozen=True)
class CheckResult:
    state: ExpiryState
    message: str
    items: Sequence[Json] = ()


def worst(items: Sequence[Json]) -> ExpiryState:
    return max((item["state"] for item in items), key=SEVERITY.index, default="PASS")


def about(vm: Mapping[str, Any], state: ExpiryState, message: str, **more: Any) -> Json:
    return {"vm_uuid": vm["vm_uuid"], "vm_name": vm["vm_name"], "state": state, "message": message, **more}


def ngt_client_cert_expiry_check(facts: Facts) -> CheckResult:
    """The certificates that agents connect with. A bootstrap is short-lived by design and judged by its end alone."""
    items = []
    for vm in facts.vms:
        certificate = vm["certificate"]
        if certificate is None or certificate["state"] != "current":
            continue
        left = days_left(certificate["not_after"], facts.now)
        state = expiry_state(certificate["not_after"], facts.now)
        if state == "PASS" or (certificate["kind"] == "bootstrap" and left > 0):
            continue
        when = f"expires in {left} days" if left > 0 else "has expired"
        text = f"VM: {vm['vm_name']} - NGT client certificate {when}"
        items.append(about(vm, state, text, days_left=left, not_after=certificate["not_after"].isoformat()))
    if not items:
        return CheckResult("PASS", "All NGT client certificates are valid for more than 90 days")
    return CheckResult(worst(items), f"{EXPIRY_ALERT}: NGT client certificates expiring", items)


def ngt_installer_version_check(facts: Facts) -> CheckResult:
    """Agents older than the one that this service puts on its ISO."""
    items = [
        about(
            vm,
            "INFO",
            f"VM: {vm['vm_name']} - NGT installed version: {vm['agent_version']}, "
            f"NGT latest version: {vm['available_version']}",
        )
        for vm in facts.vms
        if vm["agent_version"] is not None and order(vm["agent_version"]) < order(vm["available_version"])
    ]
    if not items:
        return CheckResult("PASS", "All VMs have the latest NGT version installed")
    return CheckResult("INFO", "Following VMs do not have latest NGT version installed:", items)


def order(version: str) -> tuple[tuple[int, ...], bool]:
    """For comparing: numbers by value, and a pre-release (`1.0rc1`) before its release."""
    release = re.match(r"[0-9.]*", version)
    text = release.group() if release else ""
    return tuple(int(part) for part in text.split(".") if part), text == version


def ngt_link_check(facts: Facts) -> CheckResult:
    """Running VMs with an agent's certificate and no link. For a VM that is off, no link is as it should be."""
    items = []
    for vm in facts.vms:
        if vm["communication_link_active"] or vm["power_state"] not in ("on", "unknown"):
            continue
        certificate = vm["certificate"]
        if certificate is None or certificate["state"] != "current":
            items.append(about(vm, "INFO", f"VM: {vm['vm_name']} - NGT is enabled, but no agent has connected yet"))
            continue
        refusal = vm["link"]["last_refusal"]
        why = f", last refused: {refusal['reason']}" if refusal else ""
        items.append(about(vm, "WARN", f"VM: {vm['vm_name']} - Communication Link Active : false{why}"))
    state = worst(items)
    message = "All running VMs are linked" if not items else f"{len(items)} running VMs are not linked"
    return CheckResult(state, message, items)


def ngt_iso_check(facts: Facts) -> CheckResult:
    """Tools ISOs that stay in a drive after their holder's lease, and files that belong to no mount."""
    mounted = {vm["vm_uuid"]: vm for vm in facts.vms if vm["mount"] is not None}
    items = [
        about(
            vm,
            "WARN",
            f"VM: {vm['vm_name']} - tools ISO is mounted after its lease's end, holder: {vm['mount']['holder']}",
        )
        for vm in mounted.values()
        if vm["mount"]["lease_ends"] < facts.now
    ]
    names = {vm["vm_uuid"]: vm["vm_name"] for vm in facts.vms}
    for vm_uuid in sorted(set(facts.iso_files) - set(mounted)):
        vm = {"vm_uuid": vm_uuid, "vm_name": names.get(vm_uuid)}
        items.append(about(vm, "WARN", f"ISO file {vm_uuid}.iso belongs to no mount"))
    message = f"{len(items)} tools ISOs are left over" if items else "No tools ISO is left over"
    return CheckResult(worst(items), message, items)


def ngt_ca_expiry_check(facts: Facts) -> CheckResult:
    """The CA's own certificate, and those of gateway and API, which the service renews itself."""
    items: list[Json] = []
    for name, not_after in facts.certificates.items():
        state = expiry_state(not_after, facts.now)
        if state != "PASS":
            left = days_left(not_after, facts.now)
            text = f"certificate of the {name} expires in {left} days" if left > 0 else f"{name}: certificate expired"
            items.append({"name": name, "state": state, "message": text, "days_left": left})
    message = "The service's own certificates end soon" if items else "The service's own certificates are valid"
    return CheckResult(worst(items), message, items)


CHECKS: Mapping[str, Callable[[Facts], CheckResult]] = {
    check.__name__: check
    for check in (
        ngt_client_cert_expiry_check,
        ngt_installer_version_check,
        ngt_link_check,
        ngt_iso_check,
        ngt_ca_expiry_check,
    )
}
