# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's proof: the same facts as the service has them and as each guest answers for itself."""

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from openngt.errors import OpenNGTError

from .vm import LabVm

__all__ = ["ASK", "Row", "compare", "guest_view", "service_view", "view_of_text"]

View = Mapping[str, Any]

# One connection, one line for each question; the guest's own tools answer, and ngtcli where only the agent can know.
QUESTIONS = {
    "hostname": "hostname",
    "uuid": "cat /sys/class/dmi/id/product_uuid",
    "enabled": "systemctl is-enabled ngt_guest_agent.service",
    "active": "systemctl is-active ngt_guest_agent.service",
    "disc": "blkid -L NUTANIX_TOOLS",
    "mounts": "findmnt -rno TARGET -t iso9660",
    "ngtcli": "ngtcli status --output json",
}
ASK = "; ".join(f"echo \"{name}=$({command} 2>/dev/null | tr -d '\\n')\"" for name, command in QUESTIONS.items())
"""A shell command for the guest; `view_of_text` reads what it says."""


@dataclass(frozen=True)
class Row:
    vm: str
    fact: str
    service: Any
    guest: Any

    @property
    def agrees(self) -> bool:
        return bool(self.service == self.guest)


def service_view(vm: View) -> dict[str, Any]:
    """From a VM record of the admin API."""
    certificate = vm["certificate"] or {}
    return {
        "name": vm["vm_name"],
        "UUID": vm["vm_uuid"],
        "NGT enabled": vm["ngt_enabled"],
        "ISO mounted": vm["tools_iso_mounted"],
        "VSS": vm["vss_snapshot"],
        "self-service restore": vm["self_service_restore"],
        "link active": vm["communication_link_active"],
        "transport": vm["transport"],
        "agent version": vm["agent_version"],
        "certificate expires": _day_and_time(certificate.get("not_after")),
        "certificate serial": certificate.get("serial"),
    }


def guest_view(vm: LabVm) -> dict[str, Any]:
    """Asked over SSH. GUEST_UNREACHABLE when SSH itself fails; a question without an answer is an empty text."""
    done = vm.ssh(ASK)
    if done.returncode:
        raise OpenNGTError("GUEST_UNREACHABLE", f"{vm.name}: {done.stderr.strip()}")
    return view_of_text(done.stdout)


def view_of_text(text: str) -> dict[str, Any]:
    return view_of_answers(dict(line.split("=", 1) for line in text.splitlines()))


def view_of_answers(answers: Mapping[str, str]) -> dict[str, Any]:
    agent = json.loads(answers["ngtcli"] or "{}")
    identity, link = agent.get("identity") or {}, agent.get("link") or {}
    capabilities = agent.get("capabilities") or {}
    return {
        "name": answers["hostname"],
        "UUID": answers["uuid"].lower(),
        "NGT enabled": (answers["enabled"], answers["active"]) == ("enabled", "active"),
        "ISO mounted": bool(answers["disc"] or answers["mounts"]),
        "VSS": capabilities.get("vss_snapshot"),
        "self-service restore": capabilities.get("self_service_restore"),
        "link active": link.get("active"),
        "transport": link.get("transport"),
        "agent version": agent.get("agent_version"),
        "certificate expires": _day_and_time(identity.get("not_after")),
        "certificate serial": identity.get("serial"),
    }


def compare(vm: str, service: View, guest: View) -> list[Row]:
    return [Row(vm, fact, value, guest[fact]) for fact, value in service.items()]


def _day_and_time(text: str | None) -> str | None:
    """One spelling of a moment, so that `Z` and `+00:00` are no difference."""
    if text is None:
        return None
    moment = datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
