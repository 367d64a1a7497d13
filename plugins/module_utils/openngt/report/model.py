# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a fleet, of which JSON, CSV and page are three forms. docs/reports.md has its schema. Pure.

What changes with every look (heartbeats, times of checks, clock offsets) is left out: two reports of a fleet in which
nothing happened are the same but for `generated_at`.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from .failures import failures_of, rank, states_of_vms
from .gather import Answers

__all__ = ["AGENTS", "EXPIRIES", "FORMAT", "LINKS", "headline", "report_of", "statistics", "summary"]

Json = dict[str, Any]
FORMAT = "openngt-report-1"
LINKS = ("serial", "tls", "inactive", "off")
"""`off`: without a link because the VM does not run."""
AGENTS = ("current", "supported", "too_old", "too_new", "unknown", "not_seen")
"""`supported`: another version than the service's, which works with it; `not_seen`: none has ever connected."""
EXPIRIES = ("FAIL", "WARN", "INFO", "PASS", "none")
NAMED = 5
"""VMs that one line of the summary names."""


def report_of(answers: Answers, now: datetime.datetime) -> Json:
    failures = failures_of(
        answers.checks, answers.tasks, answers.customizations, {vm["vm_uuid"]: vm["vm_name"] for vm in answers.vms}
    )
    found = states_of_vms(failures)
    vms = [row_of(vm, *found.get(vm["vm_uuid"], ("PASS", []))) for vm in answers.vms]
    vms.sort(key=lambda row: (row["vm_name"], row["vm_uuid"]))
    return {
        "format": FORMAT,
        "generated_at": f"{now.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}",
        "service": {
            "version": answers.service_version,
            "cluster_uuid": answers.ca["cluster_uuid"],
            "ca_expires": answers.ca["not_after"],
        },
        "counts": counts_of(vms),
        "versions": versions_of(vms),
        "expiry_months": months_of(vms),
        "checks": [check_of(check) for check in answers.checks],
        "failures": failures,
        "vms": vms,
    }


def statistics(report: Json) -> Json:
    """What a play leaves behind, the same few numbers for any fleet: `{counts, failures: {cause: number}}`."""
    failures: Counter[str] = Counter()
    for one in report["failures"]:
        failures[one["cause"]] += one["count"]
    return {"counts": report["counts"], "failures": dict(sorted(failures.items()))}


def headline(report: Json) -> str:
    """The fleet in one line."""
    counts = report["counts"]
    links, states = counts["links"], counts["states"]
    return (
        f"{counts['vms']} VMs: {links['serial'] + links['tls']} links active, {links['inactive']} inactive, "
        f"{states['FAIL']} FAIL, {states['WARN']} WARN"
    )


def summary(report: Json) -> list[str]:
    """The headline, then a line for each cause with what to do and where; of many VMs a few are named."""
    return [headline(report), *(line_of(one) for one in report["failures"])]


def line_of(failure: Json) -> str:
    names = [item["vm_name"] or item["name"] or item["vm_uuid"] or "the service" for item in failure["items"]]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    where = ", ".join(names[:NAMED]) + more
    remedy = f"; remedy: {' '.join(failure['remedies'])}" if failure["remedies"] else ""
    return f"{failure['state']} {failure['cause']}: {failure['title']} ({where}){remedy}"


def row_of(vm: Json, state: str, causes: Sequence[str]) -> Json:
    certificate, link = vm["certificate"] or {}, vm["link"] or {}
    return {
        "vm_uuid": vm["vm_uuid"],
        "vm_name": vm["vm_name"],
        "state": state,
        "causes": list(causes),
        "power_state": vm["power_state"],
        "link": link_of(vm),
        "link_since": link.get("since") if vm["communication_link_active"] else None,
        "last_refusal": (link.get("last_refusal") or {}).get("reason"),
        "agent": agent_of(vm),
        "agent_version": vm["agent_version"],
        "guest_os_name": (vm["vm_info"] or {}).get("guest_os_name"),
        "certificate_expires": certificate.get("not_after"),
        "days_left": certificate.get("days_left"),
        "expiry": certificate.get("expiry", "none"),
        "certificate_kind": certificate.get("kind"),
        "generation": vm["generation"],
        "tools_iso_mounted": vm["tools_iso_mounted"],
        "reboot_required": vm["reboot_required"],
        "vss_snapshot": vm["vss_snapshot"],
        "self_service_restore": vm["self_service_restore"],
        "ngt_uuid": vm["ngt_uuid"],
        "enrolled_at": vm["enrolled_at"],
    }


def link_of(vm: Json) -> str:
    if vm["communication_link_active"]:
        return str(vm["transport"])
    return "off" if vm["power_state"] in ("off", "paused") else "inactive"


def agent_of(vm: Json) -> str:
    if vm["agent_version"] is None:
        return "not_seen"
    if vm["agent_version"] == vm["available_version"]:
        return "current"
    return str((vm["agent_support"] or {}).get("state", "unknown"))


def counts_of(vms: Sequence[Json]) -> Json:
    return {
        "vms": len(vms),
        "states": tally((vm["state"] for vm in vms), ("FAIL", "WARN", "INFO", "PASS")),
        "links": tally((vm["link"] for vm in vms), LINKS),
        "agents": tally((vm["agent"] for vm in vms), AGENTS),
        "expiry": tally((vm["expiry"] for vm in vms), EXPIRIES),
    }


def tally(found: Iterable[str], known: Sequence[str]) -> dict[str, int]:
    """Every known value is there, so that a reader need not ask whether; what a newer service brings comes behind."""
    counted = Counter(found)
    return {**dict.fromkeys(known, 0), **counted}


def versions_of(vms: Sequence[Json]) -> list[Json]:
    """The most frequent first; an agent that was never seen has none and is not here."""
    counted = Counter((vm["agent_version"], vm["agent"]) for vm in vms if vm["agent_version"] is not None)
    ordered = sorted(counted.items(), key=lambda one: (-one[1], one[0]))
    return [{"agent_version": version, "agent": agent, "vms": count} for (version, agent), count in ordered]


def months_of(vms: Sequence[Json]) -> list[Json]:
    """In which month (UTC) how many certificates end, by how urgent that is; only months that have any."""
    found: dict[str, Counter[str]] = {}
    for vm in vms:
        if vm["certificate_expires"] is not None:
            found.setdefault(vm["certificate_expires"][:7], Counter())[vm["expiry"]] += 1
    return [
        {"month": month, "vms": counts.total(), "expiry": {name: counts[name] for name in EXPIRIES[:-1]}}
        for month, counts in sorted(found.items())
    ]


def check_of(check: Json) -> Json:
    """A message of a check that passes may hold what is measured anew each time."""
    items = Counter(item["state"] for item in check["items"] if rank(item["state"]) < rank("PASS"))
    return {
        "name": check["name"],
        "title": check["title"],
        "state": check["state"],
        "message": None if check["state"] == "PASS" else check["message"],
        "items": dict(items),
    }
